"""Snapshot files that are not as they were written, and what the opening does about them (rows 16, 17)."""

import zlib
from pathlib import Path

import pytest

from kvraft.raft.types import HardState, decode_record
from kvraft.simulation.disk import Disk
from kvraft.storage import Opened, Snapshot, SnapshotDamaged, open_storage
from kvraft.storage.memory_snapshots import MemoryFile
from kvraft.storage.snapshot_layout import (
    SnapshotCorrupt,
    encode_chunk,
    encode_footer,
    encode_snapshot_header,
    read_chunk,
    verify,
)
from tests.storage.snapshotting import loaded, make_header, make_id, open_all, receive, sent, snapshot_files, take
from tests.storage.story import State, make_entries


def small_file() -> bytes:
    """Return the bytes of a small snapshot with several chunks."""
    data = sent(2, 50)[1]
    assert len(list(records_of(data))) == 5
    return data


def records_of(data: bytes) -> list[bytes]:
    """Return the records of a file."""
    records, at = [], 0
    while at < len(data):
        records.append(decode_record(data, at).record)
        at += len(records[-1])
    return records


def is_sound(data: bytes) -> bool:
    """Whether these bytes verify."""
    try:
        verify(MemoryFile(bytearray(data)))
    except SnapshotCorrupt:
        return False
    return True


def test_every_truncation_is_detected() -> None:
    """A file that ends anywhere before its end does not verify, and one with something after it neither."""
    data = small_file()
    assert is_sound(data)
    assert not any(is_sound(data[:length]) for length in range(len(data)))
    assert not is_sound(data + b"\0")


def test_every_flipped_byte_is_detected() -> None:
    """All bits of a byte or one of them: no byte of the file may be wrong."""
    data = small_file()
    for offset in range(len(data)):
        for mask in (0xFF, 1 << offset % 8):
            assert not is_sound(data[:offset] + bytes((data[offset] ^ mask,)) + data[offset + 1 :]), f"at {offset}"


def test_records_that_are_sound_but_do_not_belong_are_detected() -> None:
    """Chunks that are exchanged, missing, doubled or from another snapshot are found, and so is a foreign footer."""
    header, first, second, third, footer = records_of(small_file())
    foreign_chunk = encode_chunk(2, b"x" * (len(second) - 25))
    foreign = records_of(sent(3, 50)[1])
    for records in (
        (header, second, first, third, footer),
        (header, first, third, footer),
        (header, first, second, footer),
        (header, first, second, second, third, footer),
        (header, first, foreign_chunk, third, footer),
        (header, first, second, third, foreign[-1]),
        (foreign[0], first, second, third, footer),
        (header, header, first, second, third, footer),
        (first, second, third, footer),
        (header, first, second, third, footer, footer),
        (footer,),
        (),
    ):
        assert not is_sound(b"".join(records))
    with pytest.raises(SnapshotCorrupt, match="chunk 2 stands where chunk 1 should") as caught:
        verify(MemoryFile(bytearray(header + second + first + third + footer)))
    assert caught.value.offset == len(header)


def test_a_forged_length_is_not_believed() -> None:
    """A record that claims to be longer than any can be is refused before so much is read."""
    data = small_file()
    with pytest.raises(SnapshotCorrupt, match="impossible"):
        verify(MemoryFile(bytearray(b"\x40\0\0\0" + data[4:])))


def test_a_file_built_by_hand_verifies() -> None:
    """The checks of this file can pass: the layout is the documented one."""
    header = encode_snapshot_header(make_header(1, 5))
    body = header + encode_chunk(1, b"one") + encode_chunk(2, b"two")
    assert is_sound(body + encode_footer(make_id(1), 2, 6, len(body), zlib.crc32(body)))
    assert not is_sound(body + encode_footer(make_id(1), 2, 6, len(body), zlib.crc32(body) ^ 1))


def test_a_chunk_that_decayed_after_the_opening_is_refused_when_it_is_loaded() -> None:
    """Every chunk is verified again when it is read to be loaded."""
    data = bytearray(small_file())
    with pytest.raises(SnapshotCorrupt):
        read_chunk(MemoryFile(data), 3)
    disk = Disk()
    opened = open_all(disk)
    snapshot = take(opened.snapshots, make_header(2, 50))
    disk.inodes[snapshot.path].current[snapshot.size // 2] ^= 1
    with pytest.raises(SnapshotDamaged, match="is damaged at offset"):
        list(opened.snapshots.chunks(make_id(2)))


def prepared(disk: Disk, compact_to: int) -> tuple[Opened, Snapshot, Snapshot]:
    """Return a log of twenty entries with snapshots at 8 and 16, compacted."""
    opened = open_all(disk)
    opened.journal.save(HardState(1, 0, 0), make_entries(1, 1, *[b"x" * 300] * 20))
    first = take(opened.snapshots, make_header(1, 8))
    second = take(opened.snapshots, make_header(2, 16))
    opened.journal.compact(compact_to, 1)
    disk.kill()
    return opened, first, second


def spoil(disk: Disk, snapshot: Snapshot) -> None:
    """Change a byte of a file for good."""
    inode = disk.inodes[snapshot.path]
    inode.current[30] ^= 1
    inode.durable[30] ^= 1


def test_the_snapshot_before_a_damaged_one_is_used_when_the_log_reaches_back_to_it() -> None:
    """The damaged one is reported and removed; log and older snapshot are as they were (row 17)."""
    disk = Disk()
    _opened, first, second = prepared(disk, 8)
    spoil(disk, second)

    opened = open_all(disk)

    assert loaded(opened.snapshots) == first.header.id
    assert State.of(opened.recovered) == State(HardState(1, 0, 0), make_entries(9, 1, *[b"x" * 300] * 12), (8, 1))
    assert any(f"{second.path} is damaged at offset 0" in note for note in opened.recovered.notes)
    assert second.path not in disk.inodes
    take(opened.snapshots, make_header(3, 16))


@pytest.mark.parametrize("both", [False, True])
def test_a_damaged_snapshot_that_nothing_can_replace_keeps_the_node_from_starting(both: bool) -> None:
    """Where the log begins after the older one the node refuses, changes nothing, and says what and why."""
    disk = Disk()
    _opened, first, second = prepared(disk, 9)
    spoil(disk, second)
    if both:
        spoil(disk, first)
    before = {path: bytes(inode.current) for path, inode in disk.inodes.items()}

    with pytest.raises(SnapshotDamaged) as caught:
        open_all(disk)

    assert f"{second.path} is damaged at offset 0" in str(caught.value)
    assert "the log begins after entry 9 of term 1" in str(caught.value)
    assert ("there is no sound snapshot" if both else "the newest sound snapshot ends with entry 8") in str(
        caught.value
    )
    assert {path: bytes(inode.current) for path, inode in disk.inodes.items()} == before
    assert not disk.locks, "the directory is free for a repair"


def test_missing_snapshots_keep_the_node_from_starting() -> None:
    """A log that begins after nothing is half of the state."""
    disk = Disk()
    _opened, first, second = prepared(disk, 9)
    for snapshot in (first, second):
        del disk.inodes[snapshot.path]
    with pytest.raises(SnapshotDamaged, match="there is no sound snapshot before it"):
        open_all(disk)


def test_a_snapshot_of_another_term_than_the_beginning_of_the_log_is_refused() -> None:
    """Log and snapshot of two histories do not make one state."""
    disk = Disk()
    opened = open_all(disk)
    opened.journal.reset_to(8, 2)
    take(opened.snapshots, make_header(1, 8, 1))
    disk.kill()
    with pytest.raises(SnapshotDamaged, match=r"begins after entry 8 of term 2, .* ends with entry 8 of term 1"):
        open_all(disk)


def test_partial_files_that_are_overtaken_are_removed_at_the_opening() -> None:
    """Only a partial snapshot that is newer than the newest finished one may be gone on with."""
    disk = Disk()
    snapshots = open_all(disk).snapshots
    identity, data = sent(5, 10)
    own = snapshots.begin(make_header(1, 10))
    snapshots.receive(identity).write(0, data[:50])
    own.finish()
    assert len(snapshot_files(disk)) == 2
    disk.kill()
    opened = open_all(disk)
    assert len(snapshot_files(disk)) == 1
    assert any("which a crash left; nothing needs it" in note for note in opened.recovered.notes)


def test_a_damaged_snapshot_before_any_compaction_costs_nothing() -> None:
    """The log reaches back to its beginning, so the node starts without any snapshot."""
    disk = Disk()
    opened = open_all(disk)
    opened.journal.save(HardState(1), make_entries(1, 1, b"one"))
    spoil(disk, take(opened.snapshots, make_header(1, 1)))
    disk.kill()
    again = open_all(disk)
    assert again.snapshots.latest is None
    assert any("the log reaches back to its beginning" in note for note in again.recovered.notes)
    assert len(again.recovered.entries) == 1


def test_a_snapshot_under_another_name_is_not_taken_for_what_its_name_says(tmp_path: Path) -> None:
    """Renamed files do not make an old state a new one."""
    opened = open_storage(tmp_path, 0)
    path = take(opened.snapshots, make_header(1, 5)).path
    opened.journal.close()
    path.rename(path.with_name(path.name.replace(f"{5:016}", f"{9:016}")))
    again = open_storage(tmp_path, 0)
    assert again.snapshots.latest is None
    assert any("somebody has renamed it" in note for note in again.recovered.notes)
    again.journal.close()


@pytest.mark.parametrize(
    ("index", "term", "base", "left"),
    [(16, 1, (0, 0), 20), (16, 2, (16, 2), 0), (21, 1, (21, 1), 0), (500, 3, (500, 3), 0)],
)
def test_a_snapshot_that_the_log_does_not_know_of_is_reconciled(
    index: int, term: int, base: tuple[int, int], left: int
) -> None:
    """The same entry in the log: it stays (§7, step 6). Another one, or none: the log begins anew (row 16)."""
    disk = Disk()
    opened = open_all(disk)
    opened.journal.save(HardState(3, 1, 0), make_entries(1, 1, *[b"x"] * 20))
    receive(opened.snapshots, *sent(5, index, term))
    disk.crash(0.0)

    for _ in range(2):
        opened = open_all(disk)
        assert loaded(opened.snapshots) == make_id(5)
        assert State.of(opened.recovered) == State(HardState(3, 1, 0), make_entries(1, 1, *[b"x"] * left), base)
        disk.crash(0.0)
