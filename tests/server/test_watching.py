"""Connections that the reactor watches as one: each still has all that a connection of its own would have."""

import socket
from collections.abc import Callable, Iterator

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from typing_extensions import override

from kvraft.server import watch_together
from tests.conftest import deadline
from tests.server.twins import logged_by

TURN_S = 0.001
TURNS_MAX = 3000
LIMIT_S = 30


class Echo(Protocol):
    """Returns what it hears; "raise" is more than it can bear."""

    def __init__(self) -> None:
        self.ended: Failure | None = None
        self.heard = b""

    @override
    def dataReceived(self, data: bytes) -> None:
        self.heard += data
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

    port: IListeningPort
    protocols: list[Echo]
    clients: list[socket.socket] = attrs.field(factory=list)

    async def connect(self) -> socket.socket:
        """Return a client that the server has accepted."""
        client = socket.create_connection(("127.0.0.1", self.port.getHost().port))  # type: ignore[attr-defined]
        client.setblocking(False)
        self.clients.append(client)
        await until(lambda: len(self.protocols) == len(self.clients))
        return client


async def until(condition: Callable[[], bool]) -> None:
    """Give the reactor turns until `condition` holds."""
    for _ in range(TURNS_MAX):
        if condition():
            return
        await deferLater(reactor, TURN_S)
    pytest.fail("it did not happen")


async def hear(client: socket.socket) -> bytes:
    """Return what the client hears next."""
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
    watch_together(port, reactor)
    result = Served(port, protocols)
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
async def test_the_end_of_a_connection_is_seen(served: Served) -> None:
    """A client that closes, and one that resets, are both lost to their protocol; what they said before is heard."""
    closing, resetting = await served.connect(), await served.connect()
    resetting.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    closing.send(b"last words")
    closing.close()
    resetting.close()
    await until(lambda: all(protocol.ended is not None for protocol in served.protocols))

    assert served.protocols[0].heard == b"last words"


@deadline(LIMIT_S)
async def test_a_paused_connection_is_not_read(served: Served) -> None:
    """What a connection that is paused is sent is heard when it is resumed; its neighbours are read meanwhile."""
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

    with logged_by("kvraft.server.watching") as events:
        broken.send(b"raise")
        await until(lambda: served.protocols[0].ended is not None)

    assert [event["log_failure"].type for event in events] == [ZeroDivisionError]
    neighbour.send(b"hello")
    assert await hear(neighbour) == b"hello"
