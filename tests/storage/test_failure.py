"""A disk that refuses: the journal dies at once, tries nothing again, and loses nothing (row 41)."""

import errno
from contextlib import suppress
from pathlib import Path

import attrs
import pytest

from kvraft.raft.types import HardState
from kvraft.simulation.disk import Disk, proceed
from kvraft.storage import Journal, JournalFailed, JournalFull, JournalLocked, OsFiles, PathUnusable, StorageError
from kvraft.storage.journal import PREPARED_BYTES_MAX, ZEROS_AHEAD
from tests.storage.machine import Machine
from tests.storage.story import DIRECTORY, INCARNATION, NODE_ID, State, make_entries, open_journal, write_story

REFUSED = {"pwrite", "fdatasync", "fsync_directory", "allocate", "rename", "create", "close"}


@attrs.define
class Refusal:
    """Fails one operation with `error`, and records all of them."""

    at: int
    error: int
    failed: tuple[str, Path] | None = None
    log: list[tuple[str, Path]] = attrs.field(factory=list)

    def __call__(self, operation: str, path: Path) -> None:
        """Count an operation, and refuse the one whose turn it is."""
        self.log.append((operation, path))
        if len(self.log) - 1 == self.at:
            self.failed = (operation, path)
            raise OSError(self.error, "refused")


def operations_of(seed: int, length: int) -> list[str]:
    """Return the operations of a story on a good disk, after the opening."""
    disk = Disk()
    opened, _recovered = open_journal(disk)
    refusal = Refusal(-1, 0)
    disk.before = refusal
    for save in write_story(seed, length):
        opened.save(save.hard_state, save.entries)
    return [operation for operation, _path in refusal.log]


FOR_ROOM = {"create", "allocate", "pwrite"}
"""What fails on a full disk before anything is promised."""
OPENS_FILES = {"create", "fsync_directory"}
"""What opens a file after the journal is open."""


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("seed", [2, 3, 4])
def test_every_refused_operation_kills_the_journal_and_loses_nothing(seed: int, error: int) -> None:
    """Each operation fails once: no operation follows, every later call raises the same, all confirmed saves are there.

    The reopening is checked twice: as the next process finds it, and after the power failed after that.
    """
    operations = operations_of(seed, 8)
    assert set(operations) == REFUSED
    for at, operation in enumerate(operations):
        if error == errno.ENOSPC and operation in FOR_ROOM:
            continue
        saves = write_story(seed, 8)
        machine = Machine(saves, Disk(at))
        opened, _recovered = open_journal(machine.disk)
        refusal = Refusal(at, error)
        machine.disk.before = refusal
        with pytest.raises(JournalFailed) as caught:
            machine.save_all(opened)
        assert caught.value.errno == error
        assert caught.value.no_space is (error == errno.ENOSPC)
        after = [operation for operation, _path in refusal.log[at + 1 :]]
        assert set(after) <= {"close"}, "nothing but giving a file back may follow a failure"
        for _ in range(2):
            with pytest.raises(JournalFailed) as again:
                opened.save(HardState(99), make_entries(1, 99, b"late"))
            assert again.value is caught.value
        opened.close()
        after = [operation for operation, _path in refusal.log[at + 1 :]]
        assert set(after) <= {"close"}, "nothing but giving a file back may follow a failure"

        machine.run(more=0)
        machine.disk.crash(0.0)
        machine.run()
        assert machine.done == 8


@pytest.mark.parametrize(
    ("error", "lacking"), [(errno.ENOSPC, FOR_ROOM), (errno.EMFILE, OPENS_FILES), (errno.ENFILE, OPENS_FILES)]
)
@pytest.mark.parametrize("seed", [2, 3, 4])
def test_where_there_is_no_room_a_save_waits_and_is_made_later(seed: int, error: int, lacking: set[str]) -> None:
    """A full disk keeps nothing of a save, nor does the limit of open files; tried again, everything is there."""
    operations = operations_of(seed, 8)
    for at in (at for at, operation in enumerate(operations) if operation in lacking):
        machine = Machine(write_story(seed, 8), Disk(at))
        opened, _recovered = open_journal(machine.disk)
        machine.disk.before = Refusal(at, error)
        with pytest.raises(JournalFull) as caught:
            machine.save_all(opened)
        assert opened.full is caught.value
        with pytest.raises(JournalFull):
            opened.save(HardState(99), ())
        opened.try_again()
        machine.save_all(opened)
        opened.close()
        machine.disk.crash(0.0)
        machine.run()
        assert machine.done == 8


@pytest.mark.parametrize("times", [4, 2 * ZEROS_AHEAD // 256])
@pytest.mark.parametrize("seed", range(40))
def test_what_was_written_in_part_is_cut_off_before_the_next_save(seed: int, times: int) -> None:
    """A longer save that found no room leaves nothing after the shorter one that is made instead.

    Not even where it is longer than the zeros that are written ahead of each save.
    """
    disk = Disk(seed)
    opened, _recovered = Journal.open(
        DIRECTORY, NODE_ID, files=disk, make_incarnation=lambda: INCARNATION, segment_bytes=4 * ZEROS_AHEAD
    )
    disk.before = Refusal(0, errno.ENOSPC)
    with pytest.raises(JournalFull):
        opened.save(HardState(1), make_entries(1, 1, b"first", bytes(range(256)) * times))
    disk.before = proceed

    opened.try_again()
    opened.save(HardState(2), make_entries(1, 2, b"second"))
    opened.close()

    disk.crash(1.0)
    _opened, recovered = open_journal(disk)
    assert (recovered.hard_state, list(recovered.entries)) == (HardState(2), [*make_entries(1, 2, b"second")])
    assert not recovered.notes


def test_a_long_save_is_tried_again_as_it_was() -> None:
    """A save that is laid out as it is written finds no room, is called once more, and is one save with one seal."""
    disk = Disk()
    opened, _recovered = open_journal(disk)
    entries = make_entries(1, 1, bytes(PREPARED_BYTES_MAX))
    save = opened.prepare_save(HardState(1), entries)

    writes: list[Path] = []

    def refuse_second_write(operation: str, path: Path) -> None:
        """Let the header of a segment that is long enough be written, and not the save."""
        if operation == "pwrite":
            writes.append(path)
            if len(writes) > 1:
                raise OSError(errno.ENOSPC, "refused")

    disk.before = refuse_second_write
    with pytest.raises(JournalFull):
        save()
    disk.before = proceed

    opened.try_again()
    save()
    opened.close()

    _opened, recovered = open_journal(disk)
    assert (recovered.hard_state, list(recovered.entries)) == (HardState(1), [*entries])


def test_a_journal_opens_on_a_full_disk_and_relies_on_nothing_before_there_is_room() -> None:
    """Where what was read cannot be written once more, the journal is open and full; later it goes on."""
    disk = Disk()
    opened, _recovered = open_journal(disk)
    opened.save(HardState(3, 1, 0), ())
    opened.close()

    def no_room(operation: str, _path: Path) -> None:
        if operation in FOR_ROOM:
            raise OSError(errno.ENOSPC, "refused")

    disk.before = no_room
    opened, recovered = open_journal(disk)
    assert recovered.hard_state == HardState(3, 1, 0)
    assert opened.full is not None
    with pytest.raises(JournalFull):
        opened.try_again()

    disk.before = proceed
    opened.try_again()
    opened.save(HardState(4), ())
    assert opened.full is None


def test_a_new_journal_does_not_begin_on_a_full_disk() -> None:
    """Nothing is left of the attempt, and the directory is free."""
    disk = Disk()
    for lacking in sorted(FOR_ROOM):

        def no_room(operation: str, _path: Path, lacking: str = lacking) -> None:
            if operation == lacking:
                raise OSError(errno.ENOSPC, "refused")

        disk.before = no_room
        with pytest.raises(JournalFull, match="is full: make room there"):
            open_journal(disk)
        assert not disk.inodes
    disk.before = proceed
    assert State.of(open_journal(disk)[1]).hard_state == HardState()


def disk_for_an_opening(*, used: bool) -> Disk:
    """Return a disk whose directory is new, or holds a journal with one save."""
    disk = Disk()
    if used:
        opened, _recovered = open_journal(disk)
        opened.save(HardState(3, 1, 0), ())
        opened.close()
    return disk


def test_a_failing_opening_leaves_the_directory_to_the_next_one() -> None:
    """Each operation of an opening fails once, in a new and an old directory: JournalFailed; the lock is free."""
    for used in (False, True):
        for at in range(100):
            disk = disk_for_an_opening(used=used)
            refusal = Refusal(at, errno.EIO)
            disk.before = refusal
            with suppress(JournalFailed):
                open_journal(disk)
            if refusal.failed is None:
                break
            disk.before = proceed
            assert State.of(open_journal(disk)[1]).hard_state == (HardState(3, 1, 0) if used else HardState())
        assert 5 < at < 20, "the openings must have been tried to their end"


def test_a_full_disk_is_told_in_its_own_words() -> None:
    """ENOSPC names the file, the errno and that the disk is full; a broken disk has another text."""
    texts = {}
    for error in (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EIO, errno.EACCES):
        disk = Disk()
        opened, _recovered = open_journal(disk)
        disk.before = Refusal(0, error)
        with pytest.raises((JournalFailed, JournalFull)) as caught:
            opened.save(HardState(1), ())
        texts[error] = str(caught.value)
        assert f"write to {DIRECTORY}/segment-0000000000000001: [Errno {error}]" in texts[error]
        assert caught.value.__cause__ is not None
    assert f"the disk (or the quota) that holds {DIRECTORY} is full: make room there" in texts[errno.ENOSPC]
    assert "is full" in texts[errno.EDQUOT]
    assert "ulimit -n" in texts[errno.EMFILE]
    assert "fs.file-max" in texts[errno.ENFILE]
    assert "dmesg" in texts[errno.EIO]
    assert "let the user who runs kvraft" in texts[errno.EACCES]


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENFILE])
def test_an_opening_without_descriptors_is_told_as_that(error: int) -> None:
    """Each operation of an opening that opens a file fails once: no word about the disk, and the lock is free."""
    for used in (False, True):
        for at in range(100):
            disk = disk_for_an_opening(used=used)
            refusal = Refusal(at, error)
            disk.before = refusal
            full: StorageError | None
            try:
                opened, _recovered = open_journal(disk)
            except StorageError as refused:
                full = refused
            else:
                full = opened.full
                disk.before = proceed
                opened.try_again()
                opened.close()
            if refusal.failed is not None and refusal.failed[0] in {"lock", "names", "open", *OPENS_FILES}:
                assert isinstance(full, JournalFull)
                assert full.lacks_files
            if refusal.failed is None:
                break
            disk.before = proceed
            assert State.of(open_journal(disk)[1]).hard_state == (HardState(3, 1, 0) if used else HardState())


@pytest.mark.parametrize("path", ["file", "file/0", "dangling", "loop", "taken", "x" * 300])
def test_a_path_where_no_directory_can_be_is_told_as_that(tmp_path: Path, path: str) -> None:
    """A path at or below a file, or to nothing, is a mistake of the operator: no word about the disk."""
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "dangling").symlink_to("nothing/there")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "taken" / "lock").mkdir(parents=True)
    with pytest.raises(PathUnusable) as caught:
        Journal.open(tmp_path / path, NODE_ID, files=OsFiles(), make_incarnation=lambda: INCARNATION)
    obstacle = tmp_path / Path(path).parts[0]
    assert str(caught.value).startswith(f"{tmp_path / path} cannot be a data directory: {obstacle}")
    assert "dmesg" not in str(caught.value)


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Record which directories the journal syncs."""
    found: list[Path] = []
    sync = OsFiles.fsync_directory

    def record(files: OsFiles, path: Path) -> None:
        found.append(path)
        sync(files, path)

    monkeypatch.setattr(OsFiles, "fsync_directory", record)
    return found


@pytest.mark.parametrize("made", ["", "data", "data/0"])
def test_the_directory_s_own_name_is_durable_whoever_made_it(tmp_path: Path, synced: list[Path], made: str) -> None:
    """A process that was killed after it had made a directory has not synced its name; a power failure removes it."""
    (tmp_path / made).mkdir(parents=True, exist_ok=True)
    Journal.open(tmp_path / "data" / "0", NODE_ID)[0].close()
    assert {tmp_path, tmp_path / "data"} <= set(synced[: synced.index(tmp_path / "data" / "0")])


@pytest.mark.parametrize("error", [errno.EACCES, errno.EINVAL, errno.EIO])
def test_a_parent_that_cannot_be_synced_is_no_obstacle(
    tmp_path: Path, synced: list[Path], monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    """The parents of a directory that is there may be another user's, or read-only; a broken disk is an obstacle."""
    sync = OsFiles.fsync_directory

    def refuse(files: OsFiles, path: Path) -> None:
        if path in {tmp_path, tmp_path.parent}:
            raise OSError(error, "refused")
        sync(files, path)

    monkeypatch.setattr(OsFiles, "fsync_directory", refuse)
    directory = tmp_path / "0"
    directory.mkdir()
    if error == errno.EIO:
        with pytest.raises(JournalFailed):
            Journal.open(directory, NODE_ID)
    else:
        Journal.open(directory, NODE_ID)[0].close()
    assert bool(synced) is (error != errno.EIO)


def test_a_deleted_lock_file_lets_no_second_journal_in(tmp_path: Path) -> None:
    """The directory is locked too, for as long as the journal is open: also when it has begun another segment."""

    def open_here() -> Journal:
        return Journal.open(tmp_path, NODE_ID, make_incarnation=lambda: INCARNATION, segment_bytes=4096)[0]

    journal = open_here()
    for index in range(1, 6):
        (tmp_path / "lock").unlink()
        with pytest.raises(JournalLocked):
            open_here()
        journal.save(HardState(1), make_entries(index, 1, bytes(2000)))
    assert journal.segments > 1
    journal.close()
    open_here().close()
