"""The inbound connections: peers dial them and send messages; this node sends only a welcome and signs of life.

At most one connection of each peer counts. A second one of the same process replaces the first, and so does one of a
restarted peer, which must not wait until its old connection is found dead. Nothing of the old one is delivered after
the hello of the new one.

A second *process* is refused with RUNS_TWICE while the first one sends. That is no restart but a copy of the data
directory (a cloned machine, a restored backup). Two processes with one identity could each acknowledge entries that the
other does not hold. The process that answers at the member's address counts as the first one, even if it connected
later. So nothing that the second one stores or votes counts for any quorum.
"""

from collections.abc import Callable, Collection
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override

from kvraft.net.sockets import abort_connection, tune, wired
from kvraft.net.write_now import write_now
from kvraft.peers.frames import FrameDecoder, WireError
from kvraft.peers.hello import HELLO_TIMEOUT_S, RUNS_TWICE, FirstLine, Hello, HelloRefused
from kvraft.peers.identity import Identity
from kvraft.peers.keepalive import ACCEPTOR_SAYS, SILENT, Watch
from kvraft.peers.log_once import LogOncePerCause
from kvraft.peers.presence import Direction, Presence
from kvraft.peers.receiver import Address, PeerReceiver
from kvraft.peers.timer import Timer
from kvraft.raft.errors import MessageRefused

REFUSAL_LINGER_S: Final = 1.0
"""How long a refused connection may take to close in good order, in seconds."""

FIRST_RUN_SILENT_S: Final = 1.0
"""After so long without a byte, the connection of one process of a peer may be replaced by that of another, in seconds:
ten default heartbeats. So a machine that lost power and has restarted waits no longer than that."""

RUNS_TWICE_SHOWN_S: Final = 5.0
"""How long STATUS shows that a peer runs twice after the last refusal of a second process, in seconds: that process
dials again at least every 0.5 s."""

STRANGERS_MAX: Final = 64
"""Most connections without an accepted hello; beyond it the oldest is aborted for the newest."""


class InboundConnection(Protocol):
    """Reads a hello, and then frames until one is invalid."""

    def __init__(self, inbounds: "Inbounds") -> None:
        self._inbounds = inbounds
        self._first_line = FirstLine()
        self._decoder = FrameDecoder()
        self._timer = Timer(inbounds.clock)
        self._deaf = False
        """Set when nothing more is delivered: the connection was refused, replaced, damaged or lost."""
        self.hello: Hello | None = None
        """The peer's hello, once it is accepted."""
        self.heard_at = 0.0
        """When the last bytes arrived."""
        self._watch = Watch()

    @override
    def connectionMade(self) -> None:
        tune(wired(self))
        if not self._inbounds.admit(self):
            self.abort()
            return
        self._timer.set(HELLO_TIMEOUT_S, self._say_too_late)

    @override
    def dataReceived(self, data: bytes) -> None:
        if self._deaf:
            return
        self.heard_at = self._inbounds.clock.seconds()
        self._watch.heard()
        if self.hello is None:
            self._read_hello(data)
        else:
            self._read_frames(self.hello.sender, data)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._deaf = True
        self._timer.cancel()
        self._inbounds.forget(self)

    def abort(self) -> None:
        """Abort the connection; nothing that still arrives is delivered."""
        self._deaf = True
        self._timer.cancel()
        abort_connection(wired(self))

    def keep_alive(self) -> None:
        """Send a sign of life, or drop the connection if nothing arrived for too long; see `keepalive`."""
        if self._deaf or self.hello is None or not self.hello.keepalive:
            return
        if self._watch.is_over():
            self._inbounds.tell_silent(self.hello.sender)
            self.abort()
        else:
            write_now(wired(self), ACCEPTOR_SAYS)

    def close(self) -> None:
        """Close in good order, and abort after `REFUSAL_LINGER_S`, unless the connection is closing already."""
        if self._deaf:
            return
        self._deaf = True
        self._timer.set(REFUSAL_LINGER_S, self.abort)
        wired(self).loseConnection()

    def _read_hello(self, data: bytes) -> None:
        try:
            found = self._first_line.feed(data)
            if found is None:
                return
            line, rest = found
            hello = self._inbounds.check(line)
            self._timer.cancel()
            self.hello = hello
            self._inbounds.introduce(self, hello)
        except HelloRefused as refusal:
            self._refuse(refusal)
            return
        if self._deaf:  # The owner has dropped the connection when it received the hello.
            return
        write_now(wired(self), self._inbounds.identity.line(hello.sender))
        if rest:
            self.dataReceived(rest)

    def _read_frames(self, sender: int, data: bytes) -> None:
        try:
            messages = self._decoder.feed(data)
            if messages:
                self._inbounds.receiver.receive(sender, messages)
        except (WireError, MessageRefused) as error:
            self._inbounds.once.warn(
                (sender, "messages", type(error)),
                "node {peer} sent an invalid message, so its connection is dropped: {why}",
                peer=sender,
                why=str(error),
            )
            self.abort()

    def _say_too_late(self) -> None:
        self._refuse(HelloRefused("HELLO_TIMEOUT", f"no hello came within {HELLO_TIMEOUT_S:g} s"))

    def _refuse(self, refusal: HelloRefused) -> None:
        host = peer_host(self)
        self._inbounds.once.warn(
            ("hello", host, refusal.code),
            "a connection from {host} is refused: {code}: {why}",
            host=host,
            code=refusal.code,
            why=refusal.message,
        )
        write_now(wired(self), refusal.line())
        self.close()


class Inbounds:
    """Every inbound connection of this node, and the one that counts for each peer."""

    def __init__(
        self,
        identity: Identity,
        receiver: PeerReceiver,
        clock: IReactorTime,
        log: Logger,
        presence: Presence,
        runs: Callable[[int], str | None] = lambda _: None,
        accepted: Callable[[Hello], None] = lambda _: None,
        let_in: Callable[[int, Address], None] = lambda _node, _address: None,
    ) -> None:
        self.identity = identity
        self._let_in = let_in
        """Accepts a node that is no member, at an address."""
        self._accepted = accepted
        """Called with each hello that is not refused."""
        self._runs = runs
        """Returns the run id of the process that answers at a peer's address; None while none does."""
        self._refused_runs: dict[int, float] = {}
        """When a second process of each peer was refused last."""
        self.receiver = receiver
        self.clock = clock
        self.once = LogOncePerCause(log)
        self._log = log
        self._presence = presence
        self._open: dict[InboundConnection, None] = {}
        """All that exist, whether they have introduced themselves or not, in the order of their arrival."""
        self._strangers: dict[InboundConnection, None] = {}
        """Those without an accepted hello, in the order of their arrival."""
        self._by_peer: dict[int, InboundConnection] = {}
        """The connection that counts, by peer. Each is also in `_open`; its end is reported by `peer_lost`."""
        self._stopped: Deferred[None] | None = None

    def build(self) -> InboundConnection:
        """Return the protocol for one new connection."""
        return InboundConnection(self)

    def admit(self, connection: InboundConnection) -> bool:
        """Take a new connection, aborting the oldest one without a hello if there are too many; False after `stop`."""
        if self._stopped is not None:
            return False
        if len(self._strangers) >= STRANGERS_MAX:
            oldest = next(iter(self._strangers))
            del self._strangers[oldest]
            oldest.abort()
        self._open[connection] = None
        self._strangers[connection] = None
        return True

    def check(self, line: bytes) -> Hello:
        """Read the first line of a connection; a sender that is no member is accepted if the owner decides so.

        Raises:
            HelloRefused: it is no hello, or its sender is refused.
        """
        hello = self.identity.read(line)
        if self.identity.may_be_let_in(hello):
            place = self.receiver.admits(hello, self.identity.cluster_id)
            if place is not None:
                self._let_in(hello.sender, place)
        self.identity.accept(hello)
        return hello

    def introduce(self, connection: InboundConnection, hello: Hello) -> None:
        """Let `connection` count for its peer, in place of an older one.

        Raises:
            HelloRefused: the owner refuses the peer, or another process of the peer is connected.
        """
        self._strangers.pop(connection, None)
        peer = hello.sender
        older = self._by_peer.get(peer)
        self._refuse_second_run(hello, older)
        if older is not None:
            older.abort()
            self._drop(peer)
        self._by_peer[peer] = connection
        try:
            self.receiver.hello(hello)
        except MessageRefused as error:
            del self._by_peer[peer]
            raise HelloRefused(error.code, str(error)) from error
        self.once.forget("hello", peer_host(connection))
        self._presence.came(peer, Direction.FROM)
        self._accepted(hello)

    def _refuse_second_run(self, hello: Hello, older: InboundConnection | None) -> None:
        """Refuse a process that is not the one at the peer's address or, without one, the one that sent recently."""
        peer, answering = hello.sender, self._runs(hello.sender)
        if answering is not None:
            is_second = answering != hello.run
        elif older is not None and older.hello is not None and older.hello.run != hello.run:
            is_second = self.clock.seconds() - older.heard_at < FIRST_RUN_SILENT_S
        else:
            is_second = False
        if is_second:
            self._refused_runs[peer] = self.clock.seconds()
            raise second_run(peer)

    def drop_second_run(self, peer: int, run: str) -> None:
        """Drop the connection from `peer` if its process is not `run`, which answers at the peer's address."""
        connection = self._by_peer.get(peer)
        if connection is not None and connection.hello is not None and connection.hello.run != run:
            self._refused_runs[peer] = self.clock.seconds()
            self._log.warn("a connection is dropped: {why}", why=second_run(peer).message)
            connection.abort()

    def runs_twice(self, peer: int) -> bool:
        """Whether a second process of `peer` was refused lately."""
        refused_at = self._refused_runs.get(peer)
        return refused_at is not None and self.clock.seconds() - refused_at < RUNS_TWICE_SHOWN_S

    def forget(self, connection: InboundConnection) -> None:
        """Take note that `connection` is lost."""
        self._open.pop(connection, None)
        self._strangers.pop(connection, None)
        if connection.hello is not None and self._by_peer.get(connection.hello.sender) is connection:
            self._drop(connection.hello.sender)
        if self._stopped is not None and not self._open and not self._stopped.called:
            self._stopped.callback(None)

    def drop_strangers(self, cluster_id: str) -> None:
        """Drop the connections of peers whose hello names another cluster."""
        for peer, connection in list(self._by_peer.items()):
            if connection.hello is not None and connection.hello.cluster not in {None, cluster_id}:
                self._log.warn(
                    "node {peer} belongs to cluster {theirs}, this node to cluster {ours}: its connection is dropped",
                    peer=peer,
                    theirs=connection.hello.cluster,
                    ours=cluster_id,
                )
                connection.abort()

    def drop_others(self) -> None:
        """Drop the connections of peers whose ids are bound to another incarnation."""
        for connection in list(self._by_peer.values()):
            refusal = self.identity.refusal_of_other(connection.hello) if connection.hello is not None else None
            if refusal is not None:
                self._log.warn("a connection is dropped: {why}", why=refusal.message)
                connection.abort()

    def drop_departed(self, members: Collection[int]) -> None:
        """Close, in good order, the connections of peers that are not among `members`; they deliver nothing more."""
        for peer, connection in list(self._by_peer.items()):
            if peer not in members:
                connection.close()

    def keep_alive(self) -> None:
        """Do what is to be done every `keepalive.INTERVAL_S`."""
        for connection in [*self._by_peer.values()]:
            connection.keep_alive()

    def tell_silent(self, peer: int) -> None:
        """Log that a connection is given up."""
        self._log.warn("the connection from node {peer} is dropped: {why}", peer=peer, why=SILENT)

    def connected(self, peer: int) -> bool:
        """Whether an accepted connection from `peer` exists."""
        return peer in self._by_peer

    def stop(self) -> Deferred[None]:
        """Close every connection without reporting it; the Deferred fires when none is left."""
        assert self._stopped is None, "the peers are stopped once"
        self._stopped = Deferred()
        self._by_peer.clear()
        if not self._open:
            self._stopped.callback(None)
        for connection in list(self._open):
            connection.close()
        return self._stopped

    def _drop(self, peer: int) -> None:
        del self._by_peer[peer]
        self._presence.went(peer, Direction.FROM)
        self.receiver.peer_lost(peer)


def second_run(peer: int) -> HelloRefused:
    """Return why a second process of `peer` is refused."""
    return HelloRefused(
        RUNS_TWICE,
        f"node {peer} runs twice: another process with its identity answers already; stop the one with the copied data "
        "directory, which takes no part, and replace it by a node with a new id and an empty directory",
    )


def peer_host(connection: InboundConnection) -> str:
    """Return the host that the connection comes from, for the log."""
    return str(getattr(wired(connection).getPeer(), "host", "unknown"))
