"""In-memory twins of what the peers talk to: an owner, a network to dial on, and a connection's other end."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import attrs
from msgspec import to_builtins
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionRefusedError  # noqa: A004 - Twisted's
from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from kvraft.peers import Address, Facts, Hello, Peers
from kvraft.peers.forwarded import PeerMessage
from kvraft.raft.errors import MessageRefused

CLUSTER = "8a0c6a1e-2a0c-4a39-a3f4-1d3f6f1c1b52"
OTHER_CLUSTER = "00000000-2a0c-4a39-a3f4-1d3f6f1c1b52"


@attrs.frozen
class Place:
    """Where a node listens."""

    host: str
    port: int


ADDRESSES = {node: Place(f"10.0.0.{node}", 8080 + node) for node in range(3)}


@attrs.define
class Recorder:
    """A `PeerReceiver` that records its events."""

    events: list[tuple[Any, ...]] = attrs.field(factory=list)
    refuses_messages: bool = False
    refuses_hellos: bool = False
    admitted: dict[int, Address] = attrs.field(factory=dict)
    """The nodes that are admitted without membership, and their addresses."""
    asked_as: list[tuple[str | None, str | None]] = attrs.field(factory=list)
    """The cluster that was ours, and the memory that was, each time when somebody asked to be let in."""
    names: list[tuple[int, str, str]] = attrs.field(factory=list)
    """(peer, incarnation, run) of each hello; they are left out of the events, which they would only lengthen."""

    def hello(self, hello: Hello) -> None:
        """Record it; refuse if the test says so."""
        if self.refuses_hellos:
            raise MessageRefused("its disk is another one")
        self.names.append((hello.sender, hello.incarnation, hello.run))
        facts = {name: value for name, value in to_builtins(hello).items() if name in Facts.__struct_fields__}
        self.events.append(("hello", hello.sender, facts))

    def admits(self, hello: Hello, ours: str | None) -> Address | None:
        """Return the address that the test set for such a node."""
        self.asked_as.append((ours, hello.to_incarnation))
        return self.admitted.get(hello.sender)

    def refused(self, peer: int, code: str, message: str) -> None:
        """Write it down."""
        self.events.append(("refused", peer, code, message))

    def receive(self, sender: int, messages: list[PeerMessage]) -> None:
        """Record it; refuse if the test says so."""
        self.events.append(("receive", sender, messages))
        if self.refuses_messages:
            raise MessageRefused("term 1 has two leaders")

    def link_up(self, peer: int) -> None:
        """Write it down."""
        self.events.append(("link_up", peer))

    def peer_lost(self, peer: int) -> None:
        """Write it down."""
        self.events.append(("peer_lost", peer))

    def take(self) -> list[tuple[Any, ...]]:
        """Return what happened since the last time."""
        events, self.events = self.events, []
        return events


class MemoryTransport(StringTransport):
    """A TCP connection in memory. `writes` keeps the writes apart; an abort is reported by the clock's next turn."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._protocol: IProtocol | None = None
        self.writes: list[bytes] = []
        self.aborted = False

    def connect(self, protocol: IProtocol) -> None:
        """Begin."""
        self._protocol = protocol
        protocol.makeConnection(self)

    @override
    def write(self, data: bytes) -> None:
        self.writes.append(data)
        super().write(data)

    @override
    def abortConnection(self) -> None:
        if not self.aborted:
            self.aborted = self.disconnecting = True
            self._clock.callLater(0, self.lose, ConnectionAborted())

    def lose(self, reason: Exception | None = None) -> None:
        """End the connection, as the reactor reports it."""
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            if self.producer is not None:
                self.producer.stopProducing()
            protocol.connectionLost(Failure(reason or ConnectionDone()))

    @property
    def lost(self) -> bool:
        """Whether the end was reported."""
        return self._protocol is None

    def deliver(self, data: bytes) -> None:
        """Let `data` arrive, as the reactor would even while the connection is being closed."""
        assert self._protocol is not None, "the connection is over"
        self._protocol.dataReceived(data)

    def lines(self) -> list[dict[str, Any]]:
        """Return the JSON lines that were written."""
        return [json.loads(line) for line in self.value().splitlines()]


@implementer(IStreamClientEndpoint)
class MemoryEndpoint:
    """A peer that can be dialed; the test answers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._dialing: tuple[IProtocolFactory, Deferred[IProtocol]] | None = None
        self.dialed_at: list[float] = []
        self.cancelled = 0

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:  # noqa: N803 - Twisted's
        """Wait for the test's answer."""
        assert self._dialing is None, "one attempt at a time"
        self.dialed_at.append(self._clock.seconds())
        deferred: Deferred[IProtocol] = Deferred(self._cancel)
        self._dialing = protocolFactory, deferred
        return deferred

    @property
    def dialing(self) -> bool:
        """Whether somebody waits for an answer."""
        return self._dialing is not None

    def accept(self) -> MemoryTransport:
        """Answer: the connection is made."""
        assert self._dialing is not None, "nobody dials"
        (factory, deferred), self._dialing = self._dialing, None
        transport = MemoryTransport(self._clock)
        protocol = factory.buildProtocol(_NOWHERE)
        assert protocol is not None, "a protocol for every connection"
        transport.connect(protocol)
        deferred.callback(protocol)
        return transport

    def refuse(self, error: Exception | None = None) -> None:
        """Answer: nothing listens there."""
        assert self._dialing is not None, "nobody dials"
        (_, deferred), self._dialing = self._dialing, None
        deferred.errback(error or ConnectionRefusedError("nobody listens"))

    def _cancel(self, deferred: Deferred[IProtocol]) -> None:
        self._dialing = None
        self.cancelled += 1
        deferred.errback(CancelledError())


@implementer(IAddress)
class _Nowhere:
    """The address of what is in memory."""


_NOWHERE = _Nowhere()


class Node:
    """The `Peers` of node 0 of 0, 1 and 2, with everything around them in memory."""

    def __init__(self, cluster_id: str | None = None, clock: Clock | None = None, **options: Any) -> None:
        self.clock = clock or Clock()
        self.receiver = Recorder()
        self.endpoints: dict[Place, MemoryEndpoint] = {}
        for place in ADDRESSES.values():
            self.dial(self.clock, place)
        self.peers = Peers(
            self.clock,
            0,
            "abc",
            ADDRESSES,
            self.receiver,
            Random(1),
            cluster_id,
            run="run0",
            dial=self.dial,
            **options,
        )

    def dial(self, _reactor: object, address: Address) -> MemoryEndpoint:
        """Return the endpoint of an address."""
        return self.endpoints.setdefault(Place(address.host, address.port), MemoryEndpoint(self.clock))

    def endpoint(self, peer: int, place: Place | None = None) -> MemoryEndpoint:
        """Return where `peer` is dialed, at the place where it listens from the beginning unless another is named."""
        return self.dial(self.clock, place or ADDRESSES[peer])

    def call(self, first: bytes = b"") -> MemoryTransport:
        """Connect to the node as a peer would, and say `first`."""
        transport = MemoryTransport(self.clock)
        transport.connect(self.peers.build_acceptor())
        if first:
            transport.deliver(first)
        return transport

    def establish(self, peer: int = 1, **changes: Any) -> MemoryTransport:
        """Welcome the node at `peer`, which it is dialing; return its connection with nothing written to it."""
        return self.welcome(self.endpoint(peer).accept(), peer, **changes)

    def welcome(self, transport: MemoryTransport, peer: int, **changes: Any) -> MemoryTransport:
        """Welcome the node on a connection that it dialed; return it with nothing written to it."""
        transport.deliver(hello_line(peer, **changes))
        transport.clear()
        transport.writes.clear()
        return transport

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing waits for its time but the next signs of life, which are sent as long as the node runs."""
        return len(self.clock.getDelayedCalls()) == 1

    def pass_time(self, seconds: float, step: float = 0.01) -> None:
        """Let time pass in small steps, so that what one timer starts can end."""
        self.clock.pump([step] * round(seconds / step))


def hello_line(sender: int = 1, receiver: int = 0, cluster: str | None = None, **more: Any) -> bytes:
    """Return the hello or welcome of `sender`."""
    fields = {
        "kvraft": 1,
        "from": sender,
        "to": receiver,
        "cluster": cluster,
        "incarnation": "f00",
        "run": "r00",
        **more,
    }
    return json.dumps(fields).encode() + b"\n"


@implementer(ILogObserver)
@attrs.define
class _Warnings:
    """Keeps the texts of what is logged as a warning or worse.

    But for peers that are connected in one direction only, as most are in these tests.
    """

    texts: list[str] = attrs.field(factory=list)

    def __call__(self, event: LogEvent) -> None:
        """Keep the event if it is grave enough."""
        text = formatEvent(event)
        if event["log_level"] >= LogLevel.warn and "in one direction only" not in text:
            self.texts.append(text)


@contextmanager
def warnings() -> Iterator[list[str]]:
    """Collect the texts of what is logged as a warning or worse."""
    observer = _Warnings()
    globalLogPublisher.addObserver(observer)
    try:
        yield observer.texts
    finally:
        globalLogPublisher.removeObserver(observer)
