"""A node reads so much of all connections, then lets its timers have their turn, and goes on."""

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock
from typing_extensions import override

from kvraft.server.resp.read_budget import BYTES_MAX, ReadBudget
from tests.server.resp.clients import RespClient, command

LONG = command(b"SET", b"long", bytes(BYTES_MAX))


def another(client: RespClient) -> RespClient:
    """Return another connection to the same node."""
    return RespClient(client.database, node=client.node, clock=client.clock)


def sends(client: RespClient, data: bytes) -> bytes:
    """Send bytes while the reactor gives the connections their turns; return what is answered at once."""
    client.transport.writes.clear()
    client.protocol.dataReceived(data)
    return client.transport.written()


def test_input_beyond_the_budget_waits_for_the_timers() -> None:
    """The one that uses it up is carried out; the next ones are after the timers that are due, in their order."""
    first = RespClient()
    second, third = another(first), another(first)
    told: list[str] = []
    first.clock.callLater(0, lambda: told.append("a heartbeat"))
    second.transport.write = lambda data: told.append(f"second {data!r}")  # type: ignore[method-assign]
    third.transport.write = lambda data: told.append(f"third {data!r}")  # type: ignore[method-assign]

    assert sends(first, LONG) == b"+OK\r\n"
    second.protocol.dataReceived(command(b"PING"))
    third.protocol.dataReceived(command(b"PING"))
    assert told == []
    first.clock.advance(0)

    assert told == ["a heartbeat", "second b'+PONG\\r\\n'", "third b'+PONG\\r\\n'"]


class Turns(Clock):
    """A clock that leaves calls to the test, each of which is one turn of the timers."""

    def __init__(self, turns: list[Callable[[], object]]) -> None:
        super().__init__()
        self._turns = turns

    @override
    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kw: object) -> IDelayedCall:
        """Keep the call."""
        self._turns.append(callable)
        return super().callLater(delay, callable, *args, **kw)


def test_what_waits_counts_when_it_is_read() -> None:
    """So the rest of a long queue waits for the timers once more, with what comes meanwhile after it."""
    turns: list[Callable[[], object]] = []
    budget = ReadBudget(Turns(turns))
    read: list[int] = []

    def ask(number: int) -> None:
        if budget.take(BYTES_MAX // 2):
            read.append(number)
        else:
            budget.wait(lambda: ask(number))

    for number in range(5):
        ask(number)
    assert read == [0, 1]
    turns.pop()()
    ask(5)
    assert read == [0, 1, 2, 3]
    turns.pop()()
    assert read == [0, 1, 2, 3, 4, 5]
    turns.pop()()
    assert turns == []
    ask(6)
    assert read[-1] == 6


def test_the_input_of_one_connection_keeps_its_order() -> None:
    """However often more of it arrives while it waits, and in whatever pieces."""
    first = RespClient()
    second = another(first)
    sends(first, LONG)
    data = command(b"ECHO", b"1") + command(b"ECHO", b"2") + command(b"ECHO", b"3")
    for place in range(0, len(data), 7):
        sends(second, data[place : place + 7])
    assert second.transport.written() == b""

    assert second.sends(command(b"ECHO", b"4")) == b"$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n$1\r\n4\r\n"


def test_a_connection_that_ends_while_it_waits_is_not_read() -> None:
    """And those after it have their turn."""
    first = RespClient()
    gone, last = another(first), another(first)
    sends(first, LONG)
    sends(gone, command(b"SET", b"gone", b"1"))
    sends(last, command(b"SET", b"last", b"1"))
    gone.protocol.connectionLost()

    first.clock.advance(0)

    assert b"gone" not in first.database.items
    assert b"last" in first.database.items
