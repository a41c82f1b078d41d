"""What this node must never forget, on disk: a write-ahead log of hard states and entries, and snapshots of the store.

The tour
========

`Journal` is the log itself, synchronous. `Journal.save` makes a hard state and entries durable together: one buffer,
one write, one fdatasync. `Journal.open` reads everything back, and is where the care is: after a crash the last save
may be there in part, and that must not be confused with a disk that has forgotten what it once confirmed.

A snapshot takes the place of the log up to one entry. `Snapshots` writes it, or receives it from a leader, verifies it
and only then gives it its name; `Journal.compact` lets the log begin after it, `Journal.reset_to` begins the log anew
after one that was received. `open_storage` opens both and brings together what a crash has left apart.

================  ===================================================================================================
layout            the bytes: segments, saves, seals, marks, and what tells the end of a save
segments          the files: names, a creation that is durable before it is used, and which are no longer needed
recovery          reading back: replay, cut off what was interrupted, refuse what is damaged; the rule, where it errs
extent            how far the log reaches, and what may therefore be done with it
journal           `Journal`: saving, rotation, compaction, death at the first refusal of the operating system
snapshot_layout   the bytes of a snapshot, and how they are verified
snapshot_files    its file: names, and one that grows and is named when it is whole
snapshots         `Snapshots`: taking, receiving, reading, and which are kept
opening           `open_storage`: journal and snapshots after a crash between the two
files             the seam to the disk, so that a simulation can be the disk
worker            a thread that does jobs in order, behind Deferreds
journal_jobs      `JournalJobs`: the journal, its methods as a worker's jobs
snapshot_jobs     `SnapshotJobs`: the snapshots, with another worker, so that they delay no save
memory            `MemoryJournal`: the twin of the one without a disk
memory_snapshots  `MemorySnapshots`: the twin of the other
errors            what can be refused and what can fail, for a person at three in the morning
================  ===================================================================================================

The rules that everything here serves:

* Term, vote and entries of one save become durable together or not at all: the hard state stands in the seal that ends
  the save. A term never goes back, a vote is never changed.
* A save that has returned survives a power failure at any later moment, even between any two operations on files. A
  file is used only when its bytes, its length and its name are durable.
* After a write or sync that failed nothing is tried again: the kernel may have dropped the bytes and say "done" to the
  next sync. The journal is dead, and what was read at the next opening is written anew before anybody relies on it.
* A write that finds no room has promised nothing: the journal waits, cuts off what was written in part, and goes on
  when there is room. A sync that finds none is a sync that failed.
* Nothing is repaired in silence. What is cut off, an interrupted last save, and what is removed, a snapshot that has
  decayed while the log reaches back to the one before it, is noted for the log.
* A snapshot is durable before the log is shortened, and the mark that says so before a segment is deleted.
* A snapshot that fails harms nothing. Only the journal's failures stop the node.

What is not done: compaction deletes whole segments and rewrites none, so up to one segment more than needed stays.
To take the snapshot before the newest again, the log must reach back to it: how far it is compacted is the caller's
choice. Nothing is encrypted. There is no second copy on this node: the other members are the copies.
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
from kvraft.storage.memory_snapshots import MemorySnapshots
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
    "mark_outdated",
    "open_storage",
]


class Storage(Protocol):
    """What a replica needs of its journal; `JournalJobs` is the real one, `MemoryJournal` its twin.

    Saves finish in the order in which they were asked for, and never before `save` has returned.
    """

    @property
    def pending_since(self) -> float | None:
        """The reactor's time in seconds when the oldest unfinished save was asked for, None when all are finished.

        A watchdog compares it with now: a disk that hangs reports nothing by itself.
        """
        ...

    @property
    def full(self) -> JournalFull | None:
        """Why nothing is saved at the moment, None while there is room.

        What was asked for waits and is tried again now and then; so nothing is lost, and nothing is promised.
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
        """Files that the journal consists of now, for metrics."""
        ...

    def save(self, hard_state: HardState | None, entries: Sequence[Entry]) -> Deferred[None]:
        """Make both durable together; the Deferred fires with None when they are.

        It fails with JournalFailed when the disk refuses, and so does every later save: the node must stop, for nobody
        may promise what cannot be kept. It fails with SaveRefused for a save that breaks the rules, a bug.
        """
        ...

    def compact(self, index: int, term: int) -> Deferred[None]:
        """Let the log begin after the entry at `index`, which a durable snapshot covers; takes its turn among saves.

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
        """Finish what was asked for and give the directory back."""
        ...


class SnapshotStorage(Protocol):
    """What a replica needs of its snapshots; `SnapshotJobs` is the real one, `MemorySnapshots` its twin.

    Jobs are done in the order in which they were asked for, and their Deferreds fire in that order, never before the
    call has returned. Whoever writes waits for each Deferred before the next slice: that is the back-pressure.

    Every Deferred fails with SnapshotFailed when the operating system refuses something: what was in progress is given
    up and removed, everything else is as before, and another try may be made later. The node goes on. It fails with
    SnapshotRefused for a call out of turn.
    """

    @property
    def latest(self) -> Snapshot | None:
        """The newest finished snapshot."""
        ...

    @property
    def pending_since(self) -> float | None:
        """The reactor's time in seconds when the oldest unfinished job was asked for, None without one."""
        ...

    @property
    def bytes_written(self) -> int:
        """Bytes of finished snapshots so far, for metrics."""
        ...

    def begin_snapshot(self, header: SnapshotHeader) -> Deferred[None]:
        """Begin a snapshot of the node's own state. One at a time; it must be newer than `latest`."""
        ...

    def write(self, chunk: bytes) -> Deferred[None]:
        """Add a chunk of at most CHUNK_BYTES_MAX bytes to it."""
        ...

    def finish(self) -> Deferred[Snapshot]:
        """Make it durable, verify it, and make it `latest`. Only then may the log be compacted.

        SnapshotRefused: a snapshot that was received meanwhile is not older; this one was removed.
        """
        ...

    def abort(self) -> Deferred[None]:
        """Give it up; does nothing when there is none."""
        ...

    def begin_incoming(self, identity: SnapshotIdentity) -> Deferred[int]:
        """Begin to receive a snapshot from a leader, and tell at which offset it has to go on.

        After a broken connection or a restart, the same identity goes on where it was. Another identity replaces it.
        """
        ...

    def write_incoming(self, offset: int, data: bytes) -> Deferred[int]:
        """Take the bytes at `offset`, which must be the next ones, and tell how many are there."""
        ...

    def finish_incoming(self) -> Deferred[Snapshot]:
        """Verify all of it, make it durable and `latest`. Only then may the log be reset and the store be replaced.

        SnapshotUnsound: it is not sound; it was removed, and everything is as before.
        """
        ...

    def abort_incoming(self) -> Deferred[None]:
        """Give it up; does nothing when there is none."""
        ...

    def read(self, snapshot_id: str, offset: int, size: int) -> Deferred[bytes]:
        """Read up to `size` (at most READ_BYTES_MAX) bytes of a kept file, to be sent to a follower.

        SnapshotGone: two newer ones were finished meanwhile; begin again with `latest`.
        """
        ...

    def read_chunk(self, snapshot_id: str, offset: int) -> Deferred[SnapshotChunk | None]:
        """Read the chunk at `offset`, verified, to be loaded: 0 for the first, then `next_offset`; None at the end.

        SnapshotDamaged: it has decayed since it was verified.
        """
        ...

    def close(self) -> Deferred[None]:
        """Finish what was asked for; what is being written is removed, what is being received stays to be resumed."""
        ...
