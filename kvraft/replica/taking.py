"""Taking snapshots: when, slice by slice, and shortening the log behind them (§7)."""

from collections.abc import Callable
from typing import Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from kvraft.raft import Entry, Node
from kvraft.storage import JournalFailed, SnapshotFailed, SnapshotHeader, SnapshotRefused, SnapshotStorage, Storage
from kvraft.store import Store, take

COMPACTED_AT_ONCE: Final = 10_000
"""Entries that leave the log in one step, so that no turn is held for long."""
RETRY_S: Final = 10.0
"""Wait before a snapshot that failed is tried again, seconds."""


@attrs.frozen
class SnapshotOptions:
    """When a snapshot is taken, and what of the log stays: sizes in bytes of log records."""

    log_bytes_max: int = 32 * 1024 * 1024
    """A snapshot is taken when this much was applied since the last one, or as much as that one's size, if more: so the
    disk is never written more than about twice for each write."""
    log_bytes_kept: int = 8 * 1024 * 1024
    """So much of the log stays behind a snapshot, for followers that are a little late."""


class SnapshotTaker:
    """Takes one snapshot at a time of what a node has applied.

    A slice is one chunk: it is encoded here, written by another thread, and the next one waits for that.

    Args:
        failed: called when the journal fails, so that the node must not go on.
    """

    _log = Logger(namespace="kvraft.replica")

    def __init__(
        self,
        node: Node,
        storage: Storage,
        snapshots: SnapshotStorage,
        clock: IReactorTime,
        make_id: Callable[[], str],
        options: SnapshotOptions,
        failed: Callable[[Failure], None],
    ) -> None:
        self._node = node
        self._storage = storage
        self._snapshots = snapshots
        self._clock = clock
        self._make_id = make_id
        self._options = options
        self._failed = failed
        self._applied_bytes = 0
        """Bytes of the entries that were applied since the last snapshot began."""
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
        """Begin to take a snapshot of `store` if it is time for one."""
        latest = self._snapshots.latest
        due = max(self._options.log_bytes_max, latest.size if latest is not None else 0)
        if self._applied_bytes >= due and self._running is None and self._clock.seconds() >= self._not_before:
            self.begin(store)

    def begin(self, store: Store) -> Deferred[None]:
        """Take a snapshot of `store` now, unless one is being taken; fires when it is there or has failed."""
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

    def stop(self) -> None:
        """Begin nothing more; what is running ends at its next slice."""
        self._stopped = True

    def _ended(self, _: object) -> None:
        self._running = None

    async def _take(self, store: Store, counted: int) -> None:
        began = self._clock.seconds()
        snapshot = take(store)
        index, term = store.applied_index, store.applied_term
        latest = self._snapshots.latest
        if latest is not None and latest.header.index >= index:
            snapshot.release()
            return
        membership = self._node.membership_at(index).encode().decode()
        header = SnapshotHeader(self._make_id(), index, term, {"store": snapshot.state, "membership": membership})
        try:
            await self._snapshots.begin_snapshot(header)
            for chunk in snapshot:
                await self._snapshots.write(chunk)
                if self._stopped:
                    await self._snapshots.abort()
                    return
            finished = await self._snapshots.finish()
        except (SnapshotFailed, SnapshotRefused) as error:
            if not self._stopped:
                self._applied_bytes += counted
                self._not_before = self._clock.seconds() + RETRY_S
                self._log.warn("node {id} has no new snapshot: {why}", id=self._node.id, why=str(error))
            return
        finally:
            snapshot.release()
        self._log.info(
            "node {id} took a snapshot up to entry {index}: {keys} keys, {size} bytes, in {seconds:.1f} s",
            id=self._node.id,
            index=index,
            keys=header.state["store"]["key_count"],  # type: ignore[index]
            size=finished.size,
            seconds=self._clock.seconds() - began,
        )
        await self._compact(index)

    async def _compact(self, snapshot_index: int) -> None:
        """Let the log begin behind the snapshot, less what is kept for followers that are late."""
        log = self._node.log
        goal = min(snapshot_index, log.durable, log.index_before(self._options.log_bytes_kept))
        while log.snapshot_index < goal and not self._stopped:
            self._node.compact(min(goal, log.snapshot_index + COMPACTED_AT_ONCE))
            await deferLater(self._clock, 0)
        if not self._stopped:
            try:
                await self._storage.compact(log.snapshot_index, log.snapshot_term)
            except JournalFailed:
                self._failed(Failure())  # nothing may be written behind that

    def _report_defect(self, failure: Failure) -> None:
        self._not_before = self._clock.seconds() + RETRY_S
        self._log.failure("node {id} could not take a snapshot", failure, id=self._node.id)
