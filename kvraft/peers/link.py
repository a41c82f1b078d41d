"""The outbound connection to one peer: dialed, kept, and dialed again. It carries all messages to that peer."""

from collections.abc import Callable
from random import Random
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override

from kvraft.net.connect import connect
from kvraft.net.endpoint import why_unreachable
from kvraft.net.sockets import abort_connection, tune, wired
from kvraft.net.write_now import write_now
from kvraft.peers.frames import KEEP_ALIVE
from kvraft.peers.hello import HELLO_TIMEOUT_S, FirstLine, Hello, HelloRefused, RefusedByPeer
from kvraft.peers.identity import Identity
from kvraft.peers.keepalive import ACCEPTOR_SAYS, SILENT, Watch
from kvraft.peers.log_once import LogOncePerCause
from kvraft.peers.outbox import Outbox, OutboxFull
from kvraft.peers.presence import Direction, Presence
from kvraft.peers.receiver import PeerReceiver
from kvraft.peers.timer import Timer
from kvraft.raft.errors import MessageRefused

BACKOFF_MIN_S: Final = 0.05
"""Shortest pause between two attempts, in seconds, so that a restarted peer is reached soon."""
BACKOFF_MAX_S: Final = 0.5
"""Longest pause between two attempts, in seconds. After a link that held longer, the pauses begin short again."""

STOP_GRACE_S: Final = 0.5
"""How long a connection that is closed in good order may take to send its last bytes, in seconds."""

LAST_WORDS_S: Final = 1.0
"""How long a link to a removed member still carries messages, in seconds: they include the commit of its removal."""


class OutboundConnection(Protocol):
    """Sends the hello and waits for the welcome; from then on it writes frames, and reads only signs of life."""

    def __init__(self, link: "Link") -> None:
        self._link = link
        self._first_line = FirstLine()
        self._timer = Timer(link.clock)
        self._deaf = False
        self.hello: Hello | None = None
        """The peer's welcome, once it is accepted."""
        self.outbox: Outbox | None = None
        """Set from the welcome until the connection is lost or closed."""
        self.established_at: float | None = None
        """When the link began to use the connection."""
        self._watch = Watch()
        self.lost: Deferred[None] = Deferred()
        """Fires when the connection is gone."""

    @override
    def connectionMade(self) -> None:
        self._link.adopt(self)
        tune(wired(self))
        self._timer.set(HELLO_TIMEOUT_S, self._give_up_waiting)
        write_now(wired(self), self._link.identity.line(self._link.peer))

    @override
    def dataReceived(self, data: bytes) -> None:
        if self._deaf:
            return
        try:
            if self.hello is not None:
                self._read_signs_of_life(self.hello, data)
                return
            found = self._first_line.feed(data)
            if found is not None:
                self._read_welcome(*found)
        except HelloRefused as refusal:
            self.abort()
            self._link.refused(refusal)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.hello is None and not self._deaf:
            self._link.refused(HelloRefused("CLOSED", "it closed the connection instead of welcoming us"))
        self._silence()
        self._link.forget(self)
        self.lost.callback(None)

    def abort(self) -> None:
        """Abort the connection, and drop everything that waits for it."""
        self._silence()
        abort_connection(wired(self))

    def close(self) -> None:
        """Close after the transport has sent its bytes, within `STOP_GRACE_S`; bytes in the outbox are dropped."""
        self._silence()
        self._timer.set(STOP_GRACE_S, self.abort)
        wired(self).loseConnection()

    def keep_alive(self) -> None:
        """Send a sign of life, or drop the connection if nothing arrived for too long; see `keepalive`."""
        if self._deaf or self.outbox is None or self.hello is None or not self.hello.keepalive:
            return
        if self._watch.is_over():
            self._link.tell_silent()
            self.abort()
        else:
            self.outbox.write_if_idle(KEEP_ALIVE)

    def _read_signs_of_life(self, hello: Hello, data: bytes) -> None:
        if not hello.keepalive or data.strip(ACCEPTOR_SAYS):
            raise HelloRefused("UNEXPECTED_BYTES", "the peer sent something after its welcome")
        self._watch.heard()

    def _read_welcome(self, line: bytes, rest: bytes) -> None:
        hello = self._link.identity.read(line, expected=self._link.peer)
        self._link.identity.accept(hello)
        self._timer.cancel()
        self.hello = hello
        self.outbox = Outbox(wired(self), self._link.outbox_bytes_max)
        self._link.welcome(self, hello)
        if rest:
            self.dataReceived(rest)

    def _give_up_waiting(self) -> None:
        self._link.refused(HelloRefused("HELLO_TIMEOUT", f"no welcome came within {HELLO_TIMEOUT_S:g} s"))
        self.abort()

    def _silence(self) -> None:
        self._deaf = True
        self._timer.cancel()
        if self.outbox is not None:
            self.outbox.close()
            self.outbox = None


class Link:
    """Keeps one connection to one peer, for as long as the peer is a member and the node runs."""

    def __init__(
        self,
        peer: int,
        endpoint: IStreamClientEndpoint,
        identity: Identity,
        receiver: PeerReceiver,
        clock: IReactorTime,
        *,
        random: Random,
        log: Logger,
        presence: Presence,
        outbox_bytes_max: int,
        welcomed: Callable[[Hello], None] = lambda _: None,
    ) -> None:
        self.peer = peer
        self.identity = identity
        self.clock = clock
        self.outbox_bytes_max = outbox_bytes_max
        self.overflows = 0
        """How often a connection was aborted because it did not take bytes as fast as they came."""
        self.last_refusal: str | None = None
        """Why the last attempt to connect failed, for people; None while the link is established."""
        self._endpoint = endpoint
        self._receiver = receiver
        self._welcomed = welcomed
        """Called with the peer's welcome, before the owner."""
        self._random = random
        self._log = log
        self._presence = presence
        self._once = LogOncePerCause(log)
        self._running: Deferred[None] | None = None
        self._ending = False
        """Set when no further attempt to connect is to be made."""
        self._silent = False
        """Set when the end of the link is not reported."""
        self._last_words: IDelayedCall | None = None
        """Closes the link to a removed member after its grace period."""
        self._wait: Deferred[Any] | None = None
        """The connection attempt or the pause that the loop waits for; it can be cancelled."""
        self._connection: OutboundConnection | None = None
        """The current connection, with or without a welcome."""
        self._failures = 0
        """Attempts since a link last held longer than `BACKOFF_MAX_S`."""

    @property
    def outbox(self) -> Outbox | None:
        """The outbox of the current connection; None while the link is not established."""
        return self._connection.outbox if self._connection is not None else None

    @property
    def run(self) -> str | None:
        """The run id of the peer's process that has sent the welcome; None while the link is not established."""
        connection = self._connection
        return (
            connection.hello.run if self.connected and connection is not None and connection.hello is not None else None
        )

    @property
    def connected(self) -> bool:
        """Whether the link is established: the peer has sent its welcome on the current connection."""
        return self.outbox is not None

    @property
    def started(self) -> bool:
        """Whether it has begun to dial."""
        return self._running is not None

    def start(self) -> None:
        """Dial, and dial again whenever there is no connection, until stopped."""
        assert self._running is None, "a link is started once"
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addErrback(self._report_end)

    def stop(self) -> Deferred[None]:
        """Close in good order, without a report; the Deferred fires when the link is closed."""
        self._silent = True
        return self.leave(0.0)

    def leave(self, grace_s: float) -> Deferred[None]:
        """Stop dialing, and close in good order; an established link carries messages for `grace_s` more seconds.

        The end of the link is reported like any other loss. May be called again to shorten the grace. The Deferred,
        the same each time, fires when the link is closed.
        """
        self._ending = True
        self._cancel_last_words()
        if self.connected and grace_s > 0:
            self._last_words = self.clock.callLater(grace_s, self._interrupt)
        else:
            self._interrupt()
        return self._running if self._running is not None else succeed(None)

    def redial(self, endpoint: IStreamClientEndpoint) -> None:
        """Close the current connection or attempt, in good order, and dial `endpoint` from now on."""
        self._endpoint = endpoint
        self._failures = 0
        self.last_refusal = None
        self._once.forget()
        self._interrupt()

    def write(self, data: bytes) -> None:
        """Send frames, or drop them if the link is not established or too many bytes wait."""
        outbox = None if self._connection is None else self._connection.outbox
        if outbox is None:
            return
        try:
            outbox.write(data)
        except OutboxFull as error:
            self.overflows += 1
            self._log.warn(
                "the connection to node {peer} is given up and dialed again: {waiting} bytes wait, {limit} are allowed",
                peer=self.peer,
                waiting=error.waiting,
                limit=self.outbox_bytes_max,
            )
            assert self._connection is not None, "an outbox belongs to a connection"
            self._connection.abort()

    def keep_alive(self) -> None:
        """Do what is to be done every `keepalive.INTERVAL_S`."""
        if self._connection is not None:
            self._connection.keep_alive()

    def tell_silent(self) -> None:
        """Log that the connection is given up."""
        self._log.warn("the connection to node {peer} is dropped and dialed again: {why}", peer=self.peer, why=SILENT)

    def drop_stranger(self, cluster_id: str) -> None:
        """Drop the connection if the peer's welcome names another cluster."""
        connection = self._connection
        if connection is None or connection.hello is None or connection.hello.cluster in {None, cluster_id}:
            return
        theirs = connection.hello.cluster
        self.refused(HelloRefused("OTHER_CLUSTER", f"it belongs to cluster {theirs} and this node to {cluster_id}"))
        connection.abort()

    def drop_other(self) -> None:
        """Drop the connection if the peer's id is bound to another incarnation."""
        connection = self._connection
        if connection is None or connection.hello is None:
            return
        refusal = self.identity.refusal_of_other(connection.hello)
        if refusal is not None:
            self.refused(refusal)
            connection.abort()

    def adopt(self, connection: OutboundConnection) -> None:
        """Take a connection that is open and has no welcome yet."""
        self._connection = connection

    def welcome(self, connection: OutboundConnection, hello: Hello) -> None:
        """Begin to use `connection`, which the peer has accepted.

        Raises:
            HelloRefused: the owner refuses the peer.
        """
        self._welcomed(hello)
        try:
            self._receiver.hello(hello)
        except MessageRefused as error:
            connection.hello = None  # It was never established, so its end is no loss.
            raise HelloRefused(error.code, str(error)) from error
        connection.established_at = self.clock.seconds()
        self.last_refusal = None
        self._once.forget()
        self._presence.came(self.peer, Direction.TO)
        self._receiver.link_up(self.peer)

    def refused(self, refusal: HelloRefused) -> None:
        """Record and log why the connection failed."""
        self.last_refusal = f"{refusal.code}: {refusal.message}"
        self._once.warn(
            ("hello", refusal.code),
            "handshake with node {peer} failed: {code}: {why}",
            peer=self.peer,
            code=refusal.code,
            why=refusal.message,
        )
        if isinstance(refusal, RefusedByPeer):
            self._receiver.refused(self.peer, refusal.code, refusal.message)

    def forget(self, connection: OutboundConnection) -> None:
        """Take note that `connection` is lost."""
        self._connection = None
        self._cancel_last_words()
        if connection.hello is not None and not self._silent:
            self._presence.went(self.peer, Direction.TO)
            self._receiver.peer_lost(self.peer)

    async def _run(self) -> None:
        while not self._ending:
            held_s = await self._connect()
            self._failures = 1 if held_s > BACKOFF_MAX_S else self._failures + 1
            if not self._ending:
                await self._pause()

    async def _connect(self) -> float:
        """Dial once; after the end of the connection or the attempt, return how long the link was up, in seconds."""
        connection = OutboundConnection(self)
        endpoint = self._endpoint
        self._wait = connect(endpoint, connection)
        try:
            await self._wait
        except Exception as error:  # noqa: BLE001 - after any error the next attempt may succeed
            if not self._ending and endpoint is self._endpoint:  # else it was cancelled
                self._report_unreachable(error)
            return 0.0
        finally:
            self._wait = None
        await connection.lost
        established_at = connection.established_at
        return 0.0 if established_at is None else self.clock.seconds() - established_at

    async def _pause(self) -> None:
        ceiling = min(BACKOFF_MAX_S, BACKOFF_MIN_S * 2.0 ** min(self._failures, 8))
        self._wait = deferLater(self.clock, self._random.uniform(BACKOFF_MIN_S, ceiling))
        try:
            await self._wait
        except CancelledError:  # The link is to end, or to dial a new address at once.
            return
        finally:
            self._wait = None

    def _interrupt(self) -> None:
        """Close the current connection in good order, and cancel the attempt or pause under way."""
        self._last_words = None
        if self._connection is not None:
            self._connection.close()
        if self._wait is not None:
            self._wait.cancel()

    def _cancel_last_words(self) -> None:
        if self._last_words is not None:
            self._last_words.cancel()
            self._last_words = None

    def _report_unreachable(self, error: Exception) -> None:
        why = why_unreachable(error)
        self.last_refusal = f"UNREACHABLE: {why}"
        self._once.warn(
            ("dial",), "node {peer} cannot be reached and is dialed until it can: {why}", peer=self.peer, why=why
        )

    def _report_end(self, failure: Failure) -> None:
        self._log.failure("node {peer} is not dialed any more", failure, peer=self.peer)
