"""The durable state of this node: a write-ahead log of hard states and entries, and snapshots of the store.

The tour
========

`Journal` is the log itself, synchronous. `Journal.save` makes a hard state and entries durable together: one buffer,
one write, one fdatasync. `Journal.open` reads everything back. After a crash the last save may be on the disk in part,
and recovery must tell that apart from a disk that has lost what it once confirmed.

A snapshot replaces the log up to one entry. `Snapshots` writes it, or receives it from a leader, verifies it and only
then gives it its final name; `Journal.compact` lets the log begin after it, `Journal.reset_to` restarts the log after
one that was received. `open_storage` opens both and makes them consistent after a crash between the two.

================  ===================================================================================================
layout            the bytes: segments, saves, seals, marks, and how the end of a save is recognised
segments          the files: names, durable creation before first use, and which are no longer needed
recovery          reading back: replay, cut off what was interrupted, refuse damage; the rule and where it errs
extent            the first and last index of the log, and which saves these allow
journal           `Journal`: saving, rotation, compaction, death at the first refusal of the operating system
snapshot_layout   the bytes of a snapshot, and how they are verified
snapshot_files    its file: names, and a draft that is renamed when it is complete
snapshots         `Snapshots`: taking, receiving, reading, and which are kept
opening           `open_storage`: journal and snapshots after a crash between the two
files             the seam to the disk, so that a simulation can be the disk
worker            a thread that does jobs in order, behind Deferreds
journal_jobs      `JournalJobs`: the journal, its methods as a worker's jobs
snapshot_jobs     `SnapshotJobs`: the snapshots, with another worker, so that they delay no save
memory            `MemoryJournal`: the in-memory twin of `JournalJobs`
memory_snapshots  `MemorySnapshots`: the in-memory twin of `SnapshotJobs`
errors            the errors, each with what a person can do
================  ===================================================================================================

The rules of this package:

* Term, vote and entries of one save become durable together or not at all: the hard state is in the seal that ends
  the save. A term never decreases, and a vote never changes within a term.
* A save that has returned survives a power failure at any later moment, even between any two operations on files. A
  file is used only when its bytes, its length and its name are durable.
* After a write or sync that failed nothing is tried again: the kernel may have dropped the bytes and report success to
  the next sync. The journal is dead. The next opening writes the last save again and syncs it before it is used.
* A write that finds no room has acknowledged nothing: the journal waits, cuts off what was written in part, and goes on
  when there is room. A sync that finds no room is a sync that failed.
* Every repair is noted for the log: an interrupted last save that is cut off, and a decayed snapshot that is removed
  because the log reaches back to the one before it.
* A snapshot is durable before the log is shortened, and the mark that says so is durable before a segment is deleted.
* A failed snapshot has no effect on the log or on other snapshots. Only failures of the journal stop the node.

What is not done: compaction deletes whole segments and rewrites none, so up to one segment more than needed stays.
The snapshot before the newest can only be used if the log reaches back to it; the caller chooses how far to compact.
Nothing is encrypted. There is no second copy on this node: the other members hold the copies.
"""

from collections.abc import Sequence
from typing import Protocol

from twisted.internet.defer import Deferred

from kvraft.metrics import Histogram
from kvraft.raft.types import Entry, HardState
from kvraft.storage.errors import (
    JournalDamaged,
    JournalFailed,
    JournalFull,
    JournalLocked,
    JournalMismatch,
    JournalOutdated,
    PathUnusable,
    SaveRefused,
    SnapshotDamaged,
    SnapshotFailed,
    SnapshotGone,
    SnapshotRefused,
    SnapshotUnsound,
    StorageError,
)
from kvraft.storage.files import File, Files, Lock, OsFiles
from kvraft.storage.journal import SEGMENT_BYTES, Journal
from kvraft.storage.journal_jobs import JournalJobs
from kvraft.storage.memory import MemoryJournal
from kvraft.storage.memory_snapshots import MemorySnapshots, make_memory_snapshots
from kvraft.storage.opening import OUTDATED, Opened, mark_outdated, open_storage
from kvraft.storage.recovery import Recovered
from kvraft.storage.snapshot_jobs import SnapshotJobs
from kvraft.storage.snapshot_layout import CHUNK_BYTES_MAX, SnapshotChunk, SnapshotHeader
from kvraft.storage.snapshots import (
    READ_BYTES_MAX,
    IncomingSnapshot,
    Snapshot,
    SnapshotIdentity,
    Snapshots,
    SnapshotWriter,
)
from kvraft.storage.worker import Jobs, ThreadReactor, Worker

__all__ = [
    "CHUNK_BYTES_MAX",
    "OUTDATED",
    "READ_BYTES_MAX",
    "SEGMENT_BYTES",
    "File",
    "Files",
    "IncomingSnapshot",
    "Jobs",
    "Journal",
    "JournalDamaged",
    "JournalFailed",
    "JournalFull",
    "JournalJobs",
    "JournalLocked",
    "JournalMismatch",
    "JournalOutdated",
    "Lock",
    "MemoryJournal",
    "MemorySnapshots",
    "Opened",
    "OsFiles",
    "PathUnusable",
    "Recovered",
    "SaveRefused",
    "Snapshot",
    "SnapshotChunk",
    "SnapshotDamaged",
    "SnapshotFailed",
    "SnapshotGone",
    "SnapshotHeader",
    "SnapshotIdentity",
    "SnapshotJobs",
    "SnapshotRefused",
    "SnapshotStorage",
    "SnapshotUnsound",
    "SnapshotWriter",
    "Snapshots",
    "Storage",
    "StorageError",
    "ThreadReactor",
    "Worker",
    "make_memory_snapshots",
    "mark_outdated",
    "open_storage",
]


class Storage(Protocol):
    """What a replica needs of its journal; `JournalJobs` is the real one, `MemoryJournal` its twin.

    Saves finish in the order of the calls. On a quick disk a save may be finished when `save` returns.
    """

    @property
    def pending_since(self) -> float | None:
        """The reactor's time in seconds of the call for the oldest unfinished save; None when all are finished.

        A watchdog compares it with now, since a disk that hangs reports no error.
        """
        ...

    @property
    def full(self) -> JournalFull | None:
        """Why nothing is saved at the moment; None while there is room.

        Pending saves wait and are retried periodically; they are neither lost nor acknowledged.
        """
        ...

    @property
    def syncs(self) -> int:
        """Syncs so far, for metrics."""
        ...

    @property
    def sync_times(self) -> Histogram:
        """How long the syncs of saves took, for metrics."""
        ...

    @property
    def bytes_written(self) -> int:
        """Bytes saved so far, for metrics."""
        ...

    @property
    def segments(self) -> int:
        """Number of the journal's files, for metrics."""
        ...

    @property
    def file_bytes(self) -> int:
        """Bytes that the journal's files take on the disk, for metrics."""
        ...

    def save(self, hard_state: HardState | None, entries: Sequence[Entry]) -> Deferred[None]:
        """Make both durable together; the Deferred fires with None when they are.

        It fails with JournalFailed when the disk refuses, and so does every later save: the node must stop, since it
        can acknowledge nothing any more. It fails with SaveRefused for a save that breaks the rules, which is a bug.
        """
        ...

    def compact(self, index: int, term: int) -> Deferred[None]:
        """Let the log begin after the entry at `index`, which a durable snapshot covers; ordered with the saves.

        It fails with SaveRefused when the log has no such entry, and with JournalFailed as `save` does.
        """
        ...

    def reset_to(self, index: int, term: int, hard_state: HardState | None = None) -> Deferred[None]:
        """Empty the log and let it begin after `index`, where a durable snapshot from the leader ends (§7).

        `hard_state` becomes durable in the same step. It fails with SaveRefused when the log would begin earlier than
        it does, and with JournalFailed as `save` does.
        """
        ...

    def close(self) -> Deferred[None]:
        """Finish all pending calls and release the directory."""
        ...


class SnapshotStorage(Protocol):
    """What a replica needs of its snapshots; `SnapshotJobs` is the real one, `MemorySnapshots` its twin.

    Jobs are done in the order of the calls, and their Deferreds fire in that order, never before the call has returned.
    A caller that writes waits for each Deferred before the next slice, which is the back-pressure.

    Every Deferred fails with SnapshotFailed when the operating system refuses something: the snapshot in progress is
    aborted and removed, everything else is as before, and the caller may try again later. The node goes on. It fails
    with SnapshotRefused for a call out of order.
    """

    @property
    def latest(self) -> Snapshot | None:
        """The newest finished snapshot."""
        ...

    @property
    def pending_since(self) -> float | None:
        """The reactor's time in seconds of the call for the oldest unfinished job; None without one."""
        ...

    @property
    def bytes_written(self) -> int:
        """Bytes of finished snapshots so far, for metrics."""
        ...

    def begin_snapshot(self, header: SnapshotHeader) -> Deferred[None]:
        """Begin a snapshot of the node's own state. One at a time; it must be newer than `latest`."""
        ...

    def write(self, chunks: Sequence[bytes]) -> Deferred[None]:
        """Add chunks, each of at most CHUNK_BYTES_MAX bytes, to the snapshot."""
        ...

    def finish(self) -> Deferred[Snapshot]:
        """Make the snapshot durable, verify it, and make it `latest`. Only then may the log be compacted.

        SnapshotRefused: a snapshot that was received meanwhile is at least as new; this one was removed.
        """
        ...

    def abort(self) -> Deferred[None]:
        """Abort and remove the snapshot in progress; does nothing when there is none."""
        ...

    def begin_incoming(self, identity: SnapshotIdentity) -> Deferred[int]:
        """Begin to receive a snapshot from a leader; the Deferred fires with the offset at which it must continue.

        After a broken connection or a restart, the same identity resumes the transfer. Another identity replaces it.
        """
        ...

    def write_incoming(self, offset: int, data: bytes) -> Deferred[int]:
        """Write the bytes at `offset`, which must be the next; the Deferred fires with the bytes received so far."""
        ...

    def finish_incoming(self) -> Deferred[Snapshot]:
        """Verify the snapshot, make it durable and `latest`. Only then may the log be reset and the store be replaced.

        SnapshotUnsound: it does not verify; it was removed, and everything is as before.
        """
        ...

    def abort_incoming(self) -> Deferred[None]:
        """Abort and remove the incoming snapshot; does nothing when there is none."""
        ...

    def read(self, snapshot_id: str, offset: int, size: int) -> Deferred[bytes]:
        """Read up to `size` (at most READ_BYTES_MAX) bytes of a kept file, to be sent to a follower.

        SnapshotGone: two newer ones were finished meanwhile; begin again with `latest`.
        """
        ...

    def read_chunk(self, snapshot_id: str, offset: int) -> Deferred[SnapshotChunk | None]:
        """Read and verify the chunk at `offset`: 0 for the first, then `next_offset`; None at the end.

        SnapshotDamaged: it has decayed since it was verified.
        """
        ...

    def verify(self, snapshot_id: str) -> Deferred[None]:
        """Read a kept file to its end.

        SnapshotDamaged: it has decayed since it was verified. SnapshotGone: see `read`.
        """
        ...

    def close(self) -> Deferred[None]:
        """Finish all pending calls; a snapshot being written is removed, one being received stays to be resumed."""
        ...
