"""Upper bounds of what a healthy cluster spends: messages, bytes, syncs, events, and lines of log.

Waste makes no answer wrong, so other checks do not find it. It is counted while nothing else happens: in a second
without requests, for consecutive writes, and until a member that was isolated has caught up. The bounds leave room for
the random parameters of a run, such as batches of one entry. They do not grow with the length of a run.
"""

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any, Final

import attrs
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from kvraft.commands import Identify
from kvraft.replica import group_commit
from kvraft.replica.snapshots import receive, send
from kvraft.simulation import at_rest
from kvraft.simulation.cluster import Cluster
from kvraft.simulation.conduct import demand
from kvraft.simulation.constants import CHUNK, HISTORY_IN_PIECES_BYTES, SYNCED, Constant, in_force
from kvraft.simulation.member import Member
from kvraft.simulation.network import LinkOptions
from kvraft.simulation.pace import write
from kvraft.simulation.requests import CALLER
from kvraft.storage import snapshot_files, snapshots

REST_S: Final = 1.0
"""The time without requests in which the cluster is counted, seconds."""
WRITES: Final = 5
"""Writes of the sequence that is counted, each after the answer to the one before."""
MISSED: Final = 30
"""Writes that a member misses while it is isolated."""
VOTERS_MIN: Final = 3
"""With fewer voters the loss of one stops the cluster, so none is isolated."""
TRANSFERRED: Final = 0.5
"""The share of cases in which leadership is transferred meanwhile: the new leader must find where that log ends."""

FASTEST: Final = 1.05
"""Rate of the fastest clock."""
ROUNDS_SPARE: Final = 2
"""Rounds of heartbeats beyond those of the timer: one of a new leader, and one that began before the count."""
HEARTBEAT_BYTES_MAX: Final = 400
"""Bytes of a heartbeat, its answer, and the keep-alives of both connections in that time."""
WRITE_BYTES_MAX: Final = 500
"""Bytes of one small entry in a message of its own, and of the answer."""
EVENTS_A_MESSAGE: Final = 4
"""Events of a node for a message that it receives: it arrives in one piece or two, and turns begin."""
EVENTS_SPARE: Final = 60
"""Events a second of a node that receives nothing: its timers, the look-up of names, keep-alives."""
SYNCS_SPARE: Final = 2
"""Syncs of a node besides those of its writes: for a new segment, and for the others' acknowledgements."""
SHORT_CHUNK: Final = Constant(CHUNK.module, CHUNK.name, (100,), {"VALUE_PART_BYTES": -50})
"""As `CHUNK`, but without the length of a chunk that is accepted: other nodes may have longer ones under way."""
IN_PIECES: Final = {SHORT_CHUNK: 100, SYNCED: 1_000}
"""Constants with which a small snapshot is written in many pieces, and synced a few times."""
LINES_SPARE: Final = 2
"""Lines of log of a node, such as those of a snapshot."""
SENT_FOR_ENTRY: Final = 4
"""Messages for each entry that a member misses: in a run whose batches hold one entry, one and its answer."""
DENIALS_MAX: Final = 3
"""Rejected AppendEntries until the leader has found where a member's log ends: each rejection hints at it (§5.3)."""
SENT_FOR_PIECE: Final = 4
"""Messages for each piece of a snapshot."""
CHUNK_BYTES_MIN: Final = 40
"""Bytes of a short chunk of a snapshot: while the receiver loads it, it replies after each `receive.CHUNKS_A_REPLY`."""
SNAPSHOT_COPIES: Final = 2
"""How many times the bytes of a snapshot may be sent."""
IN_FLIGHT: Final = 10
LATER_S: Final = (0.0015, 0.002)
"""How many writes are in flight when others come, and when those come, seconds: after the leader's save, and before any
member can have answered over slow links."""
SLOW_LINKS: Final = LinkOptions(delay_min_s=0.003, delay_max_s=0.003, tail=0.0, split=0.0)
SHARED_BYTES: Final = 10_000
"""With smaller batches the writes do not fit into one entry."""
DIALED_BYTES: Final = 20_000
"""Bytes of the handshakes when a member and one other connect again."""

DUE_S: Final = 0.1
"""So long after the last write a snapshot that is due has begun, seconds."""
_WRITE: Final = Identify("budgets")
"""A write that changes nothing: the cluster has its id."""


@attrs.define
class Spent:
    """What happened during a count."""

    seconds: float = 0.0
    messages: int = 0
    denials: int = 0
    """Rejected AppendEntries: the receiver's log lacks the entry that the message's entries follow."""
    bytes: int = 0
    syncs: int = 0
    lines: int = 0


@implementer(ILogObserver)
class _Lines:
    """Counts lines of log."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, event: LogEvent) -> None:
        self.count += 1


class Budgets:
    """Checks the bounds in one healthy, idle cluster."""

    def __init__(self, cluster: Cluster, draws: Random) -> None:
        self._cluster = cluster
        self._draws = draws
        self._leader = cluster.members[cluster.elect()]
        members = self._leader.node.membership.members
        self._nodes = len(members)
        self._others = len(members) - 1
        self._counts = all(member.id in members for member in cluster.running)
        """Whether all nodes are members: a removed node that was not notified goes on to dial and to send."""

    def hold(self) -> None:
        """Compare what the cluster spends with the bounds.

        Raises:
            InvariantViolated: it spends more.
        """
        if not self._counts or any(at_rest.is_taking(member) for member in self._cluster.running):
            return  # a snapshot takes as many jobs as it has chunks
        self._hold_rest()
        self._hold_writes()
        self._hold_writes_together()
        self._hold_late_member()
        self._hold_snapshot()

    def _hold_rest(self) -> None:
        events: Counter[int] = Counter()
        snapshots_before = {member.id: _latest_snapshot(member) for member in self._cluster.members.values()}
        last_index = self._leader.node.log.last_index
        sessions = self._leader.store.client_sessions.count  # each may expire in this time, by an entry
        spent = self._count(lambda: events.update(self._run_out()))
        if not self._has_led(spent):
            return
        entries = self._leader.node.log.last_index - last_index
        self._compare(f"entries in {REST_S:g} s without requests", entries, sessions)
        what = f"in {REST_S:g} s without requests"
        rounds = self._rounds(spent.seconds)
        self._compare(f"messages {what}", spent.messages, 2 * self._others * (rounds + entries))
        most_bytes = self._others * (rounds * HEARTBEAT_BYTES_MAX + entries * WRITE_BYTES_MAX)
        self._compare(f"bytes {what}", spent.bytes, most_bytes)
        self._compare(f"syncs {what}", spent.syncs, (SYNCS_SPARE + entries) * self._nodes)
        self._compare(f"lines of log {what}", spent.lines, LINES_SPARE * self._nodes)
        for member, count in events.items():
            if _latest_snapshot(self._cluster.members[member]) != snapshots_before[member]:
                continue  # the last entry before this second has made one due, and each chunk is an event
            received = rounds * (self._others if member == self._leader.id else 1)
            most = EVENTS_A_MESSAGE * received + EVENTS_SPARE * spent.seconds
            self._compare(f"events of node {member} {what}", count, most)

    def _hold_writes(self) -> None:
        spent = self._count(lambda: [write(self._cluster, self._leader) for _ in range(WRITES)])
        if not self._has_led(spent):
            return
        what, rounds = f"for {WRITES} writes", self._rounds(spent.seconds)
        self._compare(f"messages {what}", spent.messages, 2 * self._others * (WRITES + rounds))
        most = self._others * (WRITES * WRITE_BYTES_MAX + rounds * HEARTBEAT_BYTES_MAX)
        self._compare(f"bytes {what}", spent.bytes, most)
        self._compare(f"syncs {what}", spent.syncs, self._nodes * (WRITES + SYNCS_SPARE))
        self._compare(f"lines of log {what}", spent.lines, LINES_SPARE * self._nodes)

    def _hold_writes_together(self) -> None:
        """Let writes come while others are in flight: they wait for each other, and share one entry."""
        cluster, leader = self._cluster, self._leader
        batch_bytes: int = group_commit.BATCH_BYTES_MAX  # type: ignore[attr-defined]  # a run may have drawn it
        can_share = batch_bytes >= SHARED_BYTES and not leader.store.has_deadlines
        if len(leader.node.membership.voters) == 1 or not can_share or leader.assembly is None:
            return
        ask, world, first = leader.assembly.replica.intake.ask, cluster.world, leader.node.log.last_index
        answers: list[object] = []
        links, cluster.network.options = cluster.network.options, SLOW_LINKS
        moments = (*[0.0] * IN_FLIGHT, *LATER_S)
        for later_s in moments:
            world.at(world.now + later_s, leader.machine, ask, CALLER, [_WRITE], answers.append)
        cluster.run_until(lambda: len(answers) == len(moments), what="an answer to each write")
        cluster.network.options = links
        if self._has_led(Spent(REST_S)):
            what = f"entries for {len(LATER_S)} writes that come while {IN_FLIGHT} are in flight"
            self._compare(what, leader.node.log.last_index - first - 1, 1)

    def _hold_late_member(self) -> None:
        """Isolate a voter during some writes, and count what it costs until it has caught up."""
        cluster = self._cluster
        others = sorted(self._leader.node.membership.voters - {self._leader.id})
        if len(others) + 1 < VOTERS_MIN:
            return
        late = cluster.members[self._draws.choice(others)]
        cluster.isolate(late.id)
        for each in cluster.members.values():
            cluster.network.break_connections(late.machine, each.machine)
        for _ in range(MISSED):
            write(cluster, self._leader)
        if self._draws.random() < TRANSFERRED:
            successor = self._draws.choice([each for each in others if each != late.id])
            cluster.ask(self._leader.id, f"TRANSFER {successor}")
        cluster.heal()

        def is_level() -> bool:
            return cluster.agrees() and cluster.has_settled()

        spent = self._count(lambda: cluster.run_until(is_level, what=f"node {late.id} level with the others"))
        rounds = self._rounds(spent.seconds)
        snapshot = max(_snapshot_bytes(member) for member in cluster.running)
        pieces = snapshot // min(send.PIECE_BYTES, snapshots.READ_BYTES_MAX) + 1
        what = f"until a member is level that missed {MISSED} writes"
        loading = snapshot // (CHUNK_BYTES_MIN * receive.CHUNKS_A_REPLY)
        most = SENT_FOR_ENTRY * MISSED + SENT_FOR_PIECE * pieces + loading + 2 * self._others * rounds
        self._compare(f"messages {what}", spent.messages, most)
        most = MISSED * WRITE_BYTES_MAX + SNAPSHOT_COPIES * snapshot + DIALED_BYTES * self._others
        self._compare(f"bytes {what}", spent.bytes, most + self._others * rounds * HEARTBEAT_BYTES_MAX)
        self._compare(f"denials {what}", spent.denials, DENIALS_MAX * self._others)

    def _hold_snapshot(self) -> None:
        """Let the leader take a snapshot, and count how often it syncs that."""
        cluster, leader = self._cluster, self._cluster.members[self._cluster.elect()]
        cluster.run(DUE_S)
        cluster.run_until(lambda: not at_rest.is_taking(leader), what="the end of a snapshot that was due anyway")
        before = leader.disk.syncs["snapshot"]
        is_small = 0 < _snapshot_bytes(leader) < HISTORY_IN_PIECES_BYTES
        with in_force(IN_PIECES if is_small else {}):
            (answer,) = cluster.ask(leader.id, "SNAPSHOT") or ({},)
            if answer.get("status") != "OK" or leader.forgets:
                return
            most = _snapshot_bytes(leader) // snapshot_files.SYNC_BYTES + SYNCS_SPARE
        self._compare("syncs of a snapshot", leader.disk.syncs["snapshot"] - before, most)

    def _rounds(self, seconds: float) -> float:
        """Return how many rounds of heartbeats there may be in a time."""
        return seconds * FASTEST / self._cluster.options.heartbeat_interval + ROUNDS_SPARE

    def _has_led(self, spent: Spent) -> bool:
        """Whether the leader has not changed: no bound holds for an election."""
        return self._cluster.leader == self._leader.id and spent.seconds > 0

    @staticmethod
    def _compare(what: str, count: float, most: float) -> None:
        demand(count <= most, f"{what}: {count:g}, and {most:.0f} would be many")

    def _count(self, do: Callable[[], object]) -> Spent:
        cluster = self._cluster
        checks, network, world = cluster.checks, cluster.network, cluster.world
        lines = _Lines()
        before = Spent(world.now, checks.messages, checks.denials, network.bytes, _syncs(cluster))
        globalLogPublisher.addObserver(lines)
        try:
            do()
        finally:
            globalLogPublisher.removeObserver(lines)
        return Spent(
            world.now - before.seconds,
            checks.messages - before.messages,
            checks.denials - before.denials,
            network.bytes - before.bytes,
            _syncs(cluster) - before.syncs,
            lines.count,
        )

    def _run_out(self) -> Counter[int]:
        """Let the time without requests pass; return how many events each node has had."""
        cluster = self._cluster
        end, events = cluster.world.now + REST_S, Counter[int]()
        while cluster.step(end):
            member = cluster.member_of(cluster.world.last_owner)
            if member is not None:
                events[member.id] += 1
        cluster.world.now = end
        return events


def _syncs(cluster: Cluster) -> int:
    return sum(member.disk.syncs["segment"] for member in cluster.members.values())


def _latest_snapshot(member: Member) -> tuple[str, int]:
    """Return the name of the latest snapshot on the disk, or of its draft, and the index of the one that is finished.

    Where nodes keep their data in memory, nothing is on a disk.
    """
    names = [path.name for path in member.disk.inodes if path.name.startswith("snapshot")]
    latest = _finished_snapshot(member)
    return max(names, default=""), 0 if latest is None else latest.header.index


def _snapshot_bytes(member: Member) -> int:
    """Return the size of its longest snapshot, which is not on a disk where nodes keep their data in memory."""
    sizes = [len(inode.current) for path, inode in member.disk.inodes.items() if path.name.startswith("snapshot")]
    latest = _finished_snapshot(member)
    return max([*sizes, 0 if latest is None else latest.size])


def _finished_snapshot(member: Member) -> Any:
    if member.assembly is None:
        return None  # it is down
    storage: Any = member.assembly.replica._snapshotter._context.snapshots  # noqa: SLF001
    return storage.latest
