"""What recovery makes of bytes that are not as they were written (row 17)."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import attrs
import pytest

from kvraft.raft.types import HardState
from kvraft.simulation.disk import Disk, Inode
from kvraft.storage import Journal, JournalDamaged, Recovered
from kvraft.storage.layout import HEADER_BYTES, SEAL_BYTES
from kvraft.storage.recovery import replay_directory
from kvraft.storage.segments import segment_path
from tests.storage.story import (
    DIRECTORY,
    INCARNATION,
    NODE_ID,
    Lost,
    Save,
    State,
    check,
    make_entries,
    open_journal,
    states_of,
)

FIRST: Final = segment_path(DIRECTORY, 1)
SECOND: Final = segment_path(DIRECTORY, 2)
THIRD: Final = segment_path(DIRECTORY, 3)

SEGMENT_BYTES: Final = 4096

SMALL: Final = (
    Save(HardState(1, 0, 0)),
    Save(None, make_entries(1, 1, b"", b"one")),
    Save(HardState(2, 1, 1), make_entries(2, 2, b"two" * 100)),
    Save(HardState(2, 1, 2), make_entries(3, 2, bytes(1100), b"z" * 420)),
)
"""A journal that fits in one segment; its last save covers several sectors and has a piece of zeros by right."""


@attrs.frozen
class Written:
    """Files as a story has left them, to be damaged again and again."""

    contents: dict[Path, bytes]
    states: list[State]
    ends: list[int]
    """Where each save ends in its segment."""

    def recover(self, path: Path, damage: Callable[[bytes], bytes]) -> Recovered:
        """Open a copy of the journal with one file damaged."""
        disk = Disk()
        for each, content in self.contents.items():
            changed = bytearray(damage(content) if each == path else content)
            disk.inodes[each] = Inode(changed, bytearray(changed))
        opened, recovered = open_journal(disk)
        opened.close()
        disk.kill()
        again = open_journal(disk)[1]
        assert State.of(again) == State.of(recovered), "what was recovered must be found again"
        assert all("cut off" not in note for note in again.notes), "what was cut off must be gone"
        return recovered


def write(saves: tuple[Save, ...], segment_bytes: int = SEGMENT_BYTES) -> Written:
    """Return the files of a journal with these saves."""
    disk = Disk()
    journal, _recovered = Journal.open(
        DIRECTORY, NODE_ID, files=disk, make_incarnation=lambda: INCARNATION, segment_bytes=segment_bytes
    )
    ends = []
    for save in saves:
        journal.save(save.hard_state, save.entries)
        ends.append(replay_directory(disk, DIRECTORY, NODE_ID).end)
    return Written({path: bytes(inode.current) for path, inode in disk.inodes.items()}, states_of(saves), ends)


def break_off(cut: int) -> Callable[[bytes], bytes]:
    """Return a damage: zeros from offset `cut` on."""
    return lambda data: data[:cut].ljust(len(data), b"\0")


def replace_by(content: bytes) -> Callable[[bytes], bytes]:
    """Return a damage: another content."""
    return lambda _data: content


def truncate(length: int) -> Callable[[bytes], bytes]:
    """Return a damage: the file ends at `length`."""
    return lambda data: data[:length]


def flips(content: bytes) -> Iterator[tuple[int, Callable[[bytes], bytes]]]:
    """Yield, for every byte, its offset and two ways to damage it: all of its bits, and one of them."""
    for offset in range(len(content)):
        for mask in (0xFF, 1 << offset % 8):

            def flip(data: bytes, offset: int = offset, mask: int = mask) -> bytes:
                return data[:offset] + bytes((data[offset] ^ mask,)) + data[offset + 1 :]

            yield offset, flip


def judge(written: Written, path: Path, damage: Callable[[bytes], bytes], allowed: list[State]) -> State | None:
    """Return the state that was recovered, one of those allowed, or None after a refusal that says where."""
    try:
        recovered = written.recover(path, damage)
    except JournalDamaged as error:
        refusal = error
    else:
        state = State.of(recovered)
        check(state, allowed)
        left_over = damage(written.contents[path])[written.ends[-2] :].strip(b"\0")
        if state != written.states[-1] and left_over:
            assert any("cut off" in note for note in recovered.notes), "a save must not be dropped in silence"
        return state
    assert f"{refusal.path} is damaged at offset {refusal.offset}" in str(refusal)
    assert refusal.path == path
    return None


def test_a_file_that_was_truncated_is_refused_wherever_it_was_cut() -> None:
    """A segment has its full length before it is used, so no crash makes it shorter: every truncation is refused."""
    written = write(SMALL)
    for length in range(SEGMENT_BYTES):
        assert judge(written, FIRST, truncate(length), []) is None


def test_every_flipped_byte_of_a_file_gives_the_whole_state_or_a_refusal_or_drops_the_last_save() -> None:
    """Nothing but the last save is ever dropped, whichever byte is wrong."""
    written = write(SMALL)
    outcomes = {"whole": 0, "refused": 0, "dropped": 0}
    for offset, flip in flips(written.contents[FIRST]):
        state = judge(written, FIRST, flip, written.states[-2:])
        outcome = "refused" if state is None else "whole" if state == written.states[-1] else "dropped"
        outcomes[outcome] += 1
        if offset < written.ends[-1]:
            assert outcome != "whole", f"offset {offset} of a complete save"
            assert outcome == "refused" or offset == written.ends[-1] - 1, f"offset {offset} of a complete save"
        else:
            assert outcome == "whole", f"offset {offset} after all saves"
    assert outcomes["dropped"] <= 1, "only a last byte of zero looks like a save that was interrupted"


def test_a_save_that_breaks_off_into_zeros_is_dropped_as_a_whole() -> None:
    """The last save cut at any byte, with zeros after, as on a preallocated file: the state before it, and a note."""
    written = write(SMALL)
    begin, end = written.ends[-2:]
    for cut in range(begin, end):
        state = judge(written, FIRST, break_off(cut), written.states[-2:-1])
        assert state is not None, f"a write that was interrupted at {cut} must not keep the node from starting"


@pytest.mark.parametrize("missing", range(1, 16))
def test_a_save_with_missing_sectors_is_dropped(missing: int) -> None:
    """Whichever sectors of the last save were not written, it is dropped and noted, its sound entries included.

    A sector that should hold zeros looks the same when it was not written; if only such are missing nothing is lost.
    """
    written = write(SMALL)
    begin, end = written.ends[-2:]
    sectors = range(begin // 512, -(-end // 512))
    assert len(sectors) == 4

    def tear(data: bytes) -> bytes:
        torn = bytearray(data)
        for position, sector in enumerate(sectors):
            if missing >> position & 1:
                lower, upper = max(sector * 512, begin), min((sector + 1) * 512, end)
                torn[lower:upper] = bytes(upper - lower)
        return bytes(torn)

    unchanged = tear(written.contents[FIRST]) == written.contents[FIRST]
    state = judge(written, FIRST, tear, written.states[-1:] if unchanged else written.states[-2:-1])

    assert state is not None, "an interrupted write must not keep the node from starting"


def long_journal() -> Written:
    """Return a journal of three segments that ends with an override of entries in the first."""
    payload = b"p" * 500
    written = write(
        (
            Save(HardState(1, 0, 0), make_entries(1, 1, payload)),
            Save(None, make_entries(2, 1, payload)),
            Save(None, make_entries(3, 1, payload)),
            Save(None, make_entries(4, 1, payload)),
            Save(None, make_entries(5, 1, payload)),
            Save(HardState(2, None, 1), make_entries(2, 2, b"new", b"new")),
        ),
        segment_bytes=1500,
    )
    assert len(written.contents) == 3
    return written


def test_every_flipped_byte_before_the_last_segment_is_refused() -> None:
    """A segment that has a successor is wholly sound, and zeros after its last save, or the node does not start."""
    written = long_journal()
    for path in (FIRST, SECOND):
        for offset, flip in flips(written.contents[path]):
            assert judge(written, path, flip, []) is None, f"{path} at {offset}"


def test_saves_that_vanished_before_a_later_segment_are_refused() -> None:
    """A last save that is all zeros looks like a clean end, but the next segment shows that it is none."""
    written = long_journal()
    begin = written.ends[0]
    with pytest.raises(
        JournalDamaged, match="save 1 ends here, and segment-0000000000000002 goes on after 2"
    ) as caught:
        written.recover(FIRST, break_off(begin))
    assert (caught.value.path, caught.value.offset) == (FIRST, begin)


def test_damage_names_the_file_the_offset_and_what_to_do() -> None:
    """The text is enough for a person who sees it for the first time, at night."""
    written = write(SMALL)
    offset = written.ends[0] + 40

    with pytest.raises(JournalDamaged) as caught:
        written.recover(FIRST, lambda data: data[:offset] + b"?" + data[offset + 1 :])

    text = str(caught.value)
    assert f"{FIRST} is damaged at offset {caught.value.offset}" in text
    assert written.ends[0] <= caught.value.offset <= offset
    assert "a complete later save exists" in text
    assert f"move the directory {DIRECTORY} away as a whole" in text
    assert "join again as a new member" in text


@pytest.mark.parametrize(("path", "named"), [(FIRST, SECOND), (SECOND, THIRD)])
def test_a_missing_segment_is_refused_by_name(path: Path, named: Path) -> None:
    """Segments are numbered without gaps."""
    written = long_journal()
    del written.contents[path]
    with pytest.raises(JournalDamaged, match=f"{path.name}, which must come before it, is missing") as caught:
        written.recover(path, bytes)
    assert caught.value.path == named


def test_a_segment_of_another_journal_is_refused() -> None:
    """Files of two journals do not mix, even when node, number and saves agree."""
    written, stranger = long_journal(), long_journal()
    disk = Disk()
    for path, content in stranger.contents.items():
        changed = bytearray(content)
        disk.inodes[path] = Inode(changed, bytearray(changed))
    other = Journal.open(DIRECTORY / "other", NODE_ID, files=disk, make_incarnation=lambda: "f" * 32)[0]
    other.save(HardState(1, 0, 0), make_entries(1, 1, b"x"))
    written.contents[segment_path(DIRECTORY, 4)] = bytes(disk.inodes[segment_path(DIRECTORY / "other", 1)].current)
    with pytest.raises(JournalDamaged, match="somebody has renamed it"):
        written.recover(FIRST, bytes)


@pytest.mark.parametrize("damaged", [1, 2])
def test_damage_is_not_excused_by_an_interrupted_save_behind_it(damaged: int) -> None:
    """A flipped byte in a confirmed save is refused even when the power failed in the middle of the last save.

    Every byte of the last or the last but one confirmed save is flipped, while the last save breaks off in its middle,
    at its last byte, or misses its first sectors.
    """
    written = write(SMALL)
    begin, end = written.ends[2:]
    broken = [written.contents[FIRST][:cut].ljust(SEGMENT_BYTES, b"\0") for cut in (begin + 60, end - 1)]
    broken.append(written.contents[FIRST][:begin].ljust(1536, b"\0") + written.contents[FIRST][1536:])
    for content in broken:
        for wrong in range(written.ends[damaged - 1], written.ends[damaged]):
            flipped = content[:wrong] + bytes((content[wrong] ^ 0xFF,)) + content[wrong + 1 :]
            assert judge(written, FIRST, replace_by(flipped), []) is None, f"flipped {wrong}"


def test_a_value_that_imitates_a_seal_changes_nothing() -> None:
    """A client that stores the bytes of a seal neither ends a save nor keeps a torn one from being dropped."""
    written = write(SMALL)
    seal = written.contents[FIRST][written.ends[0] - SEAL_BYTES : written.ends[0]]
    forged = write((SMALL[0], Save(None, make_entries(1, 1, seal.replace(bytes.fromhex(INCARNATION), b"g" * 16) * 9))))
    assert State.of(forged.recover(FIRST, bytes)) == forged.states[-1]

    cut = (HEADER_BYTES + 600) // 512 * 512
    torn = forged.recover(FIRST, break_off(cut))

    assert State.of(torn) == forged.states[-2]


def test_a_value_that_names_the_node_keeps_no_torn_save_from_being_dropped() -> None:
    """A client that stores what MEMBERS shows of a node must not stop it from starting after a power failure."""
    shown = bytes.fromhex(write(SMALL).recover(FIRST, bytes).incarnation)
    written = write((SMALL[0], Save(None, make_entries(1, 1, b"a" * 100 + shown + b"b" * 900))))
    for cut in range(HEADER_BYTES // 512 * 512 + 512, written.ends[1], 512):
        recovered = written.recover(FIRST, break_off(cut))
        assert State.of(recovered) == written.states[-2], f"broken off at {cut}"
        assert recovered.incarnation == shown.hex()


def test_the_check_of_a_recovered_state_can_fail() -> None:
    """A state that is none of those allowed is reported."""
    written = write(SMALL)
    with pytest.raises(Lost):
        judge(written, FIRST, bytes, written.states[:-1])
