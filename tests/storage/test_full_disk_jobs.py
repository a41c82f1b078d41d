"""Jobs of a journal whose disk is full: what makes room is done first."""

import errno
from pathlib import Path
from typing import Final

from twisted.internet.task import Clock

from kvraft.raft.types import HardState
from kvraft.simulation.disk import Disk, proceed
from kvraft.storage import JournalJobs
from kvraft.storage.journal_jobs import FULL_RETRY_S
from kvraft.storage.memory_snapshots import LaterJobs
from tests.storage.story import SEGMENT_BYTES, make_entries, open_journal

SIZE: Final = SEGMENT_BYTES // 3
"""Of an entry: two of them fill a segment but for a little."""


def begin(disk: Disk) -> tuple[JournalJobs, Clock]:
    """Return a journal on a disk, which does its jobs at once and reports them with the clock's next step."""
    clock = Clock()
    journal = open_journal(disk)[0]
    return JournalJobs(journal, LaterJobs(clock, journal.close), clock), clock


def test_a_log_that_may_be_shortened_makes_room_for_what_waits() -> None:
    """The log itself has filled the disk, for a member that was late: the node needs nobody to make room for it."""
    disk = Disk()
    storage, clock = begin(disk)
    for index in range(1, 9):
        storage.save(HardState(1, 0, index), make_entries(index, 1, bytes(SIZE)))
    clock.advance(0)
    before = storage.segments
    assert before > 2

    def refuse(done: str, path: Path) -> None:
        if done == "create" and storage.segments >= before:
            raise OSError(errno.ENOSPC, "no space left", str(path))

    disk.before = refuse
    saved = [storage.save(HardState(1, 0, index), make_entries(index, 1, bytes(SIZE))) for index in range(9, 13)]
    clock.pump([0.0] * 5)
    assert storage.full is not None
    compacted = storage.compact(7, 1)
    clock.pump([FULL_RETRY_S / 2] * 20)

    assert storage.full is None
    assert all(each.called for each in (*saved, compacted))
    storage.close()
    clock.pump([0.0] * 3)
    disk.before = proceed
    disk.crash(0.0)
    recovered = open_journal(disk)[1]
    assert recovered.snapshot_index == 7
    assert [entry.index for entry in recovered.entries] == [8, 9, 10, 11, 12]


def test_a_save_that_was_laid_out_finds_its_place_after_a_compaction() -> None:
    """The compaction is noted where the save was to be written."""
    disk = Disk()
    storage, clock = begin(disk)
    storage.save(HardState(1), make_entries(1, 1, b"one", b"two"))
    clock.advance(0)
    refused: list[str] = []

    def refuse(operation: str, path: Path) -> None:
        if operation == "pwrite" and not refused:
            refused.append(operation)
            raise OSError(errno.ENOSPC, "no space left", str(path))

    disk.before = refuse
    saved = storage.save(None, make_entries(3, 1, b"three"))
    clock.advance(0)
    assert storage.full is not None
    first, second = storage.compact(1, 1), storage.compact(2, 1)
    clock.pump([FULL_RETRY_S] * 3)

    assert all(job.called for job in (saved, first, second))
    assert storage.full is None
    disk.crash(0.0)
    recovered = open_journal(disk)[1]
    assert (recovered.snapshot_index, [entry.payload for entry in recovered.entries]) == (2, [b"three"])


def refuse_writes(operation: str, path: Path) -> None:
    """Refuse what needs room."""
    if operation == "pwrite":
        raise OSError(errno.ENOSPC, "no space left", str(path))


def test_a_compaction_comes_after_the_save_that_it_needs() -> None:
    """It is done in its turn where the log does not hold its entry before."""
    disk = Disk()
    storage, clock = begin(disk)
    storage.save(HardState(1), make_entries(1, 1, b"one"))
    clock.advance(0)
    disk.before = refuse_writes

    jobs = [storage.save(None, make_entries(2, 1, b"two")), storage.compact(2, 1)]
    clock.pump([FULL_RETRY_S] * 3)
    assert storage.full is not None
    disk.before = proceed
    clock.pump([FULL_RETRY_S] * 3)

    assert all(job.called for job in jobs)
    disk.crash(0.0)
    recovered = open_journal(disk)[1]
    assert (recovered.snapshot_index, list(recovered.entries)) == (2, [])


def test_a_compaction_does_not_overtake_a_reset() -> None:
    """After it the log would begin later than the reset lets it begin."""
    disk = Disk()
    storage, clock = begin(disk)
    storage.save(HardState(1), make_entries(1, 1, *[b"old"] * 9))
    clock.advance(0)
    disk.before = refuse_writes

    jobs = [
        storage.save(HardState(2), ()),
        storage.reset_to(5, 1),
        storage.save(None, make_entries(6, 1, *[b"new"] * 4)),
        storage.compact(8, 1),
    ]
    clock.pump([FULL_RETRY_S] * 3)
    disk.before = proceed
    clock.pump([FULL_RETRY_S] * 5)

    assert all(job.called for job in jobs)
    disk.crash(0.0)
    recovered = open_journal(disk)[1]
    assert (recovered.snapshot_index, [entry.payload for entry in recovered.entries]) == (8, [b"new"])
