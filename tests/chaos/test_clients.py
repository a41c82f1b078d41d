import itertools
from random import Random
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection

from kvraft.chaos.clients import DEFINITE_CODES, UNKNOWN_CODES, Client
from kvraft.chaos.connection import ClientConnection
from kvraft.config import Address
from kvraft.simulation.history import Action, History, Outcome


class Bench:
    """One client on a connection without a network."""

    def __init__(self) -> None:
        clock: Any = Clock()
        self.history = History(itertools.count().__next__)
        self.client = Client(clock, 1, [Address("127.0.0.1", 1)], self.history, Random(1))
        self.connection = ClientConnection(clock)
        self.transport = StringTransportWithDisconnection()
        self.transport.protocol = self.connection
        self.connection.makeConnection(self.transport)
        self.client.connection = self.connection


@pytest.fixture
def bench() -> Bench:
    """A client that can be asked to ask."""
    return Bench()


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (b'{"status":"OK"}', Outcome.OK),
        *((b'{"error":"%b"}' % code.encode(), Outcome.FAILED) for code in sorted(DEFINITE_CODES)),
        *((b'{"error":"%b"}' % code.encode(), Outcome.UNKNOWN) for code in sorted(UNKNOWN_CODES)),
        (b'{"error":"NEW_CODE"}', Outcome.UNKNOWN),
        (b'{"status":"WELL"}', Outcome.UNKNOWN),
        (b"nonsense", Outcome.UNKNOWN),
    ],
)
def test_a_client_notes_what_it_was_told(bench: Bench, answer: bytes, outcome: Outcome) -> None:
    """An acknowledgement is one, a definite error a failure, and whatever else is said leaves the outcome open."""
    bench.client.ask(Action.SET, "k", "v")
    assert bench.transport.value() == b"SET k v\n"

    bench.connection.dataReceived(answer + b"\n")

    (operation,) = bench.history.operations
    assert (operation.action, operation.key, operation.value) == (Action.SET, "k", "v")
    assert operation.outcome is outcome
    assert (operation.completed is None) is (outcome is Outcome.UNKNOWN)


def test_a_lost_connection_leaves_the_outcome_open(bench: Bench) -> None:
    """What was sent and not answered may have been carried out; what was answered before was."""
    bench.client.ask(Action.SET, "k", "v")
    bench.client.ask(Action.GET, "k", None)
    bench.connection.dataReceived(b'{"status":"OK"}\n')

    bench.transport.loseConnection()

    assert [each.outcome for each in bench.history.operations] == [Outcome.OK, Outcome.UNKNOWN]


def test_a_read_is_noted_with_its_value(bench: Bench) -> None:
    """A value and its absence are both answered."""
    bench.client.ask(Action.GET, "k", None)
    bench.client.ask(Action.GET, "k", None)
    bench.connection.dataReceived(b'{"value":"v"}\n{"value":null}\n')

    assert [each.value for each in bench.history.operations] == ["v", None]
    assert all(each.outcome is Outcome.OK for each in bench.history.operations)


def test_values_are_unique_but_for_repetitions(bench: Bench) -> None:
    """A value is written twice only when it was unknown whether the first time counted."""
    written = [value for _, _, value in (bench.client.choose() for _ in range(2_000)) if value is not None]

    assert len(set(written)) == len(written) > 500
    bench.client.repeat = "k", "v"
    chosen = [bench.client.choose()]
    while chosen[-1] != (Action.SET, "k", "v"):
        bench.client.repeat = "k", "v"
        chosen.append(bench.client.choose())
        assert len(chosen) < 100


def test_a_hint_names_a_node_by_its_port(bench: Bench) -> None:
    """The names of nodes are for the other nodes: a client looks none up, and has each node's port."""
    assert bench.client.find("node0.test:1") == Address("127.0.0.1", 1)
    assert bench.client.find("10.0.0.1:2") == Address("10.0.0.1", 2)
