"""The requests of simulated clients, as lines, and the outcomes in the answers."""

from collections.abc import Sequence
from typing import Final

import attrs

from kvraft.commands import Caller
from kvraft.raft import InvariantViolated
from kvraft.simulation.clients import Answer
from kvraft.simulation.history import Action, History

DEFINITE: Final = frozenset({"NOT_LEADER", "TIMEOUT", "STOPPING", "TOO_LARGE", "LEVEL_TOO_LOW"})
"""Errors after which a request certainly has no effect; the README promises it."""
UNKNOWN: Final = "UNKNOWN"
QUOTA_EXCEEDED: Final = "QUOTA_EXCEEDED"
"""The code of a write that the log holds, and that changed nothing since the store would have become too large."""
OVERLOADED: Final = "OVERLOADED"
"""The code that no client of a run may receive: all clients together send too few requests to fill a queue."""
CALLER: Final = Caller("the simulation")
"""The caller of a request that comes over no connection."""

Request = tuple[Action, str, str | None]


@attrs.frozen
class Data:
    """The keys and values of clients."""

    keys: Sequence[str] = ("a", "b", "c", "d")
    large_value: int = 2_000
    """Characters of a large value."""

    @classmethod
    def of(cls, keys: int, large_value: int) -> "Data":
        """Return that number of keys, and values of that size."""
        return cls([chr(ord("a") + key % 26) + str(key // 26 or "") for key in range(keys)], large_value)


def line_of(request: Request) -> str:
    """Return a request as a line of the protocol."""
    action, key, value = request
    return f"{action.upper()} {key}" + ("" if value is None else f" {value}")


def note_answer(history: History, client: int, ticket: int, request: Request, answer: Answer) -> bool:
    """Record an answer; return whether it is a success."""
    action, key, _ = request
    code = answer.get("error")
    if code == UNKNOWN:
        history.lose(ticket, UNKNOWN)
        return False
    if code == OVERLOADED:
        raise InvariantViolated(f"client {client} receives OVERLOADED, and so few clients cannot fill any queue")
    if code in DEFINITE or (code == QUOTA_EXCEEDED and action is Action.SET):
        history.fail(ticket, str(code))
        return False
    if action is Action.GET and "value" in answer:
        value = answer["value"]
        if value is not None and not value.startswith(f"{key}-"):
            raise InvariantViolated(f"client {client} asked for {key} and was given {value!r}")
        history.succeed(ticket, value)
    elif action is not Action.GET and answer == {"status": "OK"}:
        history.succeed(ticket)
    else:
        raise InvariantViolated(f"client {client} was answered {answer} to {line_of(request)}")
    return True
