"""What this node must never forget: a write-ahead log of hard states and entries, on disk.

The tour
========

`Journal` is the log itself, synchronous. `Journal.save` makes a hard state and entries durable together: one buffer,
one write, one fdatasync. `Journal.open` reads everything back, and is where the care is: after a crash the last save
may be there in part, and that must not be confused with a disk that has forgotten what it once confirmed.

=========  ==========================================================================================================
layout     the bytes: segments, saves, seals, and what marks the end of a save
segments   the files: names, and a creation that is durable before it is used
recovery   reading back: replay, cut off what was interrupted, refuse what is damaged; the rule, and where it errs
journal    `Journal`: saving, rotation, death at the first refusal of the operating system
files      the seam to the disk, so that a simulation can be the disk
thread     `JournalThread`: the journal in a thread of its own, behind Deferreds
memory     `MemoryJournal`: its twin without a disk
errors     what can be refused and what can fail, for a person at three in the morning
=========  ==========================================================================================================

The rules that everything here serves:

* Term, vote and entries of one save become durable together or not at all: the hard state stands in the seal that ends
  the save. A term never goes back, a vote is never changed.
* A save that has returned survives a power failure at any later moment, even between any two operations on files. A
  file is used only when its bytes, its length and its name are durable.
* After a write or sync that failed nothing is tried again: the kernel may have dropped the bytes and say "done" to the
  next sync. The journal is dead, and what was read at the next opening is written anew before anybody relies on it.
* Nothing is repaired in silence. The one thing that is cut off, an interrupted last save, is noted for the log.

What is not done: the log is never compacted yet, so the files grow and opening reads them all. `Segment` knows which
indexes are in it, and its header what came before it, so that whole segments below a snapshot can be removed.
Nothing is encrypted. There is no second copy on this node: the other members are the copies.
"""

from collections.abc import Sequence
from typing import Protocol

from twisted.internet.defer import Deferred

from kvraft.raft.types import Entry, HardState
from kvraft.storage.errors import (
    JournalDamaged,
    JournalFailed,
    JournalLocked,
    JournalMismatch,
    SaveRefused,
    StorageError,
)
from kvraft.storage.files import File, Files, Lock, OsFiles
from kvraft.storage.journal import SEGMENT_BYTES, Journal
from kvraft.storage.memory import MemoryJournal
from kvraft.storage.recovery import Recovered
from kvraft.storage.thread import JournalThread, ThreadReactor

__all__ = [
    "SEGMENT_BYTES",
    "File",
    "Files",
    "Journal",
    "JournalDamaged",
    "JournalFailed",
    "JournalLocked",
    "JournalMismatch",
    "JournalThread",
    "Lock",
    "MemoryJournal",
    "OsFiles",
    "Recovered",
    "SaveRefused",
    "Storage",
    "StorageError",
    "ThreadReactor",
]


class Storage(Protocol):
    """What a replica needs of its journal; `JournalThread` is the real one, `MemoryJournal` its twin.

    Saves finish in the order in which they were asked for, and never before `save` has returned.
    """

    @property
    def pending_since(self) -> float | None:
        """The reactor's time in seconds when the oldest unfinished save was asked for, None when all are finished.

        A watchdog compares it with now: a disk that hangs reports nothing by itself.
        """
        ...

    @property
    def syncs(self) -> int:
        """Syncs so far, for metrics."""
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

    def close(self) -> Deferred[None]:
        """Finish what was asked for and give the directory back."""
        ...
