"""Connections that the reactor watches as one: each still has all that a connection of its own would have."""

import select
import socket
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.internet.task import deferLater
from twisted.internet.tcp import Connection, Server
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import alsoProvides

from kvraft.net.connection_watch import SMALL_READ_BYTES, ConnectionWatch, watch_connections
from tests.conftest import deadline
from tests.server.twins import logged_by

TURN_S = 0.001
TURNS_MAX = 3000
LIMIT_S = 30


class Echo(Protocol):
    """Echoes what it receives; at "raise" it raises."""

    def __init__(self) -> None:
        self.ended: Failure | None = None
        self.heard = b""
        self.on_input: Callable[[], None] = lambda: None

    @override
    def dataReceived(self, data: bytes) -> None:
        self.heard += data
        self.on_input()
        if data == b"raise":
            raise ZeroDivisionError
        assert self.transport is not None
        self.transport.write(data)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended = reason


class Echoes(ServerFactory):
    """Makes the protocols, and keeps them."""

    noisy = False

    def __init__(self) -> None:
        self.made: list[Echo] = []

    @override
    def buildProtocol(self, addr: IAddress | None) -> Echo:
        self.made.append(Echo())
        return self.made[-1]


@attrs.define
class Served:
    """A port, and the server's end of every connection to it."""

    port: Any
    watch: ConnectionWatch
    epoll: "Epoll"
    """The one of `watch`."""
    protocols: list[Echo]
    clients: list[socket.socket] = attrs.field(factory=list)

    async def connect(self) -> socket.socket:
        """Return a client that the server has accepted."""
        client = socket.create_connection(("127.0.0.1", self.port.getHost().port))
        client.setblocking(False)
        self.clients.append(client)
        await until(lambda: len(self.protocols) == len(self.clients))
        return client

    def read_without_input(self) -> None:
        """Let the kernel report every connection as readable, so that a read meets what it would not otherwise."""
        self.epoll.is_eager = True


async def until(condition: Callable[[], bool]) -> None:
    """Give the reactor turns until `condition` holds."""
    for _ in range(TURNS_MAX):
        if condition():
            return
        await deferLater(reactor, TURN_S)
    pytest.fail("it did not happen")


async def hear(client: socket.socket) -> bytes:
    """Return what the client receives next."""
    heard: list[bytes] = []

    def try_once() -> bool:
        try:
            heard.append(client.recv(1000))
        except BlockingIOError:
            return False
        return True

    await until(try_once)
    return heard[0]


@pytest.fixture
def served() -> Iterator[Served]:
    """A port whose connections are watched as one."""
    factory = Echoes()
    protocols = factory.made
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    epoll = Epoll()
    with patch.object(select, "epoll", lambda: epoll):
        watch = watch_connections(reactor)
    assert watch is not None
    watch.watch(port)
    result = Served(port, watch, epoll, protocols)
    yield result
    for client in result.clients:
        client.close()
    pytest_twisted.blockon(port.stopListening())
    pytest_twisted.blockon(Deferred.fromCoroutine(until(lambda: all(each.ended for each in protocols))))


@deadline(LIMIT_S)
async def test_many_connections_are_one_reader_of_the_reactor(served: Served) -> None:
    """Each is read from, in whatever order they speak, and the reactor has one thing to look at for all of them."""
    before = len(reactor.getReaders())
    clients = [await served.connect() for _ in range(20)]

    assert len(reactor.getReaders()) == before + 1
    for client in reversed(clients):
        client.send(b"hello")
    assert [await hear(client) for client in clients] == [b"hello"] * 20


@deadline(LIMIT_S)
async def test_a_call_after_the_reads_comes_when_all_input_is_read(served: Served) -> None:
    """It is asked for with each input of a round, and comes after the last of them."""
    clients = [await served.connect() for _ in range(3)]
    read: list[bytes] = []
    for protocol in served.protocols:
        protocol.on_input = lambda: served.watch.call_after_reads(look)

    def look() -> None:
        read.append(b"".join(each.heard for each in served.protocols))

    for client in clients:
        client.send(b"x")
    await until(lambda: bool(read))
    await deferLater(reactor, TURN_S)

    assert read[0] == b"xxx"


@deadline(LIMIT_S)
async def test_a_call_that_asks_for_another_one_lets_new_input_come_first(served: Served) -> None:
    """What has arrived by the end of the first call is read before the second call."""
    client = await served.connect()
    (protocol,) = served.protocols
    seen: list[bytes] = []

    def first() -> None:
        protocol.on_input = lambda: None
        client.send(b"new")
        served.watch.call_after_reads(lambda: seen.append(protocol.heard))

    protocol.on_input = lambda: served.watch.call_after_reads(first)
    client.send(b"old ")
    await until(lambda: bool(seen))

    assert seen == [b"old new"]


@deadline(LIMIT_S)
async def test_a_call_that_is_asked_for_between_two_rounds_comes_soon(served: Served) -> None:
    """It does not wait for the next input."""
    calls: list[str] = []

    served.watch.call_after_reads(lambda: calls.append("made"))
    assert calls == []
    await until(lambda: bool(calls))


@deadline(LIMIT_S)
async def test_the_end_of_a_connection_is_seen(served: Served) -> None:
    """A client that closes, and one that resets, are both lost to their protocol; what they sent before is received."""
    closing, resetting = await served.connect(), await served.connect()
    resetting.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    closing.send(b"last words")
    closing.close()
    resetting.close()
    await until(lambda: all(protocol.ended is not None for protocol in served.protocols))

    assert served.protocols[0].heard == b"last words"


@deadline(LIMIT_S)
async def test_the_end_of_input_is_seen_in_the_round_of_reads_that_meets_it(served: Served) -> None:
    """The reactor need not watch the connection first: the protocol has ended when the calls after the reads run."""
    client = await served.connect()
    client.close()

    served.watch.doRead()

    assert served.protocols[0].ended is not None


@deadline(LIMIT_S)
async def test_a_paused_connection_is_not_read(served: Served) -> None:
    """What a connection that is paused is sent is read when it is resumed; its neighbours are read meanwhile."""
    paused, neighbour = await served.connect(), await served.connect()
    transport = served.protocols[0].transport
    assert transport is not None
    transport.pauseProducing()  # type: ignore[attr-defined]

    paused.send(b"later")
    neighbour.send(b"now")
    assert await hear(neighbour) == b"now"
    assert served.protocols[0].heard == b""

    transport.resumeProducing()  # type: ignore[attr-defined]
    assert await hear(paused) == b"later"


@deadline(LIMIT_S)
async def test_a_defect_ends_one_connection(served: Served) -> None:
    """A protocol that raises loses its connection, and the log says why; its neighbours are served on."""
    broken, neighbour = await served.connect(), await served.connect()

    with logged_by("kvraft.net.connection_watch") as events:
        broken.send(b"raise")
        await until(lambda: served.protocols[0].ended is not None)

    assert [event["log_failure"].type for event in events] == [ZeroDivisionError]
    neighbour.send(b"hello")
    assert await hear(neighbour) == b"hello"


class Epoll:
    """An epoll; once it is eager, each connection is readable all the time, and nothing else ever happens to one."""

    def __init__(self) -> None:
        self.is_eager = False
        self._epoll = select.epoll()
        self._descriptors: list[int] = []

    def register(self, descriptor: int, events: int) -> None:
        """Watch one more."""
        self._epoll.register(descriptor, events)
        self._descriptors.append(descriptor)

    def unregister(self, descriptor: int) -> None:
        """Watch one less."""
        self._epoll.unregister(descriptor)
        self._descriptors.remove(descriptor)

    def poll(self, seconds: float, events: int) -> list[tuple[int, int]]:
        """Say which have input."""
        if self.is_eager:
            return [(descriptor, select.EPOLLIN) for descriptor in self._descriptors]
        return self._epoll.poll(seconds, events)

    def fileno(self) -> int:
        """Return what is readable when one of them truly is."""
        return self._epoll.fileno()

    def close(self) -> None:
        """Watch none."""
        self._epoll.close()


@deadline(LIMIT_S)
async def test_a_connection_without_input_is_left_alone(served: Served) -> None:
    """To read where nothing is to be read is no end and no error: the connection is watched as before."""
    served.read_without_input()
    speaker, silent = await served.connect(), await served.connect()

    speaker.send(b"hello")
    assert await hear(speaker) == b"hello"
    silent.send(b"later")
    assert await hear(silent) == b"later"

    assert not {protocol.transport for protocol in served.protocols} & {*reactor.getReaders()}
    assert [protocol.ended for protocol in served.protocols] == [None, None]


@deadline(LIMIT_S)
@pytest.mark.parametrize("resets", [False, True])
async def test_an_end_that_comes_to_light_in_a_read_is_seen(served: Served, resets: bool) -> None:
    """An end or an error that a read meets first is found again by the reactor, and reported to the protocol."""
    served.read_without_input()
    client = await served.connect()
    if resets:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    client.close()

    await until(lambda: served.protocols[0].ended is not None)


@deadline(LIMIT_S)
@pytest.mark.parametrize("in_a_read", [False, True])
async def test_a_half_close_is_told_and_answers_still_leave(served: Served, in_a_read: bool) -> None:
    """A protocol that knows half-closes is called for it, once, also when a read meets it, and can still write."""
    if in_a_read:
        served.read_without_input()
    client = await served.connect()
    protocol, told = served.protocols[0], list[str]()
    protocol.readConnectionLost = lambda: told.append("half-close")  # type: ignore[attr-defined]
    alsoProvides(protocol, IHalfCloseableProtocol)

    client.send(b"hello")
    client.shutdown(socket.SHUT_WR)
    await until(lambda: told != [])
    assert await hear(client) == b"hello"
    assert protocol.transport is not None
    protocol.transport.write(b"goodbye")

    assert await hear(client) == b"goodbye"
    assert told == ["half-close"]
    assert protocol.ended is None
    protocol.transport.loseConnection()


@deadline(LIMIT_S)
async def test_a_plain_connection_is_read_without_detours(served: Served) -> None:
    """Input of a plain connection is handed to its protocol without Twisted's own read, no more of it at a time."""
    client = await served.connect()
    length = 4 * Connection.bufferSize + 1

    with (
        patch.object(Connection, "doRead", side_effect=AssertionError),
        patch.object(served.protocols[0], "dataReceived") as received,
    ):
        client.setblocking(True)
        client.sendall(bytes(length))
        await until(lambda: sum(len(call.args[0]) for call in received.mock_calls) == length)

    sizes = [len(call.args[0]) for call in received.mock_calls]
    assert max(sizes) <= Connection.bufferSize
    assert sizes[0] == SMALL_READ_BYTES, "what most clients send needs no large buffer"
    assert max(sizes) > SMALL_READ_BYTES, "a client that has more is read in large pieces"


@deadline(LIMIT_S)
async def test_input_goes_to_the_protocol_of_the_moment(served: Served) -> None:
    """A connection whose protocol is replaced is read by the new one from then on."""
    client = await served.connect()
    client.send(b"hello")
    assert await hear(client) == b"hello"
    first, second = served.protocols[0], Echo()
    assert isinstance(first.transport, Connection)
    second.transport, first.transport.protocol = first.transport, second

    client.send(b"goodbye")
    assert await hear(client) == b"goodbye"

    assert (first.heard, second.heard) == (b"hello", b"goodbye")
    first.transport.protocol = first


class Counting(Server):
    """A connection that reads in a way of its own."""

    reads = 0

    @override
    def doRead(self) -> Any:
        self.reads += 1
        return super().doRead()


class Shouting(Server):
    """A connection that hands over its input in a way of its own."""

    @override
    def _dataReceived(self, data: bytes | None) -> Any:
        return super()._dataReceived(data and data.upper())


@deadline(LIMIT_S)
async def test_a_connection_that_reads_its_own_way_does(served: Served) -> None:
    """What is more than a plain connection reads in its own way, and its defects and its end are seen as well."""
    served.port.transport = Counting
    client, broken = await served.connect(), await served.connect()

    client.send(b"hello")
    assert await hear(client) == b"hello"
    assert served.protocols[0].transport.reads == 1  # type: ignore[union-attr]
    with logged_by("kvraft.net.connection_watch") as events:
        broken.send(b"raise")
        client.close()
        await until(lambda: all(protocol.ended is not None for protocol in served.protocols))

    assert [event["log_failure"].type for event in events] == [ZeroDivisionError]


@deadline(LIMIT_S)
async def test_a_connection_that_hands_over_its_own_way_does(served: Served) -> None:
    """It is enough that what has been read goes another way."""
    served.port.transport = Shouting
    client = await served.connect()

    client.send(b"hello")

    assert await hear(client) == b"HELLO"


@deadline(LIMIT_S)
async def test_an_aborted_connection_hears_nothing_more(served: Served) -> None:
    """Between abortConnection and connectionLost nothing is read, not even where somebody resumes it."""
    client = await served.connect()
    client.send(b"too late")
    transport = served.protocols[0].transport
    assert isinstance(transport, Connection)

    transport.abortConnection()
    transport.resumeProducing()
    await until(lambda: served.protocols[0].ended is not None)

    assert served.protocols[0].heard == b""
