"""In-memory twins of what the servers talk to: a database, a TCP transport, and a client at the other end of it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import attrs
import msgspec
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IProducer, IPushProducer
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer, provider

from kvraft.commands import (
    AcquireLock,
    AdminCommand,
    Caller,
    ClusterView,
    Delete,
    Get,
    Item,
    Mutation,
    Operation,
    Result,
    Selection,
    Set,
    Sink,
    Subscription,
)
from kvraft.metrics import RequestCounts
from kvraft.server import LineProtocol, ServerLimits
from kvraft.server.close import IClientTransport
from kvraft.store import Store
from tests.store.test_history import grown

CLIENT: Final = IPv4Address("TCP", "127.0.0.1", 50000)
Reply = Callable[[Sequence[Result] | Exception], object]
MEMBERS: Final = ClusterView(
    me=0,
    leader=0,
    term=1,
    addresses={0: "127.0.0.1:8080", 1: "127.0.0.1:8081"},
    voters=frozenset({0, 1}),
    connected=frozenset({1}),
)
"""Two members, of which the one that is asked leads."""


@attrs.define(eq=False)
class MemorySubscription:
    """A watch whose events a test gives."""

    selection: Selection
    sink: Sink
    revision: int
    resumed: int = 0
    cancelled: bool = False

    def resume(self) -> None:
        """Count it."""
        self.resumed += 1

    def cancel(self) -> None:
        """Record it."""
        self.cancelled = True


@attrs.define
class MemoryDatabase:
    """A database in a dict. It answers at once, or only in `answer_next` when it `waits`."""

    waits: bool = False
    items: dict[bytes, Item] = attrs.field(factory=dict)
    callers: list[Caller] = attrs.field(factory=list)
    """The caller of each call."""
    submissions: list[Sequence[Operation]] = attrs.field(factory=list)
    waiting: list[tuple[Sequence[Operation], Reply]] = attrs.field(factory=list)
    commands: list[tuple[AdminCommand, int]] = attrs.field(factory=list)
    """What operators asked, each with the revision at that time."""
    administering: list[Deferred[dict[str, object]]] = attrs.field(factory=list)
    watches: list[MemorySubscription] = attrs.field(factory=list)
    locks: list[tuple[AcquireLock, Reply]] = attrs.field(factory=list)
    given_up: list[AcquireLock] = attrs.field(factory=list)
    revision: int = 0
    refusal: Exception | None = None
    results: list[Result] | None = None
    """Given instead of the true results."""
    members: ClusterView = MEMBERS
    published: list[tuple[bytes, bytes]] = attrs.field(factory=list)
    message_followers: list[Callable[[bytes, bytes], object]] = attrs.field(factory=list)
    leader_followers: list[Callable[[], object]] = attrs.field(factory=list)

    def ask(self, caller: Caller, operations: Sequence[Operation], reply: Reply) -> None:
        """Record the submission, and answer it unless that is for later."""
        self.callers.append(caller)
        self.submissions.append(operations)
        self.waiting.append((operations, reply))
        if not self.waits:
            self.answer_next()

    def answer_next(self) -> None:
        """Answer the submission that has waited longest."""
        operations, reply = self.waiting.pop(0)
        if self.refusal is not None:
            reply(self.refusal)
        else:
            reply(self.results or [self._execute(operation) for operation in operations])

    def administer(self, caller: Caller, command: AdminCommand) -> Deferred[dict[str, object]]:
        """Record the command, and the state of the store by then; answer it unless that is for later."""
        self.callers.append(caller)
        self.commands.append((command, self.revision))
        deferred = Deferred[dict[str, object]]()
        self.administering.append(deferred)
        if not self.waits:
            self.administer_next()
        return deferred

    def administer_next(self) -> None:
        """Answer the command of an operator that has waited longest."""
        deferred = self.administering.pop(0)
        if self.refusal is not None:
            deferred.errback(self.refusal)
        else:
            deferred.callback({"done": len(self.commands)})

    def watch(self, caller: Caller, selection: Selection, sink: Sink) -> Subscription:
        """Record the watch, whose events a test gives."""
        self.callers.append(caller)
        if self.refusal is not None:
            raise self.refusal
        self.watches.append(MemorySubscription(selection, sink, self.revision))
        return self.watches[-1]

    def cluster(self) -> ClusterView:
        """Return the members that a test has given."""
        return self.members

    def follow_leader(self, tell: Callable[[], object]) -> None:
        """Record the function to call."""
        self.leader_followers.append(tell)

    def publish(self, caller: Caller, channel: bytes, message: bytes) -> None:
        """Record the message."""
        self.callers.append(caller)
        self.published.append((channel, message))

    def follow_messages(self, tell: Callable[[bytes, bytes], object]) -> None:
        """Record the function to call."""
        self.message_followers.append(tell)

    def lead(self, leader: int | None) -> None:
        """Let another node lead, or none."""
        self.members = msgspec.structs.replace(self.members, leader=leader, term=self.members.term + 1)
        for tell in self.leader_followers:
            tell()

    def acquire(self, caller: Caller, request: AcquireLock, reply: Reply) -> Callable[[], None]:
        """Record the request, which is granted when a test says so, and whether it is given up."""
        self.callers.append(caller)
        self.locks.append((request, reply))
        return lambda: self.given_up.append(request)

    def status(self, caller: Caller) -> dict[str, object]:
        """Describe this database by how far it is."""
        self.callers.append(caller)
        return {"role": "twin", "revision": self.revision}

    def _execute(self, operation: Operation) -> Result:
        if isinstance(operation, Get):
            return self.items.get(operation.key)
        match operation:
            case Set(key, value):
                self.revision += 1
                self.items[key] = Item(value, self.revision, self.revision, 1)
                return self.revision
            case Delete(key):
                return int(self.items.pop(key, None) is not None)
        raise AssertionError(f"no client writes {operation}")


@attrs.define
class StoreDatabase(MemoryDatabase):
    """A database that is one store."""

    store: Store = attrs.field(factory=grown)

    @override
    def _execute(self, operation: Operation) -> Result:
        return self.store.transact(operation) if isinstance(operation, Mutation) else operation.run(self.store)


@implementer(IClientTransport)
class ClientTransport:
    """A TCP transport without a socket, with the traps of the real one.

    `full`: whether the client has stopped reading, so that the next write pauses the producer.
    """

    def __init__(self) -> None:
        self.peer: IPv4Address | IPv6Address = CLIENT
        self.full = False
        self.options: list[str] = []
        self.writes: list[bytes] = []
        self.disconnecting = False
        self._producer: IPushProducer | None = None
        self._reading = True
        self._half_closed = False
        self._aborted = False

    def write(self, data: bytes) -> None:
        """Take `data` unless our side is closed."""
        assert not self._half_closed, "nothing can be written after the close of our side"
        self.writes.append(data)
        if self.full and self._producer is not None:
            self._producer.pauseProducing()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Take `data`."""
        self.write(b"".join(data))

    def written(self) -> bytes:
        """Return all that was written since `writes` was cleared."""
        return b"".join(self.writes)

    def drain(self, *, more: bool = False) -> None:
        """Have the client read everything, and go on reading unless it is `more` that it does not read."""
        self.full = more
        if self._producer is not None:
            self._producer.resumeProducing()

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Reply `producer` when the client does not read."""
        assert self._producer is None, "there is a producer already"
        assert streaming
        self._producer = IPushProducer(producer)

    def unregisterProducer(self) -> None:
        """Reply it no more."""
        self._producer = None

    def pauseProducing(self) -> None:
        """Stop reading."""
        assert not self.disconnecting
        self._reading = False

    def resumeProducing(self) -> None:
        """Read on."""
        assert not self.disconnecting
        self._reading = True

    def stopProducing(self) -> None:
        """End."""
        self.loseConnection()

    def loseWriteConnection(self) -> None:
        """Close our side."""
        assert self._producer is None, "a paused producer would keep Twisted from closing, for ever"
        self._half_closed = True

    def loseConnection(self) -> None:
        """Close."""
        assert self._producer is None, "a paused producer would keep Twisted from closing, for ever"
        self.disconnecting = True

    def abortConnection(self) -> None:
        """Drop the connection."""
        self._aborted = True
        self.disconnecting = True

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Record the option."""
        self.options.append(f"nodelay {enabled}")

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Record the option."""
        self.options.append(f"keepalive {enabled}")

    def getTcpNoDelay(self) -> bool:
        """Whether small writes leave at once."""
        return "nodelay True" in self.options

    def getTcpKeepAlive(self) -> bool:
        """Whether the kernel looks after the client."""
        return "keepalive True" in self.options

    def getHost(self) -> IPv4Address:
        """This end."""
        return IPv4Address("TCP", "127.0.0.1", 8080)

    def getPeer(self) -> IPv4Address | IPv6Address:
        """The other end."""
        return self.peer

    def is_reading(self) -> bool:
        """Whether more input may come."""
        return self._reading and not self.disconnecting

    def is_half_closed(self) -> bool:
        """Whether our side is closed."""
        return self._half_closed

    def is_closing(self) -> bool:
        """Whether the connection ends when everything is sent, or at once."""
        return self.disconnecting

    def is_aborted(self) -> bool:
        """Whether the connection was dropped with what was not sent."""
        return self._aborted


@attrs.define
class Client:
    """A client of the line protocol, and the server's end of its connection."""

    database: MemoryDatabase = attrs.field(factory=MemoryDatabase)
    limits: ServerLimits = attrs.field(factory=ServerLimits)
    clock: Clock = attrs.field(factory=Clock)
    transport: ClientTransport = attrs.field(factory=ClientTransport)
    counts: RequestCounts | None = None
    protocol: LineProtocol = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Connect."""
        self.protocol = LineProtocol(self.database, self.limits, self.clock, self.counts)
        self.protocol.makeConnection(self.transport)

    def sends(self, *chunks: bytes) -> None:
        """Have each chunk arrive by itself, all of them in one turn of the reactor."""
        for chunk in chunks:
            self.protocol.dataReceived(chunk)

    @property
    def held(self) -> int:
        """How many bytes the node keeps of what was sent: a bound on memory that nothing outside shows."""
        return self.protocol._dialect.held

    def half_closes(self) -> None:
        """Close the client's side."""
        self.protocol.readConnectionLost()

    def disconnects(self) -> None:
        """Be gone."""
        self.protocol.connectionLost(Failure(ConnectionLost()))

    def passes(self, seconds: float) -> None:
        """Let time pass. 0 is the end of the turn."""
        self.clock.pump([seconds / 10] * 10)

    def read(self) -> list[bytes]:
        """Return the lines that the server has written since the last call."""
        written = self.transport.written()
        self.transport.writes.clear()
        assert written.endswith(b"\n") or not written, "an answer must be a whole line"
        return written.splitlines()

    def is_open(self) -> bool:
        """Whether the server has not begun to close."""
        return not self.transport.is_half_closed() and not self.transport.is_closing()


@contextmanager
def logged_by(namespace: str) -> Iterator[list[LogEvent]]:
    """Collect what is logged meanwhile under `namespace`, and everything below it."""
    events: list[LogEvent] = []

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        if str(event.get("log_namespace", "")).startswith(namespace):
            events.append(event)

    globalLogPublisher.addObserver(observe)
    try:
        yield events
    finally:
        globalLogPublisher.removeObserver(observe)
