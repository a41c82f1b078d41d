import json
from collections.abc import Iterator

import attrs
import pytest
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.logger import LogEvent
from twisted.python.failure import Failure

from kvraft.server import ServerLimits, SharedPort, build_port
from kvraft.server.sniff import FirstByte
from tests.server.twins import ClientTransport, MemoryDatabase, logged_by


class Acceptor(Protocol):
    """A peer's protocol, which only records."""

    def __init__(self) -> None:
        self.received = b""
        self.lost: list[Failure] = []

    def dataReceived(self, data: bytes) -> None:
        """Record it."""
        self.received += data

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # never called without
        """Record it."""
        self.lost.append(reason)


@attrs.define
class Node:
    """A node's port."""

    limits: ServerLimits = attrs.field(factory=ServerLimits)
    clock: Clock = attrs.field(factory=Clock)
    acceptors: list[Acceptor] = attrs.field(factory=list)
    port: SharedPort = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Open the port."""
        self.port = build_port(MemoryDatabase(), self._accept, self.limits, self.clock)

    def _accept(self) -> Acceptor:
        self.acceptors.append(Acceptor())
        return self.acceptors[-1]

    def connect(self, *chunks: bytes) -> tuple[FirstByte, ClientTransport]:
        """Open a connection on which `chunks` arrive."""
        connection = self.port.buildProtocol(None)
        assert connection is not None
        transport = ClientTransport()
        connection.makeConnection(transport)
        for chunk in chunks:
            connection.dataReceived(chunk)
        return connection, transport


def lose(connection: FirstByte) -> None:
    """End the connection."""
    connection.connectionLost(Failure(ConnectionError()))


@pytest.fixture
def node() -> Node:
    """A node with default limits."""
    return Node()


@pytest.mark.parametrize("chunks", [[b"PING\n"], [b"ping\n"], [b"P", b"ING\n"]])
def test_a_letter_opens_the_line_protocol(node: Node, chunks: list[bytes]) -> None:
    """A letter as first byte is the line protocol's, which gets all the bytes."""
    _, transport = node.connect(*chunks)

    assert transport.written() == b'{"status":"PONG"}\n'
    assert node.port.clients == 1


@pytest.mark.parametrize("chunks", [[b"\r\n", b"PING\n"], [b"\nPING\n"], [b"  \n", b"PING\n"]])
def test_a_blank_line_opens_it_too(node: Node, chunks: list[bytes]) -> None:
    """What people type by mistake at first is answered by the line protocol, and then what they meant."""
    _, transport = node.connect(*chunks)

    *mistakes, answer = transport.written().splitlines()
    assert all(b'"USAGE"' in mistake for mistake in mistakes)
    assert answer == b'{"status":"PONG"}'


def test_a_brace_opens_the_peers(node: Node) -> None:
    """`{` is a peer's: its protocol gets all bytes, and the end of the connection."""
    connection, transport = node.connect(b"{", b'"hello":1}')
    lose(connection)

    [acceptor] = node.acceptors
    assert acceptor.received == b'{"hello":1}'
    assert acceptor.transport is transport
    assert len(acceptor.lost) == 1
    assert node.port.clients == 0


@pytest.mark.parametrize("first", [b"1", b"\x00", b"\xff", b"["])
def test_any_other_byte_is_refused(node: Node, first: bytes) -> None:
    """Any other first byte is answered with one line of JSON, our side closes, and what follows is dropped."""
    connection, transport = node.connect(first + b"3\r\n", b"SET a b\n")

    [answer] = transport.written().splitlines()
    assert json.loads(answer)["error"] == "UNKNOWN_PROTOCOL"
    assert f"0x{first[0]:02x}" in json.loads(answer)["message"]
    assert transport.is_half_closed()
    assert not transport.is_closing()

    connection.readConnectionLost()
    assert transport.is_closing()
    assert not transport.is_aborted()


def test_tls_is_named(node: Node) -> None:
    """A client of TLS gets the answer that this port has none."""
    _, transport = node.connect(b"\x16\x03\x01")

    assert b"TLS" in transport.written()


def test_refusal_lingers_no_longer_than_the_deadline(node: Node) -> None:
    """A refused client that does not close has a moment, then the connection ends; nothing is left of it."""
    connection, transport = node.connect(b"~")
    connection.writeConnectionLost()

    node.clock.advance(node.limits.linger_s)

    assert transport.is_closing()
    lose(connection)
    assert node.clock.getDelayedCalls() == []


def test_sockets_are_tuned(node: Node) -> None:
    """Small answers leave at once, and a client that vanished is found."""
    _, transport = node.connect()

    assert transport.options == ["nodelay True", "keepalive True"]


def test_silent_connection_is_dropped(node: Node) -> None:
    """A connection that has not sent a byte by the deadline is dropped, no earlier."""
    _, transport = node.connect()

    node.clock.advance(node.limits.first_byte_s - 0.1)
    assert not transport.is_aborted()
    node.clock.advance(0.2)

    assert transport.is_aborted()


@pytest.mark.parametrize("first", [b"PING\nKEEP\n", b"{"])
def test_first_byte_ends_its_deadline(node: Node, first: bytes) -> None:
    """Once a byte has come, the deadline for it is over."""
    _, transport = node.connect(first)

    node.clock.advance(node.limits.first_byte_s * 2)

    assert not transport.is_aborted()


def test_silent_connections_are_bounded() -> None:
    """Of connections without a byte the oldest makes room for the newest; those that speak are not touched."""
    node = Node(ServerLimits(silent=2))
    _, speaking = node.connect(b"KEEP\n")
    connections = [node.connect() for _ in range(4)]

    assert [transport.is_aborted() for _, transport in connections] == [True, True, False, False]
    assert not speaking.is_aborted()
    for connection, _ in connections:
        lose(connection)
    _, last = node.connect()
    assert not last.is_aborted()
    assert len(node.port.occupancy.silent) == 1


def test_refused_connections_are_bounded() -> None:
    """Refused connections count as silent ones until they are gone."""
    node = Node(ServerLimits(silent=2))

    transports = [node.connect(b"~")[1] for _ in range(3)]

    assert [transport.is_aborted() for transport in transports] == [True, False, False]


def test_connections_are_bounded_whoever_speaks() -> None:
    """Beyond the limit of all connections a new one is closed at once, also while a dropped one is not gone yet."""
    node = Node(ServerLimits(silent=1, connections=2))
    dropped, transport = node.connect()
    peer, _ = node.connect(b"{")

    assert transport.is_aborted()
    assert node.port.buildProtocol(None) is None
    lose(dropped)
    node.connect(b"{")
    assert node.port.buildProtocol(None) is None
    lose(peer)
    assert node.port.buildProtocol(None) is not None


@pytest.fixture
def warnings() -> Iterator[list[LogEvent]]:
    """Collect what the port logs."""
    with logged_by("kvraft.server.occupancy") as events:
        yield events


def test_clients_are_bounded_and_peers_are_not() -> None:
    """One client too many gets OVERLOADED and is closed, a peer still comes in, and a gap is filled again."""
    node = Node(ServerLimits(clients=2))
    first, _ = node.connect(b"KEEP\n")
    node.connect(b"KEEP\n")

    _, refused = node.connect(b"SET a b\n")
    _, another = node.connect(b"SET a b\n")
    node.connect(b"{}")

    assert json.loads(refused.written())["error"] == "OVERLOADED"
    assert refused.is_half_closed()
    assert another.is_half_closed()
    assert node.acceptors[0].received == b"{}"
    assert (node.port.clients, node.port.occupancy.refused_clients) == (2, 2)

    lose(first)
    _, welcome = node.connect(b"PING\n")
    assert welcome.written() == b'{"status":"PONG"}\n'


def test_crowds_are_logged_once_each(warnings: list[LogEvent]) -> None:
    """A crowd at the limit is logged when it begins, and the next one when half of this one has gone."""
    node = Node(ServerLimits(clients=4))
    crowd = [node.connect(b"KEEP\n")[0] for _ in range(4)]
    for _ in range(2):
        node.connect(b"PING\n")
    assert len(warnings) == 1

    lose(crowd[0])
    for _ in range(2):
        node.connect(b"KEEP\n")
    assert len(warnings) == 1

    lose(crowd[1])
    lose(crowd[2])
    for _ in range(3):
        node.connect(b"KEEP\n")
    assert len(warnings) == 2


def test_half_close_reaches_only_who_understands_it(node: Node) -> None:
    """For Twisted the connection half-closes exactly when the protocol that took it over does."""
    silent, _ = node.connect()
    peer, _ = node.connect(b"{")
    client, transport = node.connect(b"KEEP\nGET a")

    assert IHalfCloseableProtocol(silent, None) is None
    assert IHalfCloseableProtocol(peer, None) is None
    IHalfCloseableProtocol(client).readConnectionLost()
    assert transport.written().endswith(b'{"value":null}\n')


def test_input_goes_straight_to_the_protocol(node: Node) -> None:
    """Once handed over, a read costs no detour."""
    connection, _ = node.connect(b"{")

    assert connection.dataReceived == node.acceptors[0].dataReceived


def test_nothing_is_left_of_lost_connections(node: Node) -> None:
    """Lost connections leave no timer and are counted no more."""
    for chunks in ([], [b"PING\n"], [b"*"], [b"{"]):
        lose(node.connect(*chunks)[0])

    assert node.clock.getDelayedCalls() == []
    assert node.port.clients == 0
    assert node.port.occupancy.silent == {}
