"""The network between all nodes and to the clients: one proxy before each node, which knows who speaks.

A node's address in config.json is the proxy's, and the node itself binds another one. The first line of a connection
between nodes says who dialed, and each node sends only on connections that it has dialed: so a *link*, from one node to
another, is one direction of the traffic between the two, and can be harmed alone.
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
"""Where the links of clients come from."""

Link = tuple[int, int]
"""From whom to whom."""

HELLO_BYTES_MAX: Final = 4 * 1024
"""A first line between nodes is no longer."""
DIAL_TIMEOUT_S: Final = 1.0
"""Longest wait for a node to take a connection; one that is paused still does, by its kernel."""


class _Hello(msgspec.Struct):
    sender: int = msgspec.field(name="from")


class Network:
    """What lies between the nodes and before them.

    Args:
        reactor: listens, dials and keeps the time.
        places: of each node, where the others and clients reach it, and where it really listens.
    """

    def __init__(self, reactor: Any, places: Mapping[int, tuple[Address, Address]]) -> None:
        self._reactor = reactor
        self._places = places
        self._conditions: defaultdict[Link, Condition] = defaultdict(lambda: FINE)
        self._passages: defaultdict[Link, set[Passage]] = defaultdict(set)
        self._unknown: set[Passage] = set()
        """Connections that have not said yet who they are."""
        self._ports: list[IListeningPort] = []

    def open(self) -> None:
        """Listen before every node.

        Raises:
            CannotListenError: a port is taken.
        """
        for node, (public, _) in self._places.items():
            self._ports.append(self._reactor.listenTCP(public.port, _Before(self, node), interface=public.host))

    async def close(self) -> None:
        """Take no more connections, and end those that there are."""
        for port in self._ports:
            await maybeDeferred(port.stopListening)
        self.break_off(self._passages)
        for passage in tuple(self._unknown):
            passage.abort()

    # --- harm --------------------------------------------------------------------------------------------------------

    def set_condition(self, links: Iterable[Link], condition: Condition) -> None:
        """Treat these links like that from now on."""
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
        """Let the connections that these links have stay open and carry nothing, for good; new ones are not harmed."""
        for link in tuple(links):
            for passage in tuple(self._passages[link]):
                passage.wedge()

    def heal(self) -> None:
        """Let everything pass again, except on connections that are wedged."""
        self.set_condition(tuple(self._conditions), FINE)

    def count(self, link: Link) -> int:
        """How many connections a link has."""
        return len(self._passages[link])

    def passages(self, link: Link) -> "frozenset[Passage]":
        """Return the connections of a link."""
        return frozenset(self._passages[link])

    # --- for its passages --------------------------------------------------------------------------------------------

    def begin(self, passage: "Passage") -> None:
        """Note a connection of which nothing is known."""
        self._unknown.add(passage)

    def identify(self, passage: "Passage", link: Link) -> Condition:
        """Note whose connection that is; return how it is to be treated."""
        self._unknown.discard(passage)
        self._passages[link].add(passage)
        return self._conditions[link]

    def forget(self, passage: "Passage") -> None:
        """Note that a connection has ended."""
        self._unknown.discard(passage)
        for passages in self._passages.values():
            passages.discard(passage)

    def dial(self, node: int, protocol: Protocol) -> "Deferred[Protocol]":
        """Connect to where a node really listens."""
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
        """What came before it was known whose it is, or before the node has taken the connection."""
        self._condition: Condition | None = None
        """None until it is known whose it is."""
        self._has_ended = False
        """Whether it was aborted."""
        self._is_wedged = False
        """Whether it carries nothing any more, whatever becomes of its link."""
        self._sides = 2
        """How many of its sides are connected, once the node has taken it."""

    def front_made(self, transport: Any) -> None:
        """Take the connection of whoever wants to reach the node."""
        transport.setTcpNoDelay(True)
        self._front = transport
        self._network.begin(self)

    def front_received(self, data: bytes) -> None:
        """Pass on what was sent to the node; find out first who sends it."""
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
        """Close the node's side behind what waits for it."""
        if self._forward is None:
            self.abort()
            return
        self._forward.end()
        self._lost_one()

    def back_made(self, transport: Any) -> None:
        """Begin to pass on: the node has taken the connection."""
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
        """Pass on what the node has sent."""
        if self._backward is not None:
            self._backward.receive(data)

    def back_lost(self) -> None:
        """Close the other side behind what waits for it."""
        if self._backward is not None:
            self._backward.end()
        self._lost_one()

    def set_condition(self, condition: Condition) -> None:
        """Treat it like that from now on."""
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
        """Stay open and carry nothing, for good, not even that one side has closed."""
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
    """Takes the connections to one node."""

    noisy = False

    def __init__(self, network: Network, node: int) -> None:
        self._network = network
        self._node = node

    @override
    def buildProtocol(self, addr: object) -> Protocol:
        return _Front(Passage(self._network, self._node))


class _Front(Protocol):
    """The side of whoever dialed."""

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
    """Return who speaks, None while that cannot be known. What is neither node nor client is for the node to refuse."""
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
    """Return the links from each of `group` to each of `others`, but none to itself."""
    return [(one, other) for one in group for other in others if one != other]
