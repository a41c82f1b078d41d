"""A disk that refuses while snapshots are on their way: they are given up, and nothing else is harmed (row 17)."""

import errno
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from kvraft.raft.types import HardState
from kvraft.simulation.disk import Disk, PowerFailure, proceed
from kvraft.storage import JournalFailed, JournalFull, Opened, SnapshotFailed, snapshot_files
from kvraft.storage.layout import HEADER_BYTES, SEAL_BYTES
from kvraft.storage.segments import segment_path
from tests.storage.snapshotting import (
    loaded,
    make_header,
    make_id,
    open_all,
    receive,
    sent,
    take,
)
from tests.storage.snapshotting import (
    snapshot_files as names_on,
)
from tests.storage.story import DIRECTORY, SEGMENT_BYTES, make_entries
from tests.storage.test_failure import Refusal

Deed = Callable[[Opened], object]


@pytest.fixture(autouse=True)
def _small_syncs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sync growing files so often that it happens in the small snapshots of these tests."""
    monkeypatch.setattr(snapshot_files, "SYNC_BYTES", 500)


def take_third(opened: Opened) -> object:
    """Take a snapshot that removes the first."""
    return take(opened.snapshots, make_header(3, 30))


def receive_third(opened: Opened) -> object:
    """Receive a snapshot that removes the first."""
    return receive(opened.snapshots, *sent(3, 30))


def prepared(disk: Disk) -> Opened:
    """Return a log with two snapshots."""
    opened = open_all(disk)
    opened.journal.save(None, make_entries(1, 1, *[b"x"] * 40))
    for number in (1, 2):
        take(opened.snapshots, make_header(number, number * 10))
    return opened


def operations_of(deed: Deed) -> list[str]:
    """Return the operations of a deed on a good disk."""
    disk = Disk()
    opened = prepared(disk)
    refusal = Refusal(-1, 0)
    disk.before = refusal
    deed(opened)
    return [operation for operation, _path in refusal.log]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("deed", [take_third, receive_third])
def test_a_refused_operation_gives_up_the_snapshot_and_nothing_else(deed: Deed, error: int) -> None:
    """Each operation fails once: the file is removed at once, the latest stays, saves go on, and the next try works."""
    operations = operations_of(deed)
    assert {"create", "pwrite", "fdatasync", "read", "rename", "fsync_directory", "close", "remove"} <= set(operations)
    for at, operation in enumerate(operations):
        disk = Disk(at)
        opened = prepared(disk)
        before = names_on(disk)
        refusal = Refusal(at, error)
        disk.before = refusal
        if operation in {"close", "remove"}:  # the old one could not be removed: the new one is finished all the same
            deed(opened)
            assert loaded(opened.snapshots) == make_id(3)
        else:
            with pytest.raises(SnapshotFailed) as caught:
                deed(opened)
            assert (caught.value.errno, caught.value.no_space) == (error, error == errno.ENOSPC)
            assert "the snapshot was given up, nothing is lost" in str(caught.value)
            assert loaded(opened.snapshots) == make_id(2)
            assert names_on(disk) == before, f"no file is left over, so that a full disk has room again ({operation})"
        disk.before = proceed
        opened.journal.save(None, make_entries(41, 1, b"the node goes on"))
        take(opened.snapshots, make_header(4, 35))
        assert len(names_on(disk)) == 2, "what could not be removed is removed by the next"

        disk.crash(0.0)
        again = open_all(disk)
        assert loaded(again.snapshots) == make_id(4)
        assert len(again.recovered.entries) == 41


@pytest.mark.parametrize("deed", [take_third, receive_third])
def test_a_crash_behind_a_refused_operation_loses_nothing(deed: Deed) -> None:
    """Whatever the failure and the removal have left, the next opening finds a sound snapshot and cleans up."""
    for at in range(len(operations_of(deed))):
        for keep in (0.0, 0.5, 1.0):
            disk = Disk(at)
            opened = prepared(disk)
            disk.before = Refusal(at, errno.EIO)
            with suppress(SnapshotFailed):
                deed(opened)
            disk.before = proceed
            disk.crash(keep)
            again = open_all(disk)
            assert loaded(again.snapshots) in {make_id(2), make_id(3)}
            assert not any(name.endswith(".draft") for name in names_on(disk))


def test_after_a_failure_the_same_error_comes_again() -> None:
    """A later write fails with the first error, and the disk is left alone."""
    disk = Disk()
    opened = prepared(disk)
    writer = opened.snapshots.begin(make_header(3, 30))
    incoming = opened.snapshots.receive(sent(4, 40)[0])
    writes: tuple[Callable[[], object], ...] = (lambda: writer.write(b"x"), lambda: incoming.write(0, b"x"))
    for write in writes:
        refusal = Refusal(0, errno.EIO)
        disk.before = refusal
        with pytest.raises(SnapshotFailed) as first:
            write()
        operations = len(refusal.log)
        with pytest.raises(SnapshotFailed) as second:
            write()
        assert second.value is first.value
        assert len(refusal.log) == operations


def test_what_is_read_back_must_be_what_was_written() -> None:
    """A disk that loses a write without a word is found out before the snapshot gets its name; the last one stays."""
    disk = Disk()
    opened = prepared(disk)
    writer = opened.snapshots.begin(make_header(3, 30))
    disk.ignored = {"pwrite"}
    writer.write(b"chunk")
    disk.ignored = set()
    writer.write(b"another")
    with pytest.raises(SnapshotFailed, match="could not read back what was written to"):
        writer.finish()
    assert loaded(opened.snapshots) == make_id(2)


def test_bytes_that_a_failed_sync_gave_up_are_written_anew_when_a_transfer_goes_on() -> None:
    """A partial file that can be read after a failed sync is not trusted: no later sync would ever write it."""
    identity, data = max((sent(number, 30) for number in range(20)), key=lambda each: len(each[1]))
    assert len(data) > 1500, "several sectors, so that the last write does not repair the first of them"
    for seed in range(20):
        disk = Disk(seed)
        incoming = open_all(disk).snapshots.receive(identity)

        def refuse(operation: str, path: Path) -> None:
            if operation == "remove":
                raise PowerFailure(operation)
            if operation == "fdatasync":
                raise OSError(errno.EIO, "refused")

        disk.before = refuse
        with pytest.raises((SnapshotFailed, PowerFailure)):
            incoming.write(0, data[:-10])
        disk.before = proceed
        disk.kill()
        assert len(names_on(disk)) == 1, "the failed file must still be there for this test"

        snapshots = open_all(disk).snapshots
        assert snapshots.receive(identity).received > 0
        receive(snapshots, identity, data)

        disk.crash(0.0)
        assert loaded(open_all(disk).snapshots) == identity.id


def test_an_opening_that_is_refused_gives_the_directory_back() -> None:
    """Each operation of an opening fails once: it is reported as such, the lock is free, and the next opening works."""
    at = 0
    for at in range(200):
        disk = Disk()
        opened = prepared(disk)
        opened.snapshots.begin(make_header(3, 30))
        opened.journal.compact(20, 1)
        disk.kill()
        refusal = Refusal(at, errno.EACCES)
        disk.before = refusal
        failures: list[JournalFailed] = []
        try:
            open_all(disk)
        except JournalFailed as failed:
            failures.append(failed)
        if refusal.failed is None:
            break
        assert [failed.errno for failed in failures] == [errno.EACCES], f"{refusal.failed} must be reported"
        assert not disk.locks
        disk.before = proceed
        disk.kill()
        assert loaded(open_all(disk).snapshots) == make_id(2)
    assert 20 < at < 100, "the opening must have been tried to its end"


def test_a_snapshot_that_the_disk_cannot_read_counts_as_damaged() -> None:
    """EIO in the newest file is no reason not to use the one before it."""
    disk = Disk()
    prepared(disk)
    disk.kill()

    def refuse(operation: str, path: Path) -> None:
        if operation == "read" and path.name.startswith(f"snapshot-{20:016}"):
            raise OSError(errno.EIO, "refused")

    disk.before = refuse
    opened = open_all(disk)
    assert loaded(opened.snapshots) == make_id(1)
    assert any("the disk cannot read it" in note for note in opened.recovered.notes)


@pytest.mark.parametrize("filled", [10, SEGMENT_BYTES - HEADER_BYTES - 2 * SEAL_BYTES - 40])
@pytest.mark.parametrize("power", [False, True])
def test_a_node_starts_on_a_full_disk_after_it_has_received_a_snapshot(filled: int, *, power: bool) -> None:
    """The log begins after the snapshot when there is room to note it, in this segment or the next."""
    disk = Disk()
    opened = open_all(disk)
    opened.journal.save(HardState(1, 0, 0), make_entries(1, 1, bytes(filled)))
    receive(opened.snapshots, *sent(5, 10))

    def fill(operation: str, path: Path) -> None:
        if operation in {"pwrite", "allocate", "create"}:
            raise OSError(errno.ENOSPC, "no space")

    for _ in range(2):
        disk.before = proceed
        disk.crash() if power else disk.kill()
        disk.before = fill
        opened = open_all(disk)
        assert (opened.recovered.snapshot_index, list(opened.recovered.entries)) == (10, [])
        assert opened.recovered.hard_state == HardState(1, 0, 0)
        with pytest.raises(JournalFull):
            opened.journal.try_again()
        with pytest.raises(JournalFull):
            opened.journal.save(HardState(2), ())

    disk.before = proceed
    opened.journal.try_again()
    assert (segment_path(DIRECTORY, 2) in disk.inodes) is (filled > SEGMENT_BYTES // 2)
    opened.journal.save(HardState(2), make_entries(11, 2, b"next"))
    disk.crash(0.0)
    recovered = open_all(disk).recovered
    assert (recovered.snapshot_index, recovered.snapshot_term) == (10, 1)
    assert [entry.index for entry in recovered.entries] == [11]
    assert recovered.hard_state == HardState(2)
