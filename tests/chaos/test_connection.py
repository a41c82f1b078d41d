import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection

from kvraft.chaos.connection import Answer, ClientConnection

ANSWER_S = 3.0


class Wire:
    """A connection without a network."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.connection = ClientConnection(self.clock, ANSWER_S)
        self.transport = StringTransportWithDisconnection()
        self.transport.protocol = self.connection
        self.connection.makeConnection(self.transport)


@pytest.fixture
def wire() -> Wire:
    """A connection that was just made."""
    return Wire()


def lost(answer: "Deferred[Answer]") -> bool:
    """Whether a request failed because the connection did; takes the failure."""
    failures: list[object] = []
    answer.addErrback(lambda failure: failures.append(failure.trap(ConnectionLost)))
    return bool(failures)


def result(answer: "Deferred[Answer]") -> Answer:
    """What was answered."""
    found: list[Answer] = []
    answer.addCallback(found.append)
    return found[0]


def test_answers_come_in_the_order_of_requests(wire: Wire) -> None:
    """Requests leave at once, and each line that comes back belongs to the oldest that is open."""
    first, second = wire.connection.request("SET a b"), wire.connection.request("GET a")

    assert wire.transport.value() == b"SET a b\nGET a\n"
    wire.connection.dataReceived(b'{"status":"OK"}\n{"val')
    assert result(first) == {"status": "OK"}
    assert not second.called
    wire.connection.dataReceived(b'ue":"b"}\n')
    assert result(second) == {"value": "b"}
    assert wire.clock.getDelayedCalls() == []


def test_a_lost_connection_answers_nothing(wire: Wire) -> None:
    """What is open when the connection ends fails, and so does what is asked afterwards; it was never sent."""
    open_ = wire.connection.request("SET a b")
    wire.transport.loseConnection()
    late = wire.connection.request("SET a c")

    assert lost(open_)
    assert lost(late)
    assert wire.transport.value() == b"SET a b\n"
    assert not wire.connection.is_open
    assert wire.clock.getDelayedCalls() == []


def test_patience_is_for_each_answer(wire: Wire) -> None:
    """Every answer may take so long; then the connection is given up, and all that is open is lost."""
    first, second, third = (wire.connection.request(line) for line in "abc")
    wire.clock.advance(ANSWER_S - 0.1)
    wire.connection.dataReceived(b'{"status":"OK"}\n')
    wire.clock.advance(ANSWER_S - 0.1)
    assert wire.connection.is_open

    wire.clock.advance(0.2)

    assert result(first) == {"status": "OK"}
    assert not wire.connection.is_open
    assert lost(second)
    assert lost(third)


@pytest.mark.parametrize("line", [b"nonsense\n", b"[]\n", b'{"status":"OK"}\n{"status":"OK"}\n'])
def test_what_is_no_answer_ends_the_connection(wire: Wire, line: bytes) -> None:
    """A line that is no object, or that answers no request, cannot be matched with anything."""
    answer = wire.connection.request("SET a b")

    wire.connection.dataReceived(line)

    assert not wire.connection.is_open
    answer.addErrback(lambda failure: None)
