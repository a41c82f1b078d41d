"""Takes snapshots, in slices, and compacts the log after them (§7)."""

from collections.abc import Callable
from typing import Final, Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from kvraft.raft import Entry
from kvraft.replica.pacing import forget, free, rest
from kvraft.replica.snapshots.context import SnapshotContext
from kvraft.storage import (
    JournalFailed,
    Snapshot,
    SnapshotDamaged,
    SnapshotFailed,
    SnapshotHeader,
    SnapshotRefused,
)
from kvraft.store import Released, Store, StoreSnapshot, take

RETRY_S: Final = 10.0
"""Pause after a failed snapshot before the next attempt, seconds."""
STEP_BYTES_MAX: Final = 1024 * 1024
STEP_S_MAX: Final = 0.005
"""The longest step of a snapshot that has to keep up with writes: bytes and seconds."""
ABSENT_AFTER_S: Final = 5.0
"""After so long without an answer of a member, the leader keeps no log for it any more, seconds."""


def _absent_after() -> float:
    return ABSENT_AFTER_S


@attrs.frozen
class SnapshotOptions:
    """When a snapshot is taken, and how much of the log is kept: sizes in bytes of log records."""

    log_bytes_max: int = 32 * 1024 * 1024
    """A snapshot is taken when so much was applied since the last one, or as much as that one's size, if more. So each
    write is written to the disk about twice at most."""
    log_bytes_kept: int = 8 * 1024 * 1024
    """How much of the log before a snapshot is kept, for followers that are a little late."""
    log_bytes_for_late: int = 96 * 1024 * 1024
    """So much of a leader's log, or twice the size of the snapshot, if more, is kept while a live member needs it: a
    member that has installed a snapshot needs the entries after it; without them it would need the next snapshot.
    What stays is dropped when all members have it or another node leads, or else with the next snapshot.
    While a member receives one, a new one is taken only when half as much was applied: the second new one removes the
    one that is being sent."""
    absent_after: float = attrs.field(factory=_absent_after)
    """No log is kept for a member that has not answered for so long, seconds."""


class LateMembers(Protocol):
    """The leader's view of the members that need its log."""

    @property
    def needed_behind(self) -> int | None:
        """The live members need the log after this index; None without any, or when this node does not lead."""
        ...

    @property
    def is_one_receiving(self) -> bool:
        """Whether a live member is receiving a snapshot."""
        ...

    def may_need(self, index: int) -> bool:
        """Whether a member may need entries up to `index` of this node: one lacks some, and no other node leads.

        A member that is away counts, too. Without a leader this node may be elected again.
        """
        ...


class SnapshotCreator:
    """Takes snapshots of the applied state, one at a time.

    A snapshot is written in chunks. Each is encoded here and written by another thread; the next one waits for that.
    While this node has other work, there is a pause between two chunks. A store that is written to quickly does not
    wait for that: a step then has as many chunks as it takes to have written as many bytes as were applied since the
    snapshot began, and no pause follows. So meanwhile the log grows by the size of the snapshot, and not without bound.
    """

    _log = Logger(namespace="kvraft.replica")

    def __init__(
        self,
        context: SnapshotContext,
        make_id: Callable[[], str],
        options: SnapshotOptions,
        members: LateMembers,
    ) -> None:
        self._node = context.node
        self._storage = context.storage
        self._snapshots = context.snapshots
        self._clock = context.clock
        self._failed = context.failed
        self._make_id = make_id
        self._options = options
        self._members = members
        self._applied_bytes = 0
        """Bytes of the entries that were applied since the last snapshot began."""
        self._turns = 0
        """Turns of the replica so far: if there was one since the last chunk, the node is not idle."""
        self._held_to: int | None = None
        """After the latest snapshot, the log up to this entry stayed for late members alone; None: nothing did."""
        self._is_latest_damaged = False
        """Whether the latest snapshot has decayed, so that a new one is due."""
        self._not_before = 0.0
        self._running: Deferred[None] | None = None
        self._stopped = False

    @property
    def is_running(self) -> bool:
        """Whether a snapshot is being taken."""
        return self._running is not None

    def applied(self, entry: Entry) -> None:
        """Count an entry that was applied."""
        self._applied_bytes += len(entry.record)

    def consider(self, store: Store) -> None:
        """Count a turn, drop the log that late members need no more, and begin a snapshot of `store` if one is due."""
        self._turns += 1
        if self._held_to is not None and not self._members.may_need(self._held_to):
            self._let_go(self._held_to)
        if self._applied_bytes < self._options.log_bytes_max and not self._is_latest_damaged:
            return  # the common case
        due = max(self._options.log_bytes_max, self._latest_size)
        if self._members.is_one_receiving:
            due = max(due, self._kept_for_late // 2)
        is_due = self._applied_bytes >= due or (self._is_latest_damaged and store.applied_index > self._latest_index)
        if is_due and self._running is None and self._clock.seconds() >= self._not_before:
            self.begin(store)

    def begin(self, store: Store) -> Deferred[None]:
        """Take a snapshot of `store` now, unless one is under way; fires when it is finished or has failed."""
        finished: Deferred[None] = Deferred()
        if self._running is None and not self._stopped:
            counted, self._applied_bytes = self._applied_bytes, 0
            self._running = Deferred.fromCoroutine(self._take(store, counted))
            self._running.addErrback(self._report_defect)
            self._running.addBoth(self._ended)
        if self._running is None:
            finished.callback(None)
        else:
            self._running.chainDeferred(finished)
        return finished

    def replace(self, damage: SnapshotDamaged) -> None:
        """Take a new snapshot soon, since the latest one has decayed: it needs at least one more entry."""
        latest = self._snapshots.latest
        if self._is_latest_damaged or latest is None or latest.path != damage.path:
            return
        self._is_latest_damaged = True
        self._log.error(
            "node {id} takes a new snapshot as soon as it has applied one more entry: {path} is damaged at offset "
            "{offset}: {why}; look at the disk, and do not restart this node before it has the new one",
            id=self._node.id,
            path=damage.path,
            offset=damage.offset,
            why=damage.why,
        )

    def stop(self) -> None:
        """Begin nothing more; a snapshot under way ends at its next chunk."""
        self._stopped = True

    def _ended(self, _: object) -> None:
        self._running = None

    async def _take(self, store: Store, counted: int) -> None:
        began = self._clock.seconds()
        snapshot = take(store)
        index, term, keys = store.applied_index, store.applied_term, store.key_count
        latest = self._snapshots.latest
        if latest is not None and latest.header.index >= index:
            snapshot.release()
            return
        membership = self._node.membership_at(index).encode().decode()
        header = SnapshotHeader(self._make_id(), index, term, {"store": snapshot.state, "membership": membership})
        finished = None
        try:
            await self._snapshots.begin_snapshot(header)
            finished = await self._write(snapshot)
        except (SnapshotFailed, SnapshotRefused) as error:
            if not self._stopped:
                self._applied_bytes += counted
                self._not_before = self._clock.seconds() + RETRY_S
                self._log.warn("node {id} has no new snapshot: {why}", id=self._node.id, why=str(error))
        finally:
            kept = snapshot.release()
        await free(self._clock, [*kept])
        if finished is None:
            return
        self._is_latest_damaged = False
        self._log.info(
            "node {id} took a snapshot up to entry {index}: {keys} keys, {size} bytes, in {seconds:.1f} s",
            id=self._node.id,
            index=index,
            keys=keys,
            size=finished.size,
            seconds=self._clock.seconds() - began,
        )
        await self._compact(index)

    async def _write(self, snapshot: StoreSnapshot) -> Snapshot | None:
        """Write all chunks; return None if the node was stopped or the store was replaced meanwhile."""
        written = 0
        while not self._stopped:
            began, turns = self._clock.seconds(), self._turns
            try:
                chunks = self._encode(snapshot, self._applied_bytes - written)
            except Released:  # the store was replaced
                break
            if not chunks:
                return await self._snapshots.finish()
            written += sum(map(len, chunks))
            await self._snapshots.write(chunks)
            if self._turns != turns and written >= self._applied_bytes:
                await rest(self._clock, began)
        await self._snapshots.abort()
        return None

    def _encode(self, snapshot: StoreSnapshot, size: int) -> list[bytes]:
        """Return the next chunk, and more of them up to `size` bytes or the longest step; none at the end."""
        chunks: list[bytes] = []
        until, room = self._clock.seconds() + STEP_S_MAX, min(size, STEP_BYTES_MAX)
        for chunk in snapshot:
            chunks.append(chunk)
            room -= len(chunk)
            if room <= 0 or self._clock.seconds() >= until:
                break
        return chunks

    async def _compact(self, snapshot_index: int) -> None:
        """Compact the log up to the snapshot, less what is kept for late followers."""
        log, needed = self._node.log, self._members.needed_behind
        goal = min(snapshot_index, log.durable, log.index_before(self._options.log_bytes_kept))
        needless = goal if needed is None else min(goal, max(needed, log.index_before(self._kept_for_late)))
        self._held_to = goal if needless < goal else None
        await self._drop(needless)

    def _let_go(self, index: int) -> None:
        """Drop what stayed for late members, which a snapshot covers: none needs it of this node."""
        self._held_to = None
        Deferred.fromCoroutine(self._drop(index)).addErrback(self._failed)

    async def _drop(self, index: int) -> None:
        """Drop the log up to `index`, in memory and on the disk."""
        log = self._node.log
        await forget(self._clock, self._node, index)
        if not self._stopped:
            try:
                await self._storage.compact(log.snapshot_index, log.snapshot_term)
            except JournalFailed:
                self._failed(Failure())  # nothing may be written after such a failure

    @property
    def _latest_index(self) -> int:
        latest = self._snapshots.latest
        return latest.header.index if latest is not None else 0

    @property
    def _latest_size(self) -> int:
        latest = self._snapshots.latest
        return latest.size if latest is not None else 0

    @property
    def _kept_for_late(self) -> int:
        return max(self._options.log_bytes_for_late, 2 * self._latest_size)

    def _report_defect(self, failure: Failure) -> None:
        self._not_before = self._clock.seconds() + RETRY_S
        self._log.failure("node {id} could not take a snapshot", failure, id=self._node.id)
