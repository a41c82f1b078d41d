"""The network between all nodes and to the clients: one proxy in front of each node, which identifies each sender.

A node's address in config.json is the proxy's, and the node itself binds another one. The first line of a connection
between nodes names the node that dialed, and each node sends only on connections that it has dialed. So a *link*, from
one node to another, is one direction of the traffic between the two, and can be harmed alone.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import msgspec
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from typing_extensions import override

from kvraft.chaos.pipes import FINE, HELD, Condition, Pipe
from kvraft.config import Address

CLIENT: Final = -1
"""The source of the links of clients."""

Link = tuple[int, int]
"""The node that dials, and the node that is dialed."""

HELLO_BYTES_MAX: Final = 4 * 1024
"""Longest first line between nodes, bytes."""
DIAL_TIMEOUT_S: Final = 1.0
"""Longest wait for a node to accept a connection, seconds; the kernel of a paused process still accepts."""


class _Hello(msgspec.Struct):
    sender: int = msgspec.field(name="from")


class Network:
    """The proxies of all nodes.

    Args:
        reactor: listens, dials and keeps the time.
        places: for each node, the address at which others reach it, and the address at which it listens.
    """

    def __init__(self, reactor: Any, places: Mapping[int, tuple[Address, Address]]) -> None:
        self._reactor = reactor
        self._places = places
        self._conditions: defaultdict[Link, Condition] = defaultdict(lambda: FINE)
        self._passages: defaultdict[Link, set[Passage]] = defaultdict(set)
        self._unknown: set[Passage] = set()
        """Connections whose source is not identified yet."""
        self._ports: list[IListeningPort] = []

    def open(self) -> None:
        """Listen in front of every node.

        Raises:
            CannotListenError: a port is taken.
        """
        for node, (public, _) in self._places.items():
            self._ports.append(self._reactor.listenTCP(public.port, _Before(self, node), interface=public.host))

    async def close(self) -> None:
        """Accept no more connections, and end all that are open."""
        for port in self._ports:
            await maybeDeferred(port.stopListening)
        self.break_off(self._passages)
        for passage in tuple(self._unknown):
            passage.abort()

    # --- harm --------------------------------------------------------------------------------------------------------

    def set_condition(self, links: Iterable[Link], condition: Condition) -> None:
        """Apply a condition to these links from now on."""
        for link in tuple(links):
            self._conditions[link] = condition
            for passage in tuple(self._passages[link]):
                passage.set_condition(condition)

    def break_off(self, links: Iterable[Link]) -> None:
        """End all connections of these links at once; new ones may be made."""
        for link in tuple(links):
            for passage in tuple(self._passages[link]):
                passage.abort()

    def wedge(self, links: Iterable[Link]) -> None:
        """Keep the present connections of these links open and carry nothing on them, for good; new ones work."""
        for link in tuple(links):
            for passage in tuple(self._passages[link]):
                passage.wedge()

    def heal(self) -> None:
        """Let everything pass again, except on connections that are wedged."""
        self.set_condition(tuple(self._conditions), FINE)

    def count(self, link: Link) -> int:
        """Return how many connections a link has."""
        return len(self._passages[link])

    def passages(self, link: Link) -> "frozenset[Passage]":
        """Return the connections of a link."""
        return frozenset(self._passages[link])

    # --- called by passages ------------------------------------------------------------------------------------------

    def begin(self, passage: "Passage") -> None:
        """Register a connection whose source is not identified yet."""
        self._unknown.add(passage)

    def identify(self, passage: "Passage", link: Link) -> Condition:
        """Register a connection under its link; return the condition of the link."""
        self._unknown.discard(passage)
        self._passages[link].add(passage)
        return self._conditions[link]

    def forget(self, passage: "Passage") -> None:
        """Remove a connection that has ended."""
        self._unknown.discard(passage)
        for passages in self._passages.values():
            passages.discard(passage)

    def dial(self, node: int, protocol: Protocol) -> "Deferred[Protocol]":
        """Connect to the address at which a node listens."""
        _, real = self._places[node]
        endpoint = TCP4ClientEndpoint(self._reactor, real.host, real.port, timeout=DIAL_TIMEOUT_S)
        connecting: Deferred[Protocol] = connectProtocol(endpoint, protocol)
        return connecting

    def pipe(self, source: Any, sink: Any) -> Pipe:
        """Return one direction of a connection."""
        return Pipe(self._reactor, source, sink)


class Passage:
    """One connection: accepted in front of a node, and passed on to it."""

    def __init__(self, network: Network, node: int) -> None:
        self._network = network
        self._node = node
        self._front: Any = None
        self._back: Any = None
        self._forward: Pipe | None = None
        self._backward: Pipe | None = None
        self._begun = bytearray()
        """What arrived before the source was identified, or before the node accepted the connection."""
        self._condition: Condition | None = None
        """None until the source is identified."""
        self._has_ended = False
        """Whether it was aborted."""
        self._is_wedged = False
        """Whether it carries nothing any more, whatever the condition of its link becomes."""
        self._sides = 2
        """How many of its sides are connected, once the node has accepted it."""

    def front_made(self, transport: Any) -> None:
        """Handle a connection from a peer or client to the node."""
        transport.setTcpNoDelay(True)
        self._front = transport
        self._network.begin(self)

    def front_received(self, data: bytes) -> None:
        """Identify the source from the first bytes, then pass all bytes on to the node."""
        if self._forward is not None:
            self._forward.receive(data)
            return
        self._begun += data
        if self._condition is not None:
            return
        sender = _sender(self._begun)
        if sender is not None:
            self._condition = self._network.identify(self, (sender, self._node))
            if self._condition.is_cut:
                self.abort()
                return
            self._network.dial(self._node, _Back(self)).addErrback(lambda _: self.abort())

    def front_lost(self) -> None:
        """Close the node's side after everything that waits has been written to it."""
        if self._forward is None:
            self.abort()
            return
        self._forward.end()
        self._lost_one()

    def back_made(self, transport: Any) -> None:
        """Begin to pass bytes on: the node has accepted the connection."""
        if self._has_ended or self._condition is None:
            transport.abortConnection()
            return
        transport.setTcpNoDelay(True)
        self._back = transport
        self._forward = self._network.pipe(self._front, transport)
        self._backward = self._network.pipe(transport, self._front)
        self._forward.set_condition(self._condition)
        self._backward.set_condition(self._condition)
        self._forward.receive(bytes(self._begun))

    def back_received(self, data: bytes) -> None:
        """Pass on bytes from the node."""
        if self._backward is not None:
            self._backward.receive(data)

    def back_lost(self) -> None:
        """Close the other side after everything that waits has been written to it."""
        if self._backward is not None:
            self._backward.end()
        self._lost_one()

    def set_condition(self, condition: Condition) -> None:
        """Apply a condition to this connection from now on."""
        if condition.is_cut:
            self.abort()
            return
        if self._is_wedged:
            return
        self._condition = condition
        for pipe in (self._forward, self._backward):
            if pipe is not None:
                pipe.set_condition(condition)

    def wedge(self) -> None:
        """Stay open and carry nothing, for good; not even the close of one side is passed on."""
        self.set_condition(HELD)
        self._is_wedged = True

    def abort(self) -> None:
        """End both sides at once."""
        self._has_ended = True
        self._network.forget(self)
        for pipe in (self._forward, self._backward):
            if pipe is not None:
                pipe.drop()
        for transport in (self._front, self._back):
            if transport is not None:
                transport.abortConnection()

    def _lost_one(self) -> None:
        self._sides -= 1
        if not self._sides:
            self._network.forget(self)


class _Before(Factory):
    """Accepts the connections to one node."""

    noisy = False

    def __init__(self, network: Network, node: int) -> None:
        self._network = network
        self._node = node

    @override
    def buildProtocol(self, addr: object) -> Protocol:
        return _Front(Passage(self._network, self._node))


class _Front(Protocol):
    """The side of the peer or client that dialed."""

    def __init__(self, passage: Passage) -> None:
        self._passage = passage

    @override
    def connectionMade(self) -> None:
        self._passage.front_made(self.transport)

    @override
    def dataReceived(self, data: bytes) -> None:
        self._passage.front_received(data)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._passage.front_lost()


class _Back(Protocol):
    """The side of the node."""

    def __init__(self, passage: Passage) -> None:
        self._passage = passage

    @override
    def connectionMade(self) -> None:
        self._passage.back_made(self.transport)

    @override
    def dataReceived(self, data: bytes) -> None:
        self._passage.back_received(data)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._passage.back_lost()


def _sender(begun: bytes | bytearray) -> int | None:
    """Return the sender, or None while the first line is incomplete.

    A sender that is neither node nor client counts as a client, and the node refuses it.
    """
    if not begun.startswith(b"{"):
        return CLIENT
    line, newline, _ = bytes(begun[:HELLO_BYTES_MAX]).partition(b"\n")
    if not newline:
        return None if len(begun) < HELLO_BYTES_MAX else CLIENT
    try:
        return msgspec.json.decode(line, type=_Hello).sender
    except msgspec.DecodeError:
        return CLIENT


def between(group: Collection[int], others: Collection[int]) -> list[Link]:
    """Return the links from each of `group` to each of `others`, without links from a node to itself."""
    return [(one, other) for one in group for other in others if one != other]
