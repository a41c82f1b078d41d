"""Snapshots behind Deferreds: they have their own `Worker`, so a long sync of one delays no save of the journal."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from twisted.internet.defer import Deferred, fail

from kvraft.storage.errors import SnapshotRefused
from kvraft.storage.snapshot_layout import SnapshotChunk, SnapshotHeader
from kvraft.storage.snapshots import IncomingSnapshot, Snapshot, SnapshotIdentity, Snapshots, SnapshotWriter
from kvraft.storage.worker import Jobs

_T = TypeVar("_T")


class SnapshotJobs:
    """The methods of `SnapshotStorage`, each a job. `latest` changes when the Deferred of the finished job fires."""

    def __init__(self, snapshots: Snapshots, jobs: Jobs) -> None:
        self._snapshots = snapshots
        self._jobs = jobs
        self._latest = snapshots.latest
        # Only jobs use these two.
        self._writer: SnapshotWriter | None = None
        self._incoming: IncomingSnapshot | None = None

    @property
    def latest(self) -> Snapshot | None:
        """See `SnapshotStorage.latest`."""
        return self._latest

    @property
    def pending_since(self) -> float | None:
        """See `SnapshotStorage.pending_since`."""
        return self._jobs.pending_since

    @property
    def bytes_written(self) -> int:
        """See `SnapshotStorage.bytes_written`."""
        return self._snapshots.bytes_written

    def begin_snapshot(self, header: SnapshotHeader) -> Deferred[None]:
        """See `SnapshotStorage.begin_snapshot`."""

        def begin() -> None:
            self._writer = self._snapshots.begin(header)

        return self._do(begin)

    def write(self, chunks: Sequence[bytes]) -> Deferred[None]:
        """See `SnapshotStorage.write`."""

        def write() -> None:
            writer = self._current_writer()
            for chunk in chunks:
                writer.write(chunk)

        return self._do(write)

    def finish(self) -> Deferred[Snapshot]:
        """See `SnapshotStorage.finish`."""
        return self._do(lambda: self._current_writer().finish()).addCallback(self._finished)

    def abort(self) -> Deferred[None]:
        """See `SnapshotStorage.abort`."""

        def abort() -> None:
            if self._writer is not None:
                self._writer.abort()

        return self._do(abort)

    def begin_incoming(self, identity: SnapshotIdentity) -> Deferred[int]:
        """See `SnapshotStorage.begin_incoming`."""

        def begin() -> int:
            self._incoming = self._snapshots.receive(identity)
            return self._incoming.received

        return self._do(begin)

    def write_incoming(self, offset: int, data: bytes) -> Deferred[int]:
        """See `SnapshotStorage.write_incoming`."""
        return self._do(lambda: self._current_incoming().write(offset, data))

    def finish_incoming(self) -> Deferred[Snapshot]:
        """See `SnapshotStorage.finish_incoming`."""
        return self._do(lambda: self._current_incoming().finish()).addCallback(self._finished)

    def abort_incoming(self) -> Deferred[None]:
        """See `SnapshotStorage.abort_incoming`."""

        def abort() -> None:
            if self._incoming is not None:
                self._incoming.abort()

        return self._do(abort)

    def read(self, snapshot_id: str, offset: int, size: int) -> Deferred[bytes]:
        """See `SnapshotStorage.read`."""
        return self._do(lambda: self._snapshots.read(snapshot_id, offset, size))

    def read_chunk(self, snapshot_id: str, offset: int) -> Deferred[SnapshotChunk | None]:
        """See `SnapshotStorage.read_chunk`."""
        return self._do(lambda: self._snapshots.read_chunk(snapshot_id, offset))

    def verify(self, snapshot_id: str) -> Deferred[None]:
        """See `SnapshotStorage.verify`."""
        return self._do(lambda: self._snapshots.verify(snapshot_id))

    def close(self) -> Deferred[None]:
        """See `SnapshotStorage.close`."""
        return self._jobs.close()

    def _do(self, job: Callable[[], _T]) -> Deferred[_T]:
        if self._jobs.is_closing:
            return fail(SnapshotRefused("the snapshots are closed"))
        return self._jobs.do(job)

    def _current_writer(self) -> SnapshotWriter:
        if self._writer is None:
            raise SnapshotRefused("no snapshot is being written")
        return self._writer

    def _current_incoming(self) -> IncomingSnapshot:
        if self._incoming is None:
            raise SnapshotRefused("no snapshot is being received")
        return self._incoming

    def _finished(self, snapshot: Snapshot) -> Snapshot:
        self._latest = snapshot
        return snapshot
