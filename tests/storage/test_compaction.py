"""Shortening the log and beginning it anew (row 16)."""

import shutil
from pathlib import Path
from typing import Final

import pytest

from kvraft.raft.types import HardState
from kvraft.simulation.disk import Disk, Inode
from kvraft.storage import Journal, JournalDamaged, SaveRefused
from kvraft.storage.extent import Extent
from kvraft.storage.files import OsFiles
from kvraft.storage.layout import FORMAT_VERSION_MARKS, KIND_COMPACTED, KIND_RESET, decode_header, encode_mark
from kvraft.storage.segments import segment_path
from tests.storage.story import (
    DIRECTORY,
    NODE_ID,
    Compaction,
    Save,
    State,
    check,
    forge,
    make_entries,
    open_journal,
    states_of,
    write_compacting_story,
)

OLD_FORMAT: Final = Path(__file__).parent / "data" / "journal-format-1"
"""A directory that the first writer of kvraft made; see `test_a_journal_of_format_1_is_read_and_goes_on`."""
DIRECTORY_OF_FORMAT_2: Final = OLD_FORMAT.with_name("directory-journal-2-snapshot-1")


def filled(disk: Disk, last: int = 20, size: int = 300) -> Journal:
    """Return a journal with entries of term 1, four of them a segment."""
    journal = open_journal(disk)[0]
    journal.save(HardState(1, 0, 0), ())
    for index in range(1, last + 1):
        journal.save(None, make_entries(index, 1, b"x" * size))
    return journal


def segments_on(disk: Disk) -> list[int]:
    """Return the numbers of the segments on a disk."""
    return sorted(int(path.name[-16:]) for path in disk.inodes if path.name.startswith("segment-"))


def versions_in(directory: Path) -> list[int]:
    """Return the formats of a directory's segments, in their order."""
    return [decode_header(path.read_bytes()).version for path in sorted(directory.glob("segment-*"))]


def reopened(disk: Disk) -> State:
    """Return what the next process finds after a power failure that lost all it could."""
    disk.crash(0.0)
    return State.of(open_journal(disk)[1])


@pytest.mark.parametrize("seed", range(100, 130))
def test_a_story_with_compactions_is_read_back_after_every_step(seed: int) -> None:
    """Each opening finds exactly the state after the last step."""
    disk = Disk(seed)
    steps = write_compacting_story(seed, 30)
    for step, expected in zip(steps, states_of(steps)[1:], strict=True):
        step.perform(open_journal(disk)[0])
        disk.kill()
        check(State.of(open_journal(disk)[1]), [expected])
        disk.kill()


def test_compacting_deletes_the_segments_below_and_keeps_the_rest() -> None:
    """Whole segments go; the log begins exactly at the given index; hard state and later entries stay."""
    disk = Disk()
    journal = filled(disk)
    assert segments_on(disk) == [1, 2, 3, 4, 5]
    bytes_before, syncs_before = journal.bytes_written, journal.syncs

    journal.compact(10, 1)

    assert segments_on(disk) == [3, 4, 5]
    assert journal.segments == 3
    assert journal.syncs == syncs_before + 1
    assert journal.bytes_written > bytes_before
    expected = State(HardState(1, 0, 0), make_entries(11, 1, *[b"x" * 300] * 10), (10, 1))
    assert reopened(disk) == expected
    assert segments_on(disk) == [3, 4, 5]


def test_compacting_to_the_end_leaves_an_empty_log_that_goes_on() -> None:
    """The next entry follows the last one that was compacted; the hard state is still there."""
    disk = Disk()
    journal = filled(disk)

    journal.compact(20, 1)
    journal.save(None, make_entries(21, 1, b"next"))

    assert segments_on(disk) == [5]
    assert reopened(disk) == State(HardState(1, 0, 0), make_entries(21, 1, b"next"), (20, 1))


def test_compacting_to_where_the_log_begins_does_nothing() -> None:
    """No byte is written for it, also at the very beginning."""
    journal = filled(Disk())
    for index, term in ((0, 0), (7, 1)):
        journal.compact(index, term)
        before = journal.syncs
        journal.compact(index, term)
        assert journal.syncs == before


@pytest.mark.parametrize(
    ("index", "term", "why"),
    [
        (21, 1, "cannot compact up to entry 21: the log reaches from 4 to 20"),
        (3, 1, "cannot compact up to entry 3: the log reaches from 4 to 20"),
        (10, 2, "cannot compact up to entry 10 of term 2: its term is 1"),
        (4, 2, "cannot compact up to entry 4 of term 2: its term is 1"),
    ],
)
def test_a_compaction_that_the_log_does_not_bear_out_is_refused(index: int, term: int, why: str) -> None:
    """Nothing is deleted for a snapshot of another log."""
    disk = Disk()
    journal = filled(disk)
    journal.compact(4, 1)
    before = segments_on(disk)

    with pytest.raises(SaveRefused, match=why):
        journal.compact(index, term)

    assert segments_on(disk) == before
    journal.save(None, make_entries(21, 1, b"next"))


def test_entries_that_a_snapshot_covers_are_refused() -> None:
    """A stale AppendEntries after a snapshot is never written, whatever the core thought of it (row 16)."""
    journal = filled(Disk())
    journal.compact(10, 1)
    with pytest.raises(SaveRefused, match="entry 10 is covered by the snapshot up to 10"):
        journal.save(None, make_entries(10, 1, b"stale", b"stale"))
    journal.save(None, make_entries(11, 1, b"fresh"))


def test_a_reset_empties_the_log_and_begins_behind_the_snapshot() -> None:
    """Ahead of the log or inside of it: one step, with the hard state in it; only the newest segment stays."""
    for index in (500, 12):
        disk = Disk()
        journal = filled(disk)

        journal.reset_to(index, 3, HardState(4, 2, 0))
        journal.save(None, make_entries(index + 1, 4, b"next"))

        assert segments_on(disk) == [5]
        expected = State(HardState(4, 2, 0), make_entries(index + 1, 4, b"next"), (index, 3))
        assert reopened(disk) == expected
        disk.kill()
        open_journal(disk)[0].reset_to(index + 900, 4)
        assert reopened(disk) == State(HardState(4, 2, 0), (), (index + 900, 4))


@pytest.mark.parametrize(
    ("index", "term", "hard_state", "why"),
    [
        (9, 1, None, "begins after entry 10 of term 1 and cannot be reset to entry 9 of term 1"),
        (10, 2, None, "begins after entry 10 of term 1 and cannot be reset to entry 10 of term 2"),
        (0, 1, None, "cannot begin after entry 0"),
        (30, 0, None, "cannot begin after entry 30 of term 0"),
        (30, 1, HardState(1, 2, 0), "the vote of term 1 would change"),
        (30, 1, HardState(0, 0, 0), "the term would go back"),
    ],
)
def test_a_reset_that_goes_back_is_refused(index: int, term: int, hard_state: HardState | None, why: str) -> None:
    """What a snapshot covers stays covered, and promises stay made."""
    disk = Disk()
    journal = filled(disk)
    journal.compact(10, 1)
    with pytest.raises(SaveRefused, match=why):
        journal.reset_to(index, term, hard_state)
    assert reopened(disk).base == (10, 1)


def test_segments_of_any_subset_may_come_back_and_are_deleted_again() -> None:
    """The removal of a segment is not synced: whichever of them a crash brings back, the log is the same."""
    disk = Disk()
    journal = filled(disk)
    before = {path: bytes(inode.current) for path, inode in disk.inodes.items()}
    journal.compact(17, 1)
    removed = [segment_path(DIRECTORY, number) for number in (1, 2, 3, 4)]
    assert segments_on(disk) == [5]
    for subset in range(1, 16):
        crashed = Disk()
        contents = {path: bytes(inode.current) for path, inode in disk.inodes.items()}
        contents |= {path: before[path] for place, path in enumerate(removed) if subset >> place & 1}
        crashed.inodes = {path: Inode(bytearray(each), bytearray(each)) for path, each in contents.items()}

        recovered = open_journal(crashed)[1]

        assert State.of(recovered) == State(HardState(1, 0, 0), make_entries(18, 1, *[b"x" * 300] * 3), (17, 1))
        assert segments_on(crashed) == [5]
        assert any(f"deleted {subset.bit_count()} segments" in note for note in recovered.notes)


def test_a_segment_that_is_missing_above_the_mark_is_refused() -> None:
    """A mark excuses what it covers and nothing else."""
    disk = Disk()
    filled(disk).compact(10, 1)
    for number in (3, 4):
        del disk.inodes[segment_path(DIRECTORY, number)]
        disk.kill()
        with pytest.raises(JournalDamaged, match=f"{number:016}, which must come before it, is missing"):
            open_journal(disk)


@pytest.mark.parametrize(
    ("kind", "index", "term", "why"),
    [
        (KIND_COMPACTED, 12, 2, "compacted up to entry 12 of term 2, and its term is 1"),
        (KIND_COMPACTED, 21, 1, "compacted up to entry 21 of term 1, and ends with entry 20"),
        (KIND_COMPACTED, 9, 1, "begins after entry 9 of term 1 and began after entry 10 before"),
        (KIND_RESET, 9, 1, "begins after entry 9 of term 1 and began after entry 10 before"),
    ],
)
def test_a_sound_mark_that_does_not_fit_the_log_is_refused(kind: int, index: int, term: int, why: str) -> None:
    """No crash makes a mark that contradicts the log before it."""
    disk = Disk()
    journal = filled(disk)
    journal.compact(10, 1)
    disk.kill()
    forge(disk, DIRECTORY, [encode_mark(kind, index, term)], HardState(1, 0, 0))
    with pytest.raises(JournalDamaged, match=why):
        open_journal(disk)


def test_a_mark_in_a_segment_of_format_1_is_refused(tmp_path: Path) -> None:
    """The first format has none, so a mark there was not written by kvraft."""
    directory = tmp_path / "0"
    shutil.copytree(OLD_FORMAT, directory)
    forge(OsFiles(), directory, [encode_mark(KIND_COMPACTED, 4, 1)], HardState(3, 2, 3))
    with pytest.raises(JournalDamaged, match="a segment of this format has no marks"):
        Journal.open(directory, NODE_ID)


def test_a_mark_below_replaced_entries_still_counts() -> None:
    """An old segment is deleted although its dead entries reach above the mark, and the log is read without it."""
    disk = Disk()
    journal = filled(disk)
    journal.compact(5, 1)
    assert segments_on(disk) == [2, 3, 4, 5]
    journal.save(HardState(2, 0, 5), make_entries(6, 2, b"replaces everything behind 5"))

    disk.kill()
    journal = open_journal(disk)[0]

    assert segments_on(disk) == [5]
    disk.kill()
    expected = State(HardState(2, 0, 5), make_entries(6, 2, b"replaces everything behind 5"), (5, 1))
    assert State.of(open_journal(disk)[1]) == expected
    assert reopened(disk) == expected


def test_the_newest_mark_is_never_deleted() -> None:
    """Rotations after a compaction to the very end do not make its segment look unused."""
    disk = Disk()
    journal = filled(disk)
    journal.compact(20, 1)
    for term in range(2, 60):
        journal.save(HardState(term), ())
    assert len(segments_on(disk)) > 2
    for _ in range(3):
        assert reopened(disk) == State(HardState(59), (), (20, 1))


def test_a_journal_of_format_1_is_read_and_goes_on(tmp_path: Path) -> None:
    """Files of the first writer are read; a mark goes into a new segment, so that no file of format 1 has one."""
    directory = tmp_path / "0"
    shutil.copytree(OLD_FORMAT, directory)
    (directory / "lock").touch()
    before = [decode_header((directory / segment_path(directory, number).name).read_bytes()) for number in (1, 2)]
    assert {header.version for header in before} == {1}

    journal, recovered = Journal.open(directory, NODE_ID, segment_bytes=1024)

    assert recovered.hard_state == HardState(3, 2, 3)
    assert [entry.index for entry in recovered.entries] == [1, 2, 3, 4, 5, 6]
    assert [entry.term for entry in recovered.entries] == [1, 1, 1, 1, 3, 3]
    assert recovered.entries[3].payload == b"value 4 " * 20
    assert recovered.entries[-1].payload == b"the last"
    journal.compact(4, 1)
    assert decode_header(segment_path(directory, 3).read_bytes()).version == FORMAT_VERSION_MARKS
    journal.close()
    journal, again = Journal.open(directory, NODE_ID, segment_bytes=1024)
    assert (again.snapshot_index, again.snapshot_term) == (4, 1)
    assert again.entries == recovered.entries[4:]
    journal.close()


def test_a_journal_of_format_2_keeps_it_until_it_holds_a_founder(tmp_path: Path) -> None:
    """An earlier kvraft reads on through rotations; a mark that it would overlook goes into a segment it refuses."""
    directory = tmp_path / "0"
    shutil.copytree(DIRECTORY_OF_FORMAT_2, directory)
    journal, recovered = Journal.open(directory, NODE_ID, segment_bytes=1024)
    assert len(recovered.entries) == 3

    journal.save(None, make_entries(7, 4, bytes(5000)))
    assert versions_in(directory) == [2, 2]
    journal.save(HardState(5, 0, 6, founder=True), ())
    assert versions_in(directory) == [2, 2, 3]
    journal.save(None, make_entries(8, 4, bytes(5000)))
    assert versions_in(directory) == [2, 2, 3, 3]
    journal.close()

    journal, again = Journal.open(directory, NODE_ID, segment_bytes=1024)
    assert again.hard_state == HardState(5, 0, 6, founder=True)
    assert [entry.index for entry in again.entries] == [4, 5, 6, 7, 8]
    journal.close()


def test_a_founder_in_a_segment_of_format_2_is_refused(tmp_path: Path) -> None:
    """An earlier kvraft would have read a commit index that no log has."""
    directory = tmp_path / "0"
    shutil.copytree(DIRECTORY_OF_FORMAT_2, directory)
    forge(OsFiles(), directory, [], HardState(5, 0, 6, founder=True))
    with pytest.raises(JournalDamaged, match="a segment of this format cannot hold a founder's mark"):
        Journal.open(directory, NODE_ID)


def test_the_outline_of_a_log_agrees_with_a_dumb_twin() -> None:
    """`Extent` has the term of every entry through saves, overrides, compactions and resets."""
    for seed in range(60):
        extent = Extent()
        steps = write_compacting_story(seed, 40)
        for step, state in zip(steps, states_of(steps)[1:], strict=True):
            match step:
                case Save():
                    extent.check_save(step.hard_state, step.entries)
                    extent.note_save(state.hard_state, step.entries)
                case Compaction():
                    extent.check_compact(step.index, step.term)
                    extent.note_compact(step.index, step.term)
                case _:
                    extent.check_reset(*state.base, state.hard_state)
                    extent.note_reset(*state.base, state.hard_state)
            found = {index: extent.term_at(index) for index in range(state.last_index + 9)}
            expected = {entry.index: entry.term for entry in state.entries} | {state.base[0]: state.base[1]}
            assert {index: term for index, term in found.items() if term is not None} == expected
