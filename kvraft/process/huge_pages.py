"""Huge pages for the memory of this process, where the kernel gives them to those that ask (Linux).

A store is read and written at random places. With pages of 4 KiB nearly every access to a key also misses the
processor's cache of page addresses (the TLB), and under virtualization such a miss costs several accesses to memory.
With huge pages of 2 MiB that cache covers the whole store: to replace the values of 100,000 keys at random takes a
quarter to a third less time (measured on a virtual machine; see benchmarks/README.md).

Most distributions let a process choose (`/sys/kernel/mm/transparent_hugepage/enabled` says "madvise"), and Python's
allocator does not ask. It maps 1 MiB at a time, so even where huge pages are always given, a new 2 MiB range is
seldom whole when it is first written to. Hence memory is not only marked, but ranges are also collapsed afterwards,
a few at a time, if nearly all of their pages are in use: a huge page takes 2 MiB, whatever it held before. Where an
administrator has said "never", nothing is done.

Other databases advise against huge pages since they fork to write a snapshot, and a fork copies a whole huge page for
each small write. kvraft never forks.
"""

import ctypes
import mmap
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from threading import Thread
from typing import Final

HUGE_PAGE_BYTES: Final = 2 * 1024 * 1024
"""On x86-64 and AArch64 with pages of 4 KiB. Where huge pages are larger, collapsing fails and does no harm."""
REGION_BYTES_MIN: Final = 2 * HUGE_PAGE_BYTES
"""A smaller region is left alone: the TLB covers it."""
PAUSE_S: Final = 5.0
"""Between two passes over all memory, seconds."""
PAGES_MIN: Final = HUGE_PAGE_BYTES // mmap.PAGESIZE * 7 // 8
"""A range with fewer pages in use is not collapsed: that would take memory that was given back, or never used."""
SLICE_S: Final = 0.01
"""Longest time that ranges are collapsed without a pause, seconds: a page fault of another thread may wait for each."""
SLICE_PAUSE_S: Final = 0.2
"""Pause between two slices of one pass, seconds."""

_MADV_HUGEPAGE: Final = 14
_MADV_COLLAPSE: Final = 25
"""Known to Linux from 6.1 on. Before, the kernel's own thread collapses what is marked, slowly."""
_SETTING: Final = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_MAPS: Final = Path("/proc/self/maps")
_PRIVATE_WRITABLE: Final = "rw-p"
_GUARD: Final = "---p"
_HEAP: Final = "[heap]"
_FIELDS_OF_ANONYMOUS: Final = 5


Advise = Callable[[int, int, int], bool]
"""Gives the kernel advice about memory: its start, its bytes, and the advice. Returns whether it was taken."""
CountPages = Callable[[int], int]
"""Returns how many pages of the `HUGE_PAGE_BYTES` from an address on are in use."""


def available(setting: Path = _SETTING) -> bool:
    """Whether the kernel has transparent huge pages and its administrator has not turned them off."""
    try:
        return "[never]" not in setting.read_text(encoding="ascii")
    except OSError:
        return False


def regions(maps: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Yield start and end of the regions in /proc/<pid>/maps that hold objects: anonymous, private and large.

    The stacks of threads are left out: each lies above a guard page, and a huge page would make a small one large.
    """
    guard_end = None
    for line in maps:
        fields = line.split()
        start, end = (int(address, 16) for address in fields[0].split("-"))
        if fields[1] == _GUARD:
            guard_end = end
            continue
        is_anonymous = len(fields) == _FIELDS_OF_ANONYMOUS or fields[_FIELDS_OF_ANONYMOUS] == _HEAP
        if is_anonymous and fields[1] == _PRIVATE_WRITABLE and start != guard_end and end - start >= REGION_BYTES_MIN:
            yield start, end


def slices(
    found: Iterable[tuple[int, int]],
    advise: Advise,
    count_pages: CountPages,
    now: Callable[[], float] = time.monotonic,
) -> Iterator[None]:
    """Mark each region, and collapse its full ranges; pause at each yield, after `SLICE_S` of work.

    A region may have been given back to the kernel meanwhile. Then the advice is refused, or meets other memory of this
    process, to which it does no harm.
    """
    until = now() + SLICE_S
    for start, end in found:
        advise(start, end - start, _MADV_HUGEPAGE)
        first = -(-start // HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES
        for address in range(first, end - HUGE_PAGE_BYTES + 1, HUGE_PAGE_BYTES):
            if count_pages(address) >= PAGES_MIN:
                advise(address, HUGE_PAGE_BYTES, _MADV_COLLAPSE)
            if now() >= until:
                yield
                until = now() + SLICE_S


def use_huge_pages() -> None:
    """Ask for huge pages from now on, in a thread of its own that lives as long as the process."""
    if available():
        Thread(target=_ask_for_ever, name="huge pages", daemon=True).start()


def advise_all() -> None:
    """Ask for huge pages for all that this process holds now, without a pause."""
    for _ in slices(_regions_of_this_process(), _advise(), _count_pages()):
        pass


def _ask_for_ever() -> None:
    advise, count_pages = _advise(), _count_pages()
    while True:
        time.sleep(PAUSE_S)
        for _ in slices(_regions_of_this_process(), advise, count_pages):
            time.sleep(SLICE_PAUSE_S)


def _regions_of_this_process() -> list[tuple[int, int]]:
    return list(regions(_MAPS.read_text(encoding="utf-8", errors="replace").splitlines()))


def _advise() -> Advise:
    madvise = ctypes.CDLL(None).madvise  # releases the interpreter's lock while it works
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    madvise.restype = ctypes.c_int

    def advise(start: int, size: int, advice: int) -> bool:
        return bool(madvise(start, size, advice) == 0)

    return advise


def _count_pages() -> CountPages:
    mincore = ctypes.CDLL(None).mincore  # releases the interpreter's lock while it works
    pages = ctypes.create_string_buffer(HUGE_PAGE_BYTES // mmap.PAGESIZE)
    mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p)
    mincore.restype = ctypes.c_int

    def count_pages(start: int) -> int:
        return pages.raw.count(1) if mincore(start, HUGE_PAGE_BYTES, pages) == 0 else 0

    return count_pages
