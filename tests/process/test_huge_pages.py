"""Huge pages: which memory is asked for, and that the kernel gives them."""

import mmap
import re
from pathlib import Path

import pytest

from kvraft.process import huge_pages
from kvraft.process.huge_pages import HUGE_PAGE_BYTES, PAGES_MIN, advise_all, available, regions, slices
from kvraft.process.memory import resident_bytes

MAPS = """\
00400000-00c00000 rw-p 00000000 fe:00 1    /usr/bin/python3
01000000-02000000 rw-p 00000000 00:00 0    [heap]
7f0000000000-7f0000100000 rw-p 00000000 00:00 0
7f0000200000-7f0001000000 rw-p 00000000 00:00 0
7f0002000000-7f0003000000 rw-s 00000000 00:05 7    /dev/zero (deleted)
7f0004000000-7f0004001000 ---p 00000000 00:00 0
7f0004001000-7f0004801000 rw-p 00000000 00:00 0
7f0005000000-7f0006000000 r--p 00000000 00:00 0
7ffd00000000-7ffd00800000 rw-p 00000000 00:00 0    [stack]
"""


def test_asks_for_large_anonymous_memory_and_not_for_stacks() -> None:
    """Regions of files, of other processes, too small ones and stacks are left alone."""
    assert list(regions(MAPS.splitlines())) == [(0x01000000, 0x02000000), (0x7F0000200000, 0x7F0001000000)]


def test_leaves_memory_alone_where_the_administrator_said_never(tmp_path: Path) -> None:
    """The setting of the whole machine is respected."""
    setting = tmp_path / "enabled"
    assert not available(setting), "a kernel without huge pages"
    for text, expected in (
        ("always [madvise] never", True),
        ("[always] madvise never", True),
        ("always madvise [never]", False),
    ):
        setting.write_text(text)
        assert available(setting) is expected


def test_pauses_when_a_slice_has_taken_its_time() -> None:
    """Between two slices other threads may have their page faults served."""
    time_s = 0.0
    asked: list[tuple[int, int, int]] = []

    def advise(start: int, size: int, advice: int) -> bool:
        nonlocal time_s
        time_s += huge_pages.SLICE_S
        asked.append((start, size, advice))
        return True

    ranges = 9
    start = 5 * HUGE_PAGE_BYTES + 4096
    found = [(start, start + (ranges + 1) * HUGE_PAGE_BYTES)]
    pauses = sum(1 for _ in slices(found, advise, lambda _: PAGES_MIN, lambda: time_s))
    collapsed = [at for at, size, _ in asked if size == HUGE_PAGE_BYTES]
    assert collapsed == [place * HUGE_PAGE_BYTES for place in range(6, 6 + ranges)], "whole ranges within the region"
    assert pauses == ranges


def test_leaves_ranges_alone_that_are_hardly_used() -> None:
    """A huge page would take memory for what was freed, or never used."""
    pages = {2 * HUGE_PAGE_BYTES: PAGES_MIN, 3 * HUGE_PAGE_BYTES: PAGES_MIN - 1, 4 * HUGE_PAGE_BYTES: 0}
    collapsed: list[int] = []

    def advise(start: int, size: int, _advice: int) -> bool:
        if size == HUGE_PAGE_BYTES:
            collapsed.append(start)
        return True

    for _ in slices([(2 * HUGE_PAGE_BYTES, 5 * HUGE_PAGE_BYTES)], advise, lambda start: pages[start]):
        pass
    assert collapsed == [2 * HUGE_PAGE_BYTES]


@pytest.mark.skipif(not available(), reason="this kernel gives no transparent huge pages")
def test_memory_that_was_not_used_is_not_taken() -> None:
    """The kernel's count of the pages in use is asked for."""
    advise_all()  # for what other tests have filled
    with mmap.mmap(-1, 64 * HUGE_PAGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        for offset in range(0, len(memory), HUGE_PAGE_BYTES // 2):
            memory[offset] = 1
        before = resident_bytes()
        advise_all()
        after = resident_bytes()
    assert before is not None
    assert after is not None
    assert after - before < 8 * HUGE_PAGE_BYTES


@pytest.mark.skipif(not available(), reason="this kernel gives no transparent huge pages")
def test_the_kernel_gives_huge_pages() -> None:
    """As the kernel itself counts them."""
    with mmap.mmap(-1, 8 * HUGE_PAGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        for offset in range(0, len(memory), mmap.PAGESIZE):
            memory[offset] = 1
        before = _huge_kb()
        advise_all()
        after = _huge_kb()
    # Before Linux 6.1 marked memory becomes huge when it is written to for the first time, or much later.
    assert after >= before
    if _kernel() >= (6, 1):
        assert after > before


def _huge_kb() -> int:
    found = re.search(r"AnonHugePages: *(\d+)", Path("/proc/self/smaps_rollup").read_text())
    assert found is not None
    return int(found[1])


def _kernel() -> tuple[int, int]:
    major, minor = re.findall(r"\d+", Path("/proc/sys/kernel/osrelease").read_text())[:2]
    return int(major), int(minor)
