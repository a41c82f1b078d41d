"""What a node begins with: its latest snapshot and the entries after it, or nothing."""

import gc
import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from kvraft.commands import encode_batch, set_key
from kvraft.raft import Entry, EntryKind, HardState, Membership
from kvraft.replica import InitialState, from_disk, from_nothing, in_a_thread
from kvraft.storage import SnapshotChunk, SnapshotHeader, open_storage
from kvraft.store import SnapshotInvalid, Store, take
from tests.storage.test_journal_jobs import TurnByTurn

SEGMENT_BYTES: Final = 65_536
ENTRIES: Final = 20
COVERED: Final = 12
"""Up to here the snapshot reaches."""
KEPT_FROM: Final = 8
"""After this entry the log begins."""
MEMBERSHIP: Final = Membership(range(3), addresses={member: f"127.0.0.1:{8080 + member}" for member in range(3)})


class Reactor:
    """What the threads of a storage need, with a clock that goes one second further at each look."""

    def __init__(self) -> None:
        self._ticks = itertools.count()

    def seconds(self) -> float:
        """Return the time."""
        return float(next(self._ticks))

    def callFromThread(self, function: Callable[..., object], *arguments: object) -> object:
        """Call it at once: there is no other thread."""
        return function(*arguments)


def entry(index: int) -> Entry:
    """Return an entry that writes one key."""
    payload = encode_batch(index, [set_key(b"key%d" % index, b"value")])
    return Entry.create(1, index, EntryKind.COMMANDS, payload)


def prepare(folder: Path, *, state: dict[str, object] | None = None) -> Store:
    """Leave a folder with a snapshot up to COVERED and the log after KEPT_FROM; return the store at COVERED."""
    opened = open_storage(folder, 0, segment_bytes=SEGMENT_BYTES)
    entries = [entry(index) for index in range(1, ENTRIES + 1)]
    opened.journal.save(HardState(1, 0, COVERED), entries)
    store = Store()
    for each in entries[:COVERED]:
        store.apply(each)
    taken = take(store)
    whole: dict[str, object] = {"store": taken.state, "membership": MEMBERSHIP.encode().decode()}
    writer = opened.snapshots.begin(SnapshotHeader("5" * 32, COVERED, 1, whole if state is None else state))
    for chunk in taken:
        writer.write(chunk)
    writer.finish()
    opened.journal.compact(KEPT_FROM, 1)
    opened.snapshots.close()
    opened.journal.close()
    return store


def close(initial: InitialState) -> None:
    """Give the folder back."""
    for storage in (initial.storage, initial.snapshots):
        storage.close()
    for thread in threading.enumerate():
        if thread.name in {"kvraft-journal", "kvraft-snapshots"}:
            thread.join()


@pytest.fixture
def begun(tmp_path: Path) -> Iterator[tuple[InitialState, Store, list[tuple[int, int]]]]:
    """A node's beginning on a prepared folder, what its snapshot held, and the progress that was reported."""
    store = prepare(tmp_path)
    told: list[tuple[int, int]] = []
    initial = from_disk(
        tmp_path, 0, Reactor(), segment_bytes=SEGMENT_BYTES, progress=lambda loaded, of: told.append((loaded, of))
    )
    yield initial, store, told
    close(initial)


def test_the_snapshot_and_the_tail(begun: tuple[InitialState, Store, list[tuple[int, int]]]) -> None:
    """The store is that of the snapshot, the log begins where it was shortened, the membership is the snapshot's."""
    initial, store, _ = begun

    assert initial.store.applied_index == COVERED
    assert initial.store.keys.digest() == store.keys.digest()
    assert initial.store.checksum == store.checksum
    assert initial.log_begins == (KEPT_FROM, 1)
    assert [each.index for each in initial.entries] == list(range(KEPT_FROM + 1, ENTRIES + 1))
    assert initial.hard_state == HardState(1, 0, COVERED)
    assert initial.membership == MEMBERSHIP
    assert initial.remembers


def test_progress_is_told(begun: tuple[InitialState, Store, list[tuple[int, int]]]) -> None:
    """A load that takes long says how many keys are there, and of how many."""
    _, _, told = begun

    assert told
    assert told[-1] == (COVERED, COVERED)


def test_the_garbage_collector_works_again(begun: tuple[InitialState, Store, list[tuple[int, int]]]) -> None:
    """It rests only while keys are loaded."""
    assert gc.isenabled()


def test_an_empty_folder(tmp_path: Path) -> None:
    """A node that has never run begins with an empty state, and records that."""
    initial = from_disk(tmp_path, 0, Reactor(), segment_bytes=SEGMENT_BYTES, progress=lambda *_: None)

    assert initial.store.applied_index == 0
    assert (initial.log_begins, list(initial.entries), initial.membership) == ((0, 0), [], None)
    assert initial.remembers
    close(initial)


def test_a_snapshot_that_holds_no_store(tmp_path: Path) -> None:
    """A sound file with a header that no kvraft writes is refused, and the folder is given back."""
    prepare(tmp_path, state={"something": "else"})

    with pytest.raises(SnapshotInvalid, match="no store and no membership"):
        from_disk(tmp_path, 0, Reactor(), segment_bytes=SEGMENT_BYTES, progress=lambda *_: None)
    opened = open_storage(tmp_path, 0, segment_bytes=SEGMENT_BYTES)  # raises JournalLocked when it is not given back
    opened.snapshots.close()
    opened.journal.close()
    assert gc.isenabled()


def test_without_a_disk_snapshots_are_verified_in_a_thread() -> None:
    """The reactor's thread would answer nobody for as long as it takes to read a large one back."""
    reactor = TurnByTurn()
    snapshots = from_nothing(reactor, make_jobs=in_a_thread).snapshots

    done: list[Deferred[Any]] = [
        snapshots.begin_snapshot(SnapshotHeader("5" * 32, 1, 1)),
        snapshots.write([b"chunk"]),
        snapshots.finish(),
    ]
    assert not any(each.called for each in done)
    for _ in done:
        reactor.turn()

    assert snapshots.latest is not None
    chunk = snapshots.read_chunk("5" * 32, 0)
    closed = snapshots.close()
    for _ in range(2):
        reactor.turn()
    assert isinstance(chunk.result, SnapshotChunk)
    assert chunk.result.payload == b"chunk"
    assert closed.called


def test_without_a_disk() -> None:
    """A node that keeps nothing begins empty and without its vote."""
    initial = from_nothing(Clock())

    assert not initial.remembers
    assert (initial.store.applied_index, initial.membership, list(initial.entries)) == (0, None, [])
