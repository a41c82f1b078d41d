"""Space is written with zeros before it is needed, so that a sync has only data to write."""

import os
from pathlib import Path

import pytest

from kvraft.raft.types import HardState
from kvraft.storage import Journal
from kvraft.storage.journal import ZEROS_AHEAD
from kvraft.storage.layout import SEAL_BYTES
from tests.storage.story import make_entries

SEGMENT_BYTES = 4 * ZEROS_AHEAD


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(offset, length) of every pwrite."""
    written: list[tuple[int, int]] = []
    pwrite = os.pwrite

    def watch(fd: int, data: bytes, offset: int) -> int:
        written.append((offset, len(data)))
        return pwrite(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", watch)
    return written


def test_most_saves_write_where_zeros_stand_already(tmp_path: Path, writes: list[tuple[int, int]]) -> None:
    """One save in many brings zeros along; the others write themselves alone, into space that was written before."""
    journal, _ = Journal.open(tmp_path, 0, segment_bytes=SEGMENT_BYTES)
    writes.clear()
    sizes = []
    for index in range(1, 101):
        entries = make_entries(index, 1, b"payload")
        journal.save(HardState(1, 0), entries)
        sizes.append(SEAL_BYTES + sum(len(entry.record) for entry in entries))
    journal.close()

    reached = writes[0][0]
    bring_zeros = 0
    for (offset, length), size in zip(writes, sizes, strict=True):
        bring_zeros += length > size
        assert length in {size, size + ZEROS_AHEAD}
        reached = max(reached, offset + length)
        assert offset + size <= reached
    assert bring_zeros == 1


def test_zeros_end_with_the_segment(tmp_path: Path, writes: list[tuple[int, int]]) -> None:
    """A segment never becomes longer than it was made, and what was saved around its end is read back."""
    journal, _ = Journal.open(tmp_path, 0, segment_bytes=ZEROS_AHEAD // 2)
    last = 0
    while journal.segments < 3:
        journal.save(HardState(1, 0), make_entries(last + 1, 1, *[b"x" * 100] * 20))
        last += 20
    journal.close()

    sizes = [path.stat().st_size for path in tmp_path.glob("segment-*")]
    _, recovered = Journal.open(tmp_path, 0, segment_bytes=ZEROS_AHEAD // 2)

    assert sizes == [ZEROS_AHEAD // 2] * 3
    assert recovered.entries[-1].index == last
    assert writes
