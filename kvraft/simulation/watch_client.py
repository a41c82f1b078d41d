"""A simulated client of watches: it follows changes on changing nodes, reads slowly, disconnects, and reconnects.

It resumes as the documentation says: after the last event of revision n it continues with `FROM n+1`, on any node. The
lines that it received are checked at the end (`watched`).
"""

from collections import deque
from collections.abc import Callable, Collection, Sequence
from random import Random
from typing import Any, ClassVar, Final
from typing import Protocol as Shape

import attrs
import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure
from typing_extensions import override

from kvraft.commands import Span, prefix_span
from kvraft.net.connect import connect
from kvraft.simulation.clients import PATIENCE_S
from kvraft.simulation.cluster import Cluster
from kvraft.simulation.conduct import demand
from kvraft.simulation.data_client import DataClient
from kvraft.simulation.followings import check_followings
from kvraft.simulation.member import address_of
from kvraft.simulation.replay import Replay
from kvraft.simulation.revisions import Asked
from kvraft.simulation.transport import End
from kvraft.simulation.watched import Told, check_told

WATCHES: Final = "watches"
"""The name of this kind of clients on the command line."""
NUMBER: Final = 2
"""How many such clients there are in a run that has any."""
STAYS_S: Final = (0.3, 2.0, 6.0)
"""About how long a client keeps a connection, one of these, seconds."""
PAUSE_S: Final = 0.3
"""Longest pause before it connects again, seconds."""
HALF_CLOSES: Final = 0.2
"""The share of connections whose client closes its side after its requests, as nc does at the end of its input."""
SLOW: Final = 0.5
"""The share of connections that are read slowly."""
READS_NOTHING_S: Final = (0.05, 0.7, 2.0)
"""How long such a client repeatedly reads nothing, one of these, seconds."""
LEVEL_AFTER_S: Final = 0.5
"""In a healthy cluster a watch without events for so long has delivered everything, seconds."""
LEVEL_S_MAX: Final = 10.0
"""Longest wait for this to hold for all watches, seconds."""
RECEIVE_BYTES: Final = 500
"""Bytes that are sent to such a client before it reads; more waits at the node."""
SPANS: Final = ("PREFIX _", "PREFIX _w", "PREFIX _w1", "_w1", "_w2", "x1", "PREFIX x", "_e1", "a", 'PREFIX ""')
"""What is watched, one of these."""


@attrs.define(eq=False)
class Follow:
    """One watch of a client, across all its connections."""

    spelled: str
    span: Span
    with_previous: bool
    position: int | None = None
    """All changes up to this revision have been delivered; None: it begins with the next change."""

    @property
    def line(self) -> str:
        """The request that continues the watch."""
        first = "" if self.position is None else f" FROM {self.position + 1}"
        return f"WATCH {self.spelled}{first}{' PREV' if self.with_previous else ''}"


class Watching(LineOnlyReceiver):
    """One connection of such a client.

    Args:
        client: its client.
        follows: the watches of the connection.
    """

    delimiter = b"\n"
    MAX_LENGTH = 1024 * 1024
    transport: End

    def __init__(self, client: "WatchClient", follows: Sequence[Follow]) -> None:
        self._client = client
        self._waiting = deque(follows)
        """Watches whose requests are not answered yet."""
        self._active: dict[int, tuple[Follow, Told]] = {}
        self._ending: deque[int] = deque()
        """Watches for which UNWATCH was sent."""
        self._has_half_closed = False
        self._process: object = None
        """What ran at the node when the connection was made."""
        self.told_at: float | None = None
        """When the latest event came; None: not all requests are answered, or a watch has ended."""

    @override
    def connectionMade(self) -> None:
        for follow in self._waiting:
            self.transport.write(f"{follow.line}\n".encode())
        self._process = self._client.process
        self._has_half_closed = self._client.draw_half_close()
        if self._has_half_closed:
            self.transport.loseWriteConnection()

    @override
    def lineReceived(self, line: bytes) -> None:
        answer: dict[str, Any] = msgspec.json.decode(line)
        number: int = answer.get("watch", 0)
        if "event" in answer or (number and "error" in answer):
            demand(number in self._active, f"a watch that has ended, or never began, is sent {answer}")
            follow, told = self._active[number]
            told.lines.append(answer)
            self._move(follow, answer)
            if "error" in answer:
                del self._active[number]
                self.told_at = None
                self._client.watch_ended(self)
            elif self.told_at is not None and answer["event"] != "PROGRESS":
                self.told_at = self._client.now
        elif number:
            follow = self._waiting.popleft()
            self._active[number] = follow, self._client.begin_told(follow, answer["revision"])
            if follow.position is None:
                follow.position = answer["revision"]
            if not self._waiting:
                self.told_at = self._client.now
        elif answer.get("error") == "NO_SUCH_WATCH":  # the node has ended the watch before it read UNWATCH
            demand(bool(self._ending), f"nothing was to end, and is answered {answer}")
            self._ending.popleft()
        elif "error" in answer:
            follow = self._waiting.popleft()
            self._client.note_refusal(follow, answer)
            self.transport.abortConnection()
        elif answer["status"] == "PONG":
            self.told_at = self._client.now
        else:  # the answer to UNWATCH
            del self._active[self._ending.popleft()]

    def _move(self, follow: Follow, answer: dict[str, Any]) -> None:
        code = answer.get("error")
        if code == "COMPACTED":
            follow.position = None
        elif code is not None:
            follow.position = answer["resume_from"] - 1
        elif "more" not in answer:
            follow.position = answer["revision"]

    def unwatch(self) -> None:
        """Send UNWATCH for all watches, if the client's side is still open."""
        if self._has_half_closed:
            return
        for number in self._active:
            self._ending.append(number)
            self.transport.write(f"UNWATCH {number}\n".encode())

    def probe(self) -> None:
        """Send PING: a client that only reads does not detect that the node's machine has lost power."""
        if self._has_half_closed:
            self.leave()
            return
        self.told_at = None
        self.transport.write(b"PING\n")

    def leave(self) -> None:
        """Disconnect. Its watches do not count as complete any more, although its end is not reported yet.

        That report is an event of its own, and a run may ask between the two.
        """
        self.told_at = None
        self.transport.abortConnection()

    def finish(self) -> None:
        """Record that all watches must be complete, and disconnect."""
        for _, told in self._active.values():
            told.is_complete = True
        self.transport.abortConnection()  # after a half-close the node would go on sending events

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        has_any = len(self._waiting) + len(self._active) > len(self._ending)
        if has_any and reason.check(ConnectionDone) is not None:
            self._client.check_closed(self._process)
        self._client.lost(self)


class Connection(Shape):
    """A connection with watches, of whatever protocol."""

    transport: End
    told_at: float | None

    def unwatch(self) -> None:
        """End all watches, in the way of the protocol."""
        ...

    def probe(self) -> None:
        """Find out whether the node still delivers."""
        ...

    def leave(self) -> None:
        """Disconnect."""
        ...

    def finish(self) -> None:
        """Record that all watches must be complete, and disconnect."""
        ...


class WriterOfSeveral(DataClient):
    """Changes several keys at one revision, so that their events must stay together."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(0, cluster, "writer for watches")

    @override
    def _draw(self) -> str:
        draws = self._random
        keys = draws.sample(("_w1", "_w1a", "_w2", "_w3"), 3)
        value = f"{len(self.asked)}-{draws.getrandbits(32):08x}"
        if draws.random() < 0.3:
            value = value.ljust(1_500, ".")
        puts = ", ".join(f'{{"set": "{key}", "value": "{value}"}}' for key in keys[:2])
        return draws.choice(
            (
                f'TXN {{"then": [{puts}, {{"delete": "{keys[2]}"}}]}}',
                f'TXN {{"then": [{puts}]}}',
                'TXN {"then": [{"delete_range": ["_w", "_x"]}]}',
                f"APPEND {keys[0]} .",
                f"CAS {keys[0]} ABSENT {value}",
            )
        )


class WatchClient:
    """One such client: one connection at a time, with one watch or two."""

    spans: ClassVar[Sequence[str]] = SPANS
    at_once: ClassVar[Sequence[int]] = (1, 1, 2)
    """The number of its watches, one of these."""

    def __init__(self, number: int, cluster: Cluster, kind: str = "watch client") -> None:
        self.told: list[Told] = []
        self._cluster = cluster
        self._random: Random = cluster.world.random(f"{kind} {number}")
        self._machine = cluster.client_machine(f"{kind} {number}")
        self._follows = [self._draw_follow() for _ in range(self._random.choice(self.at_once))]
        self._connection: Connection | None = None
        self.target = 0
        """The node to which it is connected, or connects."""
        self._is_last = False
        """Whether it keeps its connection, because the run is at its end."""

    def _draw_follow(self) -> Follow:
        spelled = self._random.choice(self.spans)
        key = spelled.removeprefix("PREFIX ").strip('"').encode()
        span = prefix_span(key) if spelled.startswith("PREFIX ") else Span(key, key + b"\0")
        return Follow(spelled, span, self._random.random() < 0.5, self._random.choice((None, 0)))

    @property
    def now(self) -> float:
        """The time of the world."""
        return self._cluster.world.now

    def begin(self) -> None:
        """Begin to watch."""
        self._later(self._random.uniform(0.0, PAUSE_S), self._connect)

    def _connect(self) -> None:
        self.target = self._random.choice(self._members if self._is_last else [*self._cluster.members])
        endpoint = self._machine.endpoint(self._place(self.target))
        connecting: Deferred[Any] = connect(endpoint, self._make_connection())
        connecting.addTimeout(PATIENCE_S, self._machine.reactor)
        connecting.addCallbacks(self._connected, lambda _: self.begin())

    def _place(self, member: int) -> str:
        """Return the address at which a node serves such clients."""
        return address_of(member)

    def _make_connection(self) -> Any:
        return Watching(self, self._follows)

    @property
    def _members(self) -> Sequence[int]:
        """The members of the cluster: removed nodes that still run deliver nothing new."""
        members, leader = self._cluster.members, self._cluster.leader
        return [*members] if leader is None else sorted(members[leader].node.membership.members)

    def _connected(self, connection: Connection) -> None:
        self._connection = connection
        if self._is_last:
            if self.target not in self._members:  # it was dialed before
                connection.leave()
            return
        draws = self._random
        self._later(draws.choice(STAYS_S) * draws.uniform(0.2, 1.8), self._leave, connection)
        if draws.random() < SLOW:
            connection.transport.receive_at_most(RECEIVE_BYTES)
            self._read_nothing(connection, draws.choice(READS_NOTHING_S))

    def _read_nothing(self, connection: Connection, pause_s: float) -> None:
        if connection is self._connection and not self._is_last:
            self._check_node()
            connection.transport.pauseProducing()
            self._later(pause_s, connection.transport.resumeProducing)
            self._later(pause_s * self._random.uniform(1.1, 2.0), self._read_nothing, connection, pause_s)

    def _leave(self, connection: Connection) -> None:
        if connection is not self._connection or self._is_last:
            return
        self._check_node()
        if self._random.random() < 0.3:
            connection.unwatch()
            self._later(PAUSE_S, connection.transport.abortConnection)
        else:
            connection.transport.abortConnection()

    def _check_node(self) -> None:
        member = self._cluster.members[self.target]
        if member.assembly is not None:
            check_followings(member)

    def draw_half_close(self) -> bool:
        """Return whether the client closes its side of a new connection after its requests."""
        return not self._is_last and self._random.random() < HALF_CLOSES

    @property
    def process(self) -> object:
        """What runs at the node to which it is connected."""
        return self._cluster.members[self.target].assembly

    def check_closed(self, process: object) -> None:
        """Check that a process that goes on running has not closed a connection with a watch (docs/watches.md)."""
        demand(
            process is not self.process, f"node {self.target} closes a connection with a watch, and has not ended that"
        )

    def lost(self, connection: Connection) -> None:
        """Continue on another node."""
        if connection is self._connection:
            self._connection = None
            self.begin()

    def begin_told(self, follow: Follow, revision: int) -> Told:
        """Record a watch that has begun."""
        first = revision + 1 if follow.position is None else follow.position + 1
        told = Told(follow.spelled, follow.span, follow.with_previous, first, revision)
        self.told.append(told)
        return told

    def note_refusal(self, follow: Follow, answer: dict[str, Any]) -> None:
        """After COMPACTED, record the refusal and begin again with the next change."""
        if answer["error"] == "COMPACTED":
            assert follow.position is not None
            refused = Told(follow.spelled, follow.span, follow.with_previous, follow.position + 1, 0, [answer])
            self.told.append(refused)
            follow.position = None

    def watch_ended(self, connection: Connection) -> None:
        """At the end of the run, connect anew when the node has ended a watch: all of them must stand."""
        if self._is_last:
            connection.leave()

    def stay(self) -> None:
        """Keep the connection, or connect to a member, and read everything."""
        self._is_last = True
        connection = self._connection
        if connection is None:
            return
        if connection.told_at is None or self.target not in self._members:  # this connection may deliver nothing more
            connection.leave()
        else:
            connection.transport.resumeProducing()
            connection.probe()

    @property
    def is_level(self) -> bool:
        """Whether it must have received everything by now."""
        since = None if self._connection is None else self._connection.told_at
        return since is not None and self.now - since >= LEVEL_AFTER_S

    def finish(self) -> None:
        """Disconnect for good."""
        connection, self._connection = self._connection, None
        assert connection is not None
        connection.finish()

    def _later(self, seconds: float, call: Callable[..., object], *arguments: object) -> None:
        self._machine.reactor.callLater(seconds, call, *arguments)


class WatchClients:
    """The watch clients of a run, if it has any, and a client that writes the keys that they watch."""

    def __init__(self, cluster: Cluster, kinds: Collection[str]) -> None:
        self._cluster = cluster
        number = NUMBER if WATCHES in kinds else 0
        self._clients = [WatchClient(each, cluster) for each in range(number)]
        self._writers = [WriterOfSeveral(cluster)] if number else []

    @classmethod
    def of(cls, cluster: Cluster, clients: Sequence[WatchClient]) -> "WatchClients":
        """Return a group of these clients, whose keys others write."""
        group = cls(cluster, ())
        group._clients = [*clients]
        return group

    @property
    def asked(self) -> Sequence[Asked]:
        """All requests of the writers."""
        return [each for writer in self._writers for each in writer.asked]

    @property
    def take_part(self) -> bool:
        """Whether the run has any."""
        return bool(self._clients)

    @property
    def are_idle(self) -> bool:
        """Whether all writers are idle."""
        return all(writer.is_idle for writer in self._writers)

    def begin(self) -> None:
        """Begin."""
        for client in self._clients:
            client.begin()
        for writer in self._writers:
            writer.begin()

    def stop(self) -> None:
        """Stop the writers."""
        for writer in self._writers:
            writer.stop()

    def settle(self) -> None:
        """In a healthy cluster, let time pass until all watches have delivered everything; then end them.

        Raises:
            Stuck: they do not.
        """
        if not self._clients:
            return
        for client in self._clients:
            client.stay()
        what = "watches that stand"
        self._cluster.run_until(
            lambda: all(client.is_level for client in self._clients), at_most=LEVEL_S_MAX, what=what
        )
        for member in self._cluster.running:
            check_followings(member)
        for client in self._clients:
            client.finish()
        revision = max(member.store.revision for member in self._cluster.running)
        for told in (each for client in self._clients for each in client.told if each.is_complete):
            told.complete_to = revision

    def judge(self, replay: Replay) -> None:
        """Check the lines that they received.

        Raises:
            InvariantViolated: they are not the changes of the log.
        """
        check_told([told for client in self._clients for told in client.told], replay)
