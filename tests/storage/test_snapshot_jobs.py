"""Snapshots in their thread, and their twin in memory: order, back-pressure, failures, and saves that do not wait."""

import errno
from collections.abc import Callable
from pathlib import Path
from threading import Event, current_thread, main_thread
from typing import Final, TypeVar, cast

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from kvraft.raft.types import HardState
from kvraft.simulation.disk import Disk, proceed
from kvraft.storage import (
    MemorySnapshots,
    SnapshotFailed,
    SnapshotGone,
    SnapshotIdentity,
    SnapshotJobs,
    SnapshotRefused,
    Snapshots,
    SnapshotStorage,
    SnapshotUnsound,
    ThreadReactor,
    Worker,
    open_storage,
)
from tests.conftest import deadline
from tests.storage.snapshotting import chunks_of, loaded, make_header, make_id, open_all, sent
from tests.storage.test_journal_jobs import WAIT_S, TurnByTurn, journal_in_a_thread

_T = TypeVar("_T")

Turn = Callable[[], object]
DATA_BYTES: Final = 100


def outcome(deferred: Deferred[_T], turn: Turn) -> _T:
    """Let one job be done and return its result, or raise its error."""
    assert not deferred.called, "nothing fires before the call has returned"
    turn()
    results: list[_T | Failure] = []
    deferred.addBoth(results.append)
    result = results[0]
    if isinstance(result, Failure):
        result.raiseException()
    return result


def snapshots_in_a_thread(snapshots: Snapshots, reactor: ThreadReactor) -> SnapshotJobs:
    """Return snapshots whose jobs are done in a thread of their own."""
    return SnapshotJobs(snapshots, Worker("snapshots", reactor, snapshots.close))


def make_thread() -> tuple[SnapshotStorage, Turn]:
    """Return the real one on a disk model."""
    reactor = TurnByTurn()
    return snapshots_in_a_thread(open_all(Disk()).snapshots, reactor), reactor.turn


def make_memory() -> tuple[SnapshotStorage, Turn]:
    """Return the twin."""
    clock = Clock()
    return MemorySnapshots(clock), lambda: clock.advance(0)


both = pytest.mark.parametrize("make", [make_thread, make_memory])


@both
def test_a_snapshot_is_taken_read_and_loaded(make: Callable[[], tuple[SnapshotStorage, Turn]]) -> None:
    """Thread and twin: begin, write, finish; then the file in pieces for a follower, and its chunks for the store."""
    storage, turn = make()
    assert storage.latest is None
    outcome(storage.begin_snapshot(make_header(2, 10)), turn)
    for chunk in chunks_of(make_id(2)):
        outcome(storage.write([chunk]), turn)
    assert storage.latest is None

    snapshot = outcome(storage.finish(), turn)

    assert storage.latest == snapshot
    assert storage.bytes_written == snapshot.size
    data = b"".join(
        outcome(storage.read(make_id(2), at, DATA_BYTES), turn) for at in range(0, snapshot.size, DATA_BYTES)
    )
    assert data == sent(2, 10)[1]
    loaded_chunks, offset = [], 0
    while (chunk_read := outcome(storage.read_chunk(make_id(2), offset), turn)) is not None:
        loaded_chunks.append(chunk_read.payload)
        offset = chunk_read.next_offset
    assert loaded_chunks == chunks_of(make_id(2))
    with pytest.raises(SnapshotGone):
        outcome(storage.read(make_id(1), 0, 1), turn)
    outcome(storage.close(), turn)


@both
def test_a_snapshot_is_received_and_resumed(make: Callable[[], tuple[SnapshotStorage, Turn]]) -> None:
    """Thread and twin: a second begin returns where to go on; a finish that does not verify changes nothing."""
    storage, turn = make()
    identity, data = sent(2, 10)
    assert outcome(storage.begin_incoming(identity), turn) == 0
    assert outcome(storage.write_incoming(0, data[:DATA_BYTES]), turn) == DATA_BYTES
    assert outcome(storage.begin_incoming(identity), turn) == DATA_BYTES
    with pytest.raises(SnapshotRefused):
        outcome(storage.write_incoming(7, b"x"), turn)
    outcome(storage.write_incoming(DATA_BYTES, bytes(len(data) - DATA_BYTES)), turn)
    with pytest.raises(SnapshotUnsound):
        outcome(storage.finish_incoming(), turn)
    assert storage.latest is None

    outcome(storage.begin_incoming(identity), turn)
    outcome(storage.write_incoming(0, data), turn)
    snapshot = outcome(storage.finish_incoming(), turn)

    assert storage.latest == snapshot
    assert SnapshotIdentity.of(snapshot) == identity
    outcome(storage.close(), turn)


@both
def test_calls_out_of_turn_are_refused(make: Callable[[], tuple[SnapshotStorage, Turn]]) -> None:
    """Thread and twin: nothing is written or finished that was not begun, nor after an abort or a close."""
    storage, turn = make()
    calls: tuple[Callable[[], Deferred[object]], ...] = (
        lambda: cast(Deferred[object], storage.write([b"x"])),
        lambda: cast(Deferred[object], storage.finish()),
        lambda: cast(Deferred[object], storage.write_incoming(0, b"x")),
        lambda: cast(Deferred[object], storage.finish_incoming()),
    )
    for call in calls:
        with pytest.raises(SnapshotRefused):
            outcome(call(), turn)
    outcome(storage.abort(), turn)
    outcome(storage.abort_incoming(), turn)
    outcome(storage.begin_snapshot(make_header(1, 1)), turn)
    outcome(storage.begin_incoming(sent(2, 10)[0]), turn)
    outcome(storage.abort(), turn)
    outcome(storage.abort_incoming(), turn)
    for call in calls:
        with pytest.raises(SnapshotRefused):
            outcome(call(), turn)
    outcome(storage.close(), turn)
    refusals: list[object] = []
    for call in calls:
        call().addErrback(lambda failure: refusals.append(failure.type))
    assert refusals == [SnapshotRefused] * 4


def test_the_twin_is_as_slow_as_it_is_told() -> None:
    """`delay` passes before a job is said to be done, and the oldest unfinished one is dated."""
    clock = Clock()
    storage = MemorySnapshots(clock, delay=2.0)
    clock.advance(5)
    begun = storage.begin_snapshot(make_header(1, 1))
    assert storage.pending_since == 5.0
    clock.advance(1.9)
    assert not begun.called
    clock.advance(0.2)
    assert begun.called
    assert storage.pending_since is None


def test_a_failure_is_told_and_the_next_snapshot_is_taken() -> None:
    """A full disk ends the snapshot in progress; the thread, the journal and the next snapshot go on."""
    disk, reactor = Disk(), TurnByTurn()
    opened = open_all(disk)
    storage = snapshots_in_a_thread(opened.snapshots, reactor)
    outcome(storage.begin_snapshot(make_header(1, 1)), reactor.turn)

    def refuse(operation: str, path: Path) -> None:
        if operation == "pwrite":
            raise OSError(errno.ENOSPC, "refused")

    disk.before = refuse
    for _ in range(2):
        with pytest.raises(SnapshotFailed, match="make room"):
            outcome(storage.write([b"chunk"]), reactor.turn)
    disk.before = proceed
    opened.journal.save(HardState(1), ())
    outcome(storage.begin_snapshot(make_header(2, 2)), reactor.turn)
    for chunk in chunks_of(make_id(2)):
        outcome(storage.write([chunk]), reactor.turn)
    outcome(storage.finish(), reactor.turn)
    assert loaded(opened.snapshots) == make_id(2)
    outcome(storage.close(), reactor.turn)


@attrs.define
class SlowSnapshots:
    """Holds every sync of a snapshot until the test lets it go."""

    entered: Event = attrs.field(factory=Event)
    go: Event = attrs.field(factory=Event)

    def __call__(self, operation: str, path: Path) -> None:
        """Wait in a sync of a snapshot's file."""
        assert current_thread() is not main_thread()
        if operation == "fdatasync" and path.name.startswith("snapshot-"):
            self.entered.set()
            assert self.go.wait(WAIT_S)


def test_a_slow_snapshot_delays_no_save() -> None:
    """While the sync of a snapshot hangs, saves are made and reported; the watchdog of the journal sees none of it."""
    disk = Disk()
    opened = open_all(disk)
    of_snapshots, of_journal = TurnByTurn(), TurnByTurn()
    snapshots = snapshots_in_a_thread(opened.snapshots, of_snapshots)
    journal = journal_in_a_thread(opened.journal, of_journal)
    outcome(snapshots.begin_snapshot(make_header(1, 1)), of_snapshots.turn)
    slow = SlowSnapshots()
    disk.before = slow
    finished = snapshots.finish()
    assert slow.entered.wait(WAIT_S)

    outcome(journal.save(HardState(1), ()), of_journal.turn)

    assert journal.pending_since is None
    assert (finished.called, snapshots.pending_since) == (False, 100.0)
    slow.go.set()
    of_snapshots.turn()
    assert finished.called
    disk.before = proceed
    outcome(snapshots.close(), of_snapshots.turn)
    outcome(journal.close(), of_journal.turn)


@deadline(WAIT_S)
async def test_it_works_with_the_real_reactor_and_a_real_disk(tmp_path: Path) -> None:
    """On the real thing a snapshot is taken, the log compacted after it, and both are there at the next opening."""
    from twisted.internet import reactor

    opened = open_storage(tmp_path, 0)
    snapshots: SnapshotStorage = snapshots_in_a_thread(opened.snapshots, cast(ThreadReactor, reactor))
    await snapshots.begin_snapshot(make_header(1, 1))
    first, *others = chunks_of(make_id(1))
    await snapshots.write([first])
    await snapshots.write(others)
    snapshot = await snapshots.finish()
    assert current_thread() is main_thread()
    await snapshots.close()
    opened.journal.close()
    again = open_storage(tmp_path, 0)
    assert again.snapshots.latest == snapshot
    assert loaded(again.snapshots) == make_id(1)
    again.snapshots.close()
    again.journal.close()
