"""The journal on a real disk: round trips, segments, refusals and counters (rows 1, 2)."""

import fcntl
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kvraft.raft import types
from kvraft.raft.types import Entry, HardState, encode_record
from kvraft.storage import Journal, JournalDamaged, JournalLocked, JournalMismatch, Recovered, SaveRefused, extent
from kvraft.storage.files import OsFiles
from kvraft.storage.journal import LOCK_NAME, PREPARED_BYTES_MAX
from kvraft.storage.layout import (
    FORMAT_VERSION,
    HEADER_BYTES,
    KIND_OWN_MIN,
    KIND_SEAL,
    KIND_SEGMENT,
    SEAL_BYTES,
    SegmentHeader,
    count_zero_pieces,
    decode_header,
    encode_header,
    join_save,
)
from kvraft.storage.segments import is_draft, segment_number, segment_path
from tests.storage.story import State, forge, make_entries, states_of, write_story

SEGMENT_BYTES = 4096


def open_at(directory: Path, node_id: int = 0) -> tuple[Journal, Recovered]:
    """Open the journal of a real directory with small segments."""
    return Journal.open(directory, node_id, segment_bytes=SEGMENT_BYTES)


def reopen(journal: Journal, directory: Path) -> Recovered:
    """Close a journal and return what the next opening finds."""
    journal.close()
    again, recovered = open_at(directory)
    again.close()
    return recovered


def test_a_new_directory_holds_nothing_and_gets_an_incarnation(tmp_path: Path) -> None:
    """The directory is made, the state is empty, and the incarnation is the same at every later opening."""
    directory = tmp_path / "data" / "0"

    journal, recovered = open_at(directory)

    assert State.of(recovered) == State()
    assert recovered.notes == []
    assert len(bytes.fromhex(recovered.incarnation)) == 16
    assert reopen(journal, directory).incarnation == recovered.incarnation
    assert open_at(tmp_path / "data" / "1", 1)[1].incarnation != recovered.incarnation
    assert directory.stat().st_mode & 0o077 == 0, "what clients stored is private"
    assert all(path.stat().st_mode & 0o077 == 0 for path in directory.iterdir())


@pytest.mark.parametrize("seed", range(10))
def test_a_story_of_saves_is_read_back_after_every_save(tmp_path: Path, seed: int) -> None:
    """Overrides, rotations, empty saves and large ones: each opening finds exactly the state after the last save."""
    saves = write_story(seed, 12)
    for save, expected in zip(saves, states_of(saves)[1:], strict=True):
        journal, _recovered = open_at(tmp_path)
        journal.save(save.hard_state, save.entries)
        assert State.of(reopen(journal, tmp_path)) == expected


def test_a_prepared_save_is_none_before_it_is_carried_out(tmp_path: Path) -> None:
    """Without it nothing has changed."""
    journal, _recovered = open_at(tmp_path)
    journal.save(HardState(1), make_entries(1, 1, b"one"))
    journal.prepare_save(HardState(3), make_entries(2, 3, b"forgotten"))

    journal.prepare_save(HardState(2), make_entries(2, 2, b"two"))()

    expected = (*make_entries(1, 1, b"one"), *make_entries(2, 2, b"two"))
    assert State.of(reopen(journal, tmp_path)) == State(HardState(2), expected)


def test_a_prepared_save_that_was_overtaken_is_refused(tmp_path: Path) -> None:
    """It was laid out for a place that holds something else by now."""
    journal, _recovered = open_at(tmp_path)
    prepared = journal.prepare_save(HardState(1), make_entries(1, 1, b"late"))
    journal.save(HardState(2), ())

    with pytest.raises(SaveRefused, match="since this save was prepared"):
        prepared()

    assert State.of(reopen(journal, tmp_path)) == State(HardState(2))


def test_a_save_is_prepared_only_while_nobody_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread is in the middle of a write: until it is done the journal is that thread's."""
    journal, _recovered = open_at(tmp_path)
    pwrite = os.pwrite

    def write(fd: int, data: bytes, offset: int) -> int:
        with pytest.raises(AssertionError, match="another thread writes"):
            journal.prepare_save(HardState(2), ())
        return pwrite(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", write)
    journal.save(HardState(1), ())
    monkeypatch.undo()

    journal.prepare_save(HardState(2), ())()
    assert State.of(reopen(journal, tmp_path)) == State(HardState(2))


@pytest.mark.parametrize(("size", "is_laid_out"), [(1000, True), (PREPARED_BYTES_MAX, False)])
def test_a_long_save_is_laid_out_by_who_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, *, is_laid_out: bool
) -> None:
    """It would keep the reactor from everything else."""
    journal, _recovered = Journal.open(tmp_path, 0)
    laid_out: list[int] = []

    def note(records: list[bytes], *rest: Any) -> bytes:
        laid_out.append(len(records))
        return join_save(records, *rest)

    monkeypatch.setattr("kvraft.storage.journal.join_save", note)
    entries = make_entries(1, 1, bytes(size))
    prepared = journal.prepare_save(HardState(1), entries)
    assert bool(laid_out) is is_laid_out
    prepared()

    assert len(laid_out) == 1
    assert State.of(reopen(journal, tmp_path)) == State(HardState(1), tuple(entries))


def test_an_override_reaches_back_over_segments(tmp_path: Path) -> None:
    """Entries that replace others from an earlier segment remove everything after them, for good."""
    journal, _recovered = open_at(tmp_path)
    for index in range(1, 21):
        journal.save(None, make_entries(index, 1, b"x" * 1000))
    assert journal.segments == 7
    replacing = make_entries(2, 2, b"new")

    journal.save(HardState(2), replacing)
    recovered = reopen(journal, tmp_path)

    assert recovered.hard_state == HardState(2)
    assert recovered.entries == [*make_entries(1, 1, b"x" * 1000), *replacing]


def test_a_save_without_hard_state_keeps_the_one_before(tmp_path: Path) -> None:
    """The seal of every save carries the whole hard state, also when it did not change."""
    journal, _recovered = open_at(tmp_path)
    journal.save(HardState(7, 2, 0), ())
    journal.save(None, make_entries(1, 7, b"entry"))
    assert reopen(journal, tmp_path).hard_state == HardState(7, 2, 0)


def test_nothing_to_save_is_no_save(tmp_path: Path) -> None:
    """A save of nothing touches no disk."""
    journal, _recovered = open_at(tmp_path)
    journal.save(None, ())
    assert (journal.syncs, journal.bytes_written) == (0, 0)
    journal.close()


def test_a_save_at_the_end_of_a_segment_fills_it_to_the_last_byte(tmp_path: Path) -> None:
    """A save that just fits needs no new segment, one byte more does."""
    room = SEGMENT_BYTES - HEADER_BYTES - SEAL_BYTES - len(encode_record(1, 1, 2, b""))
    for extra, segments in ((0, 1), (1, 2)):
        directory = tmp_path / str(extra)
        journal, _recovered = open_at(directory)
        entries = make_entries(1, 1, b"x" * (room + extra))

        journal.save(None, entries)

        assert journal.segments == segments
        size = segment_path(directory, segments).stat().st_size
        assert size == SEGMENT_BYTES + extra, "a save that is larger than a segment gets one that it fits in"
        assert tuple(reopen(journal, directory).entries) == entries


def test_counters_tell_syncs_bytes_segments_and_their_size(tmp_path: Path) -> None:
    """A save is one sync; a rotation one more."""
    journal, _recovered = open_at(tmp_path)
    entries = make_entries(1, 1, b"a", b"b")
    journal.save(HardState(1), entries)
    one_save = SEAL_BYTES + sum(len(entry.record) for entry in entries)
    assert (journal.syncs, journal.bytes_written, journal.segments) == (1, one_save, 1)

    journal.save(None, make_entries(3, 1, b"c" * SEGMENT_BYTES))

    assert (journal.syncs, journal.segments) == (3, 2)
    assert journal.file_bytes == sum(path.stat().st_size for path in tmp_path.glob("segment-*"))
    journal.close()


@pytest.mark.parametrize(
    ("hard_state", "entries", "why"),
    [
        (None, make_entries(4, 2, b"x"), "entry 4 would leave a gap after entry 2"),
        (None, make_entries(0, 2, b"x"), "entry 0 would leave a gap"),
        (None, (*make_entries(3, 2, b"x"), *make_entries(5, 2, b"x")), "the entries after 3 do not follow each other"),
        (None, (Entry.create(2, 3, KIND_OWN_MIN, b""),), "a kind that only the journal itself may use"),
        (HardState(1, 0, 0), (), "the term would go back from 2 to 1"),
        (HardState(2, 0, 0), (), "the vote of term 2 would change from 1 to 0"),
        (HardState(2, None, 0), (), "the vote of term 2 would change from 1 to None"),
    ],
)
def test_a_save_that_breaks_a_rule_is_refused_and_changes_nothing(
    tmp_path: Path, hard_state: HardState | None, entries: tuple[Entry, ...], why: str
) -> None:
    """Gaps, foreign kinds and promises taken back are bugs of the caller; the journal stays usable (rows 1, 2)."""
    journal, _recovered = open_at(tmp_path)
    journal.save(HardState(2, 1, 0), make_entries(1, 2, b"one", b"two"))

    with pytest.raises(SaveRefused, match=why):
        journal.save(hard_state, entries)

    journal.save(HardState(2, 1, 2), make_entries(3, 2, b"three"))
    recovered = reopen(journal, tmp_path)
    assert State.of(recovered) == State(HardState(2, 1, 2), make_entries(1, 2, b"one", b"two", b"three"))


def test_a_record_that_could_not_be_read_again_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The longest record that is accepted when it is read is the longest that is written."""
    monkeypatch.setattr(extent, "LONGEST_RECORD_BYTES", 1008)
    monkeypatch.setattr(types, "RECORD_BYTES_MAX", 1000)
    room = 1008 - len(encode_record(1, 1, 2, b""))
    journal, _recovered = open_at(tmp_path)
    journal.save(None, make_entries(1, 1, b"x" * room))
    with pytest.raises(SaveRefused, match="longer than 1008 bytes"):
        journal.save(None, make_entries(2, 1, b"x" * (room + 1)))  # `Entry.create` refuses one beyond the real limit
    assert tuple(reopen(journal, tmp_path).entries) == make_entries(1, 1, b"x" * room)


def test_a_write_that_the_kernel_cuts_short_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel may take or give fewer bytes than were asked for; the file takes and gives all of them."""
    write, read = os.pwrite, os.pread
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: write(fd, data[:100], offset))
    monkeypatch.setattr(os, "pread", lambda fd, length, offset: read(fd, min(length, 100), offset))
    journal, _recovered = open_at(tmp_path)
    entries = make_entries(1, 1, bytes(range(256)) * 3)
    journal.save(None, entries)
    assert tuple(reopen(journal, tmp_path).entries) == entries


def test_a_closed_journal_takes_no_saves(tmp_path: Path) -> None:
    """To close twice does nothing, to save afterwards is refused."""
    journal, _recovered = open_at(tmp_path)
    journal.close()
    journal.close()
    with pytest.raises(SaveRefused, match="the journal is closed"):
        journal.save(HardState(1), ())


def test_a_directory_in_use_is_refused_in_one_line(tmp_path: Path) -> None:
    """The second opening names the process in the way, and works once the first one has closed."""
    journal, _recovered = open_at(tmp_path)

    with pytest.raises(JournalLocked) as caught:
        open_at(tmp_path)

    assert str(caught.value).startswith(f"the data directory {tmp_path} is in use by another process")
    assert "\n" not in str(caught.value)
    journal.close()
    open_at(tmp_path)[0].close()


def test_another_process_is_refused_and_a_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    """The lock holds between processes; its descriptor is closed in every program that is started."""
    journal, _recovered = open_at(tmp_path)
    descriptors = {each.resolve(): int(each.name) for each in Path("/proc/self/fd").iterdir()}
    lock = descriptors[(tmp_path / LOCK_NAME).resolve()]
    assert fcntl.fcntl(lock, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    program = (
        "import pathlib, sys; from kvraft.storage import Journal, JournalLocked\n"
        "try: Journal.open(pathlib.Path(sys.argv[1]), 0)\n"
        "except JournalLocked: print('locked')"
    )

    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True)

    assert done.stdout == "locked\n"
    journal.close()


def test_the_journal_of_another_node_is_refused(tmp_path: Path) -> None:
    """A wrong --id finds the other node's data and says so, and the lock is free again."""
    open_at(tmp_path, 1)[0].close()
    with pytest.raises(JournalMismatch, match=r"belongs to node 1, and this is node 0: start with --id 1"):
        open_at(tmp_path, 0)
    open_at(tmp_path, 1)[0].close()


def test_a_founder_stays_one_on_disk(tmp_path: Path) -> None:
    """The mark survives restarts, rotations, compactions and resets, at the highest commit index too."""
    journal, _recovered = open_at(tmp_path)
    state = HardState(1, 0, types.TERM_MAX, founder=True)
    journal.save(state, make_entries(1, 1, bytes(3000)))
    assert reopen(journal, tmp_path).hard_state == state

    journal, _recovered = open_at(tmp_path)
    journal.save(None, make_entries(2, 1, bytes(3000)))
    journal.compact(1, 1)
    journal.reset_to(7, 1)
    journal.save(HardState(2, None, 0, founder=True), ())

    assert reopen(journal, tmp_path).hard_state == HardState(2, None, 0, founder=True)


def test_a_founder_cannot_become_another(tmp_path: Path) -> None:
    """A save that would lose the mark is refused, in whatever way it comes."""
    journal, _recovered = open_at(tmp_path)
    journal.save(HardState(1, 0, 0, founder=True), ())
    for save in (lambda: journal.save(HardState(2, 1, 0), ()), lambda: journal.reset_to(5, 2, HardState(2))):
        with pytest.raises(SaveRefused, match="took part in the birth"):
            save()
    assert reopen(journal, tmp_path).hard_state == HardState(1, 0, 0, founder=True)


def test_a_journal_in_which_a_founder_is_none_any_more_is_damaged(tmp_path: Path) -> None:
    """No kvraft writes such a save."""
    journal, _recovered = open_at(tmp_path)
    journal.save(HardState(1, 0, 0, founder=True), ())
    journal.close()
    forge(OsFiles(), tmp_path, [], HardState(1, 0, 0))
    with pytest.raises(JournalDamaged, match="took part in the birth of its cluster, and this save says that it did"):
        open_at(tmp_path)


def test_the_journal_of_a_later_version_is_refused(tmp_path: Path) -> None:
    """A format that this kvraft does not know is left alone."""
    open_at(tmp_path)[0].close()
    payload = (FORMAT_VERSION + 1).to_bytes(2, "big") + b"nobody knows yet"
    segment_path(tmp_path, 1).write_bytes(encode_record(0, 1, KIND_SEGMENT, payload))
    with pytest.raises(JournalMismatch, match=rf"has the journal format {FORMAT_VERSION + 1}, .* run the version"):
        open_at(tmp_path)


def test_a_draft_is_removed_and_noted(tmp_path: Path) -> None:
    """A segment that a crash left unfinished is no part of the journal; other files are left alone."""
    journal, _recovered = open_at(tmp_path)
    draft = tmp_path / (segment_path(tmp_path, 2).name + ".draft")
    draft.write_bytes(b"unfinished")
    stranger = tmp_path / "notes.txt"
    stranger.write_bytes(b"mine")

    recovered = reopen(journal, tmp_path)

    assert not draft.exists()
    assert stranger.exists()
    assert any(str(draft) in note for note in recovered.notes)


def test_names_of_segments_are_told_from_others() -> None:
    """Only names that the journal itself makes are its own."""
    name = segment_path(Path("/data"), 12).name
    assert segment_number(name) == 12
    assert is_draft(name + ".draft")
    for other in ("lock", "segment-", "segment-1", name + "0", name + ".draft", name[:-1] + "x", name[:-1] + "²"):
        assert segment_number(other) is None
        assert other == name + ".draft" or not is_draft(other)
    assert not is_draft("notes.draft")


def test_records_of_the_journal_have_the_documented_sizes() -> None:
    """A header and its length agree, and it reads back as it was."""
    header = SegmentHeader(3, 1 << 24, 7, bytes(range(16)), 99, 1000)
    record = encode_header(header)
    assert len(record) == HEADER_BYTES
    assert decode_header(record) == header
    assert KIND_SEAL >= KIND_OWN_MIN


def test_zero_pieces_are_counted_as_a_dumb_twin_counts_them() -> None:
    """The quick count agrees with a slow one, for saves at any offset."""
    rng = random.Random(3)
    for _ in range(2000):
        start = rng.randrange(2000)
        save = b"".join(rng.choice((bytes(rng.randrange(1200)), b"x" * rng.randrange(3))) for _ in range(4))
        pieces: dict[int, bytes] = {}
        for position in range(len(save)):
            sector = (start + position) // 512
            pieces[sector] = pieces.get(sector, b"") + save[position : position + 1]
        assert count_zero_pieces(save, start) == sum(not any(piece) for piece in pieces.values())
