import socket
from collections.abc import Iterator
from unittest.mock import patch

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.internet.tcp import Connection
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from kvraft.net.write_now import half_close_now, write_now
from tests.conftest import deadline

BIG = bytes(range(256)) * 32 * 1024  # 8 MiB: more than any socket buffer here takes at once


class Ending(Protocol):
    """Records how its connection ended."""

    def __init__(self) -> None:
        self.reasons: list[Failure] = []
        self.ended: Deferred[None] = Deferred()

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reasons.append(reason)
        self.ended.callback(None)


@implementer(IHalfCloseableProtocol)
class HalfClosing(Ending):
    """Records which sides of its connection were closed, too."""

    def __init__(self) -> None:
        super().__init__()
        self.closed_sides: list[str] = []

    def readConnectionLost(self) -> None:
        """The far end has closed its side."""
        self.closed_sides.append("theirs")

    def writeConnectionLost(self) -> None:
        """Our side is closed."""
        self.closed_sides.append("ours")


class Pair:
    """A Twisted transport on a real socket, and the plain socket at its other end."""

    def __init__(self, protocol: Ending) -> None:
        ours, self.far = socket.socketpair()
        self.far.setblocking(False)
        self.protocol = protocol
        self.transport = Connection(ours, self.protocol, reactor)
        self.transport.connected = 1  # as tcp.Server does
        self.transport.startReading()
        self.protocol.makeConnection(self.transport)

    def received(self) -> bytes:
        """Return what has arrived by now, without giving the reactor a turn."""
        try:
            return self.far.recv(1 << 24)
        except BlockingIOError:
            return b""

    async def receive(self, length: int) -> bytes:
        """Return the next `length` bytes, with as many turns of the reactor as it takes; fewer at the stream's end."""
        held = bytearray()
        while len(held) < length:
            try:
                data = self.far.recv(1 << 20)
            except BlockingIOError:
                await deferLater(reactor, 0)
                continue
            if not data:
                break
            held += data
        return bytes(held)

    def end(self) -> None:
        """Close both sockets."""
        self.far.close()
        if self.transport.connected:
            self.transport.abortConnection()


@pytest.fixture
def pair(running_reactor: None) -> Iterator[Pair]:
    """A connected pair, closed after the test."""
    pair = Pair(Ending())
    yield pair
    pair.end()


@pytest.fixture
def sides(running_reactor: None) -> Iterator[tuple[Pair, list[str]]]:
    """A connected pair, whose protocol knows half-closes, and which of its sides are closed, in order."""
    protocol = HalfClosing()
    pair = Pair(protocol)
    yield pair, protocol.closed_sides
    pair.end()


def test_an_idle_socket_takes_the_bytes_before_the_call_returns(pair: Pair) -> None:
    """Nothing waits for the reactor: the far end can read as soon as the call has returned."""
    write_now(pair.transport, b"at once")

    assert pair.received() == b"at once"


def test_a_plain_write_waits_for_the_reactor(pair: Pair) -> None:
    """What `write_now` saves: the transport's own write leaves the bytes in a buffer until the reactor's next turn."""
    pair.transport.write(b"later")

    assert pair.received() == b""


@deadline(10)
async def test_bytes_never_overtake_those_that_wait(pair: Pair) -> None:
    """After a buffered write a direct one would come first; it is buffered too."""
    pair.transport.write(b"one ")
    write_now(pair.transport, b"two ")
    write_now(pair.transport, b"three")

    assert await pair.receive(13) == b"one two three"


@deadline(10)
async def test_what_the_socket_does_not_take_follows(pair: Pair) -> None:
    """A write that the socket takes in part arrives whole, and later writes come after it."""
    write_now(pair.transport, BIG)
    write_now(pair.transport, b"end")
    taken_at_once = pair.received()
    assert 0 < len(taken_at_once) < len(BIG)

    rest = await pair.receive(len(BIG) + 3 - len(taken_at_once))
    assert taken_at_once + rest == BIG + b"end"
    write_now(pair.transport, b"idle again")
    assert pair.received() == b"idle again"


@deadline(10)
async def test_while_a_buffer_is_half_sent_new_bytes_wait(pair: Pair) -> None:
    """The reactor has taken what waits into its own buffer: that counts as waiting too."""
    pair.transport.write(BIG)
    pair.transport.doWrite()
    assert pair.transport.dataBuffer

    write_now(pair.transport, b"end")

    assert await pair.receive(len(BIG) + 3) == BIG + b"end"


@deadline(10)
async def test_a_broken_socket_is_reported_by_connection_lost_and_once(pair: Pair) -> None:
    """A send that fails raises nothing and calls nothing back from within; the reactor reports the loss."""
    pair.transport.stopReading()  # so that only the write can find out
    pair.far.close()

    write_now(pair.transport, b"into the void")
    assert pair.protocol.reasons == []
    await pair.protocol.ended

    assert len(pair.protocol.reasons) == 1
    assert not pair.transport.connected


@deadline(10)
async def test_a_lost_connection_takes_nothing(pair: Pair) -> None:
    """Writing to a transport whose connection is gone does nothing, as `transport.write` does nothing."""
    pair.far.close()
    await pair.protocol.ended

    write_now(pair.transport, b"too late")

    assert len(pair.protocol.reasons) == 1


@deadline(10)
async def test_an_aborted_connection_sends_nothing_more(pair: Pair) -> None:
    """Between abortConnection and connectionLost no byte leaves."""
    pair.transport.abortConnection()

    write_now(pair.transport, b"too late")
    await pair.protocol.ended

    assert await pair.receive(1) == b""


@deadline(10)
async def test_bytes_in_front_of_a_close_arrive_and_the_connection_closes(pair: Pair) -> None:
    """write_now, then loseConnection: the far end reads the bytes and then the end."""
    write_now(pair.transport, b"last words")
    pair.transport.loseConnection()

    assert await pair.receive(100) == b"last words"
    await pair.protocol.ended


@deadline(10)
async def test_a_closing_transport_decides_itself_what_becomes_of_bytes(pair: Pair) -> None:
    """After loseConnection the bytes go the transport's own way, not past it."""
    pair.transport.loseConnection()

    write_now(pair.transport, b"late")

    assert pair.received() == b""
    await pair.protocol.ended


@deadline(10)
async def test_a_half_closed_transport_sends_nothing(pair: Pair) -> None:
    """After loseWriteConnection the bytes go the transport's own way too, before our side is closed and after it."""
    pair.transport.loseWriteConnection()

    write_now(pair.transport, b"late")
    assert pair.received() == b""
    assert await pair.receive(100) == b"late"

    with patch.object(pair.transport, "write") as write:
        write_now(pair.transport, b"too late")
    write.assert_called_once_with(b"too late")


def test_an_in_memory_transport_gets_an_ordinary_write() -> None:
    """Tests and wrappers need not look like a socket."""
    transport = StringTransport()

    write_now(transport, b"one")
    write_now(transport, b"two")

    assert transport.value() == b"onetwo"


def test_bytes_of_a_connection_under_tls_go_through_tls(pair: Pair) -> None:
    """A socket that speaks TLS by startTLS is still a Connection: its bytes must not go around the encryption.

    Twisted's own `write` looks at `TLS` and takes the right way; so whether it is called is all that counts.
    """
    with patch.object(pair.transport, "TLS", new=True), patch.object(pair.transport, "write") as write:
        write_now(pair.transport, b"secret")

    write.assert_called_once_with(b"secret")
    assert pair.received() == b""


@deadline(10)
async def test_an_idle_connection_is_half_closed_before_the_call_returns(sides: tuple[Pair, list[str]]) -> None:
    """The far end reads the answer and the end of the stream at once, and may still send until it closes its side."""
    pair, closed = sides
    write_now(pair.transport, b"answer")
    half_close_now(pair.transport)

    assert closed == ["ours"]
    assert pair.received() == b"answer"
    assert pair.far.recv(1) == b"", "the end of the stream"
    pair.far.send(b"more")
    pair.far.shutdown(socket.SHUT_WR)
    while len(closed) < 2:
        await deferLater(reactor, 0)
    assert closed == ["ours", "theirs"]
    assert pair.protocol.reasons == []
    pair.transport.loseConnection()
    await pair.protocol.ended


@deadline(10)
async def test_a_half_close_comes_after_the_bytes_that_wait(sides: tuple[Pair, list[str]]) -> None:
    """Output that the socket has not taken yet is sent first."""
    pair, closed = sides
    write_now(pair.transport, BIG)
    half_close_now(pair.transport)

    assert closed == []
    assert await pair.receive(len(BIG) + 1) == BIG
    while not closed:
        await deferLater(reactor, 0)


def test_a_half_close_under_tls_goes_through_tls(sides: tuple[Pair, list[str]]) -> None:
    """TLS says goodbye first."""
    pair, closed = sides
    with patch.object(pair.transport, "TLS", new=True), patch.object(pair.transport, "loseWriteConnection") as lose:
        half_close_now(pair.transport)

    lose.assert_called_once_with()
    assert closed == []
