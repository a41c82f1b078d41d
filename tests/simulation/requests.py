"""Requests of the line protocol and their answers, as a simulated client notes them."""

from typing import Any

from kvraft.commands import Mutation
from kvraft.simulation.data_client import read_request
from kvraft.simulation.history import Outcome
from kvraft.simulation.revisions import Asked


def told(line: str, answer: dict[str, Any], begins: float = 0.0, *, low: int = 0, high: int = 9) -> Asked:
    """Return a request and its answer, 0.1 s later: so much of the log was committed before, and after."""
    asked = read_request(line, begins)
    asked.answer, asked.outcome = answer, Outcome.OK
    asked.completed, asked.low, asked.high = begins + 0.1, low, high
    return asked


def command(line: str) -> Mutation:
    """Return a write."""
    operation = read_request(line, 0.0).operation
    assert isinstance(operation, Mutation)
    return operation
