"""The journal in its thread: order, failures, the watchdog's clock, and closing (row 26)."""

import errno
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, current_thread, main_thread
from typing import Any, Final, cast

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from kvraft.raft.types import HardState
from kvraft.simulation.disk import Disk, proceed
from kvraft.storage import (
    Journal,
    JournalFailed,
    JournalJobs,
    JournalLocked,
    SaveRefused,
    Storage,
    ThreadReactor,
    Worker,
)
from kvraft.storage.journal_jobs import FULL_RETRY_S
from kvraft.storage.layout import join_save
from tests.conftest import deadline
from tests.storage.story import State, make_entries, open_journal, states_of, write_story

WAIT_S: Final = 10.0
"""Longest that a thread may take before its test fails, in seconds."""


@attrs.define
class TurnByTurn:
    """A reactor that does what threads ask of it when the test says so."""

    now: float = 100.0
    calls: SimpleQueue[Callable[[], object]] = attrs.field(factory=SimpleQueue)

    def seconds(self) -> float:
        """Return the test's time."""
        return self.now

    def callFromThread(self, callable: Callable[..., object], *args: object) -> None:  # noqa: A002
        """Keep the call for `turn`."""
        self.calls.put(lambda: callable(*args))

    def turn(self) -> None:
        """Do the next thing that a thread asks for, waiting for it."""
        self.calls.get(timeout=WAIT_S)()


@attrs.define
class SlowSync:
    """Holds every sync until the test lets it go."""

    entered: Event = attrs.field(factory=Event)
    go: Event = attrs.field(factory=Event)

    def __call__(self, operation: str, path: Path) -> None:
        """Wait in a sync."""
        assert current_thread() is not main_thread()
        if operation == "fdatasync":
            self.entered.set()
            assert self.go.wait(WAIT_S)


def journal_in_a_thread(journal: Journal, reactor: ThreadReactor) -> JournalJobs:
    """Return a journal whose jobs are done in a thread of its own."""
    return JournalJobs(journal, Worker("journal", reactor, journal.close), Clock())


def open_thread(disk: Disk) -> tuple[JournalJobs, TurnByTurn]:
    """Return a journal on a disk in a thread of its own, and its reactor."""
    reactor = TurnByTurn()
    return journal_in_a_thread(open_journal(disk)[0], reactor), reactor


def close(storage: JournalJobs, reactor: TurnByTurn) -> None:
    """Close a journal that has nothing left to do."""
    closed = storage.close()
    reactor.turn()
    assert closed.called
    closed.addErrback(lambda failure: failure.trap(JournalFailed))


def test_saves_are_made_and_reported_in_order() -> None:
    """Deferreds fire one after the other on the reactor's side, and what they promised is on the disk."""
    disk = Disk()
    storage, reactor = open_thread(disk)
    saves = write_story(4, 12)
    fired: list[int] = []

    def note(number: int, _none: None) -> None:
        fired.append(number)

    for number, save in enumerate(saves):
        storage.save(save.hard_state, save.entries).addCallback(partial(note, number))
    assert fired == [], "nothing fires before the reactor's turn"

    for _save in saves:
        reactor.turn()

    assert fired == list(range(12))
    assert storage.syncs >= 12
    assert storage.bytes_written > 0
    assert storage.segments > 1
    close(storage, reactor)
    disk.crash(0.0)
    assert State.of(open_journal(disk)[1]) == states_of(saves)[-1]


def test_saves_that_waited_for_room_are_reported_in_order_though_the_disk_is_quick() -> None:
    """The oldest comes first: those after it are tried again before it is reported, and must not overtake it."""
    disk, reactor, clock = Disk(), TurnByTurn(), Clock()
    journal = open_journal(disk)[0]
    storage = JournalJobs(journal, Worker("journal", reactor, journal.close, patience=WAIT_S), clock)
    fired: list[int] = []

    def refuse(operation: str, path: Path) -> None:
        raise OSError(errno.ENOSPC, "no space left", str(path))

    def note(_none: None, number: int) -> None:
        fired.append(number)

    storage.save(HardState(1), ()).addCallback(note, 1)
    assert fired == [1], "the disk is quick"
    disk.before = refuse
    for term in (2, 3, 4):
        storage.save(HardState(term), ()).addCallback(note, term)
    assert storage.full is not None

    disk.before = proceed
    clock.advance(FULL_RETRY_S)
    for _ in range(3):
        reactor.turn()

    assert fired == [1, 2, 3, 4]
    assert storage.full is None
    close(storage, reactor)
    assert open_journal(disk)[1].hard_state == HardState(4)


def test_a_save_is_laid_out_on_the_reactors_side_when_nothing_else_is_under_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The thread has the disk alone to wait for then; with something before it, the save is the thread's as a whole."""
    disk = Disk()
    storage, reactor = open_thread(disk)
    sides: list[bool] = []

    def note(*arguments: Any) -> bytes:
        sides.append(current_thread() is main_thread())
        return join_save(*arguments)

    monkeypatch.setattr("kvraft.storage.journal.join_save", note)
    saves = write_story(5, 12)
    for save in saves[:10]:
        storage.save(save.hard_state, save.entries)
        reactor.turn()
    assert any(sides)
    sides.clear()
    storage.compact(0, 0)  # changes nothing, and is a job
    storage.save(saves[10].hard_state, saves[10].entries)
    storage.save(saves[11].hard_state, saves[11].entries)
    for _ in range(3):
        reactor.turn()

    assert not any(sides)
    close(storage, reactor)
    disk.crash(0.0)
    assert State.of(open_journal(disk)[1]) == states_of(saves)[-1]


def test_the_oldest_unfinished_save_is_dated() -> None:
    """`pending_since` is the reactor's time at which the oldest unfinished save was asked for: a hung disk shows."""
    disk = Disk()
    storage, reactor = open_thread(disk)
    slow = SlowSync()
    disk.before = slow
    assert storage.pending_since is None

    first = storage.save(HardState(1), ())
    assert slow.entered.wait(WAIT_S)
    reactor.now = 103.5
    second = storage.save(HardState(2), ())

    assert [first.called, second.called, storage.pending_since] == [False, False, 100.0]
    slow.go.set()
    reactor.turn()
    assert [first.called, second.called, storage.pending_since] == [True, False, 103.5]
    reactor.turn()
    assert [second.called, storage.pending_since] == [True, None]
    close(storage, reactor)


def test_after_a_failure_every_save_fails_alike_and_the_disk_is_left_alone() -> None:
    """The save that failed and those after it end with the same JournalFailed (row 41)."""
    disk = Disk()
    storage, reactor = open_thread(disk)
    operations: list[str] = []

    def refuse(operation: str, path: Path) -> None:
        operations.append(operation)
        raise OSError(errno.EIO, "refused")

    disk.before = refuse
    failures: list[BaseException | None] = []

    def note(failure: Failure) -> None:
        failures.append(failure.value)

    for term in (1, 2, 3):
        storage.save(HardState(term), ()).addErrback(note)
    for _ in range(3):
        reactor.turn()

    assert isinstance(failures[0], JournalFailed)
    assert failures[0] is failures[1]
    assert failures[0] is failures[2]
    assert operations == ["pwrite"]
    assert storage.pending_since is None
    disk.before = proceed
    close(storage, reactor)


def test_a_refused_save_fails_alone() -> None:
    """A save that breaks a rule fails with SaveRefused; the next one is made."""
    storage, reactor = open_thread(Disk())
    refused = storage.save(None, make_entries(9, 1, b"gap"))
    made = storage.save(None, make_entries(1, 1, b"first"))
    reactor.turn()
    reactor.turn()
    assert made.called
    refusals: list[object] = []
    refused.addErrback(lambda failure: refusals.append(failure.type))
    assert refusals == [SaveRefused]
    close(storage, reactor)


def test_compactions_and_resets_take_their_turn_among_the_saves() -> None:
    """Each is made after the saves that were asked for before it, and fails alone when it breaks a rule."""
    disk = Disk()
    storage, reactor = open_thread(disk)
    refusals: list[object] = []
    storage.save(HardState(1), make_entries(1, 1, b"one", b"two", b"three"))
    storage.compact(2, 1)
    storage.compact(9, 1).addErrback(lambda failure: refusals.append(failure.type))
    storage.reset_to(8, 1, HardState(2, 0, 8))
    last = storage.save(None, make_entries(9, 2, b"nine"))

    for _ in range(5):
        reactor.turn()

    assert refusals == [SaveRefused]
    assert last.called
    close(storage, reactor)
    disk.crash(0.0)
    assert State.of(open_journal(disk)[1]) == State(HardState(2, 0, 8), make_entries(9, 2, b"nine"), (8, 1))


def test_closing_finishes_what_was_asked_for_and_releases_the_directory() -> None:
    """Saves before the close are made, saves after it refused, and each close is answered when all is done."""
    disk, reactor = Disk(), TurnByTurn()
    journal = open_journal(disk)[0]
    worker = Worker("journal", reactor, journal.close)
    storage = JournalJobs(journal, worker, Clock())
    slow = SlowSync()
    disk.before = slow
    saved = storage.save(HardState(5), ())
    assert slow.entered.wait(WAIT_S)
    closed, closed_again = storage.close(), storage.close()
    refusals: list[object] = []
    storage.save(HardState(6), ()).addErrback(lambda failure: refusals.append(failure.type))
    assert refusals == [SaveRefused]
    assert not closed.called
    disk.before, waiting = proceed, disk.before
    with pytest.raises(JournalLocked):
        open_journal(disk)
    disk.before = waiting

    slow.go.set()
    reactor.turn()
    assert (saved.called, closed.called) == (True, False)
    reactor.turn()

    assert (closed.called, closed_again.called, storage.close().called) == (True, True, True)
    worker.thread.join(WAIT_S)
    assert not worker.thread.is_alive()
    disk.before = proceed
    assert open_journal(disk)[1].hard_state == HardState(5)
    with pytest.raises(Empty):
        reactor.calls.get_nowait()


def test_a_hung_sync_does_not_keep_the_process_from_ending(tmp_path: Path) -> None:
    """A program whose journal hangs in a sync ends by itself when its main thread does."""
    program = """
import os, pathlib, sys, threading

entered, hangs, sync = threading.Event(), threading.Event(), os.fdatasync

def sync_or_hang(file):
    if hangs.is_set():
        entered.set()
        threading.Event().wait()
    sync(file)

os.fdatasync = sync_or_hang
from kvraft.raft.types import HardState
from kvraft.storage import Journal, JournalJobs, Worker
from twisted.internet import reactor

journal, _ = Journal.open(pathlib.Path(sys.argv[1]), 0, segment_bytes=4096)
hangs.set()
JournalJobs(journal, Worker("journal", reactor, journal.close), reactor).save(HardState(1), ())
print(entered.wait(10))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True, timeout=WAIT_S * 2
    )
    assert done.stdout == "True\n"


@deadline(WAIT_S)
async def test_it_works_with_the_real_reactor_and_a_real_disk(tmp_path: Path) -> None:
    """On the real thing a save fires on the reactor's thread, and is there at the next opening."""
    from twisted.internet import reactor

    opened, _recovered = Journal.open(tmp_path, 0, segment_bytes=4096)
    storage: Storage = journal_in_a_thread(opened, cast(ThreadReactor, reactor))
    threads: list[object] = []

    def note(_none: None) -> None:
        threads.append(current_thread())

    saved: Deferred[None] = storage.save(HardState(1, 0, 0), make_entries(1, 1, b"entry"))
    await saved.addCallback(note)
    await storage.close()

    assert threads == [main_thread()]
    journal, recovered = Journal.open(tmp_path, 0)
    assert State.of(recovered) == State(HardState(1, 0, 0), make_entries(1, 1, b"entry"))
    journal.close()
