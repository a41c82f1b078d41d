"""Gives memory that was freed back to the kernel once a busy node is idle again (glibc).

The C library keeps what a program frees, for the next time, unless it lies at the end of the heap. Under a stream of
large writes there is always something in use near the end. So a node that was busy once would keep the most that it
ever took.
"""

import ctypes
import time
from collections.abc import Callable, Iterable, Iterator
from threading import Thread
from typing import Final

LOOK_S: Final = 10.0
"""Between two looks at how busy this process is, seconds."""
IDLE: Final = 0.05
"""With less than this share of one processor it is idle: a node without requests takes less than 0.01."""


def rests(processor_s: Iterable[float]) -> Iterator[bool]:
    """Yield for each look whether the process has just become idle after it was busy; given its processor time so far.

    To give back memory may hold other threads up for some ten milliseconds, and it has to be taken anew later. So it is
    done once after work, and not under load.
    """
    before, was_busy = 0.0, False
    for used in processor_s:
        is_busy = used - before >= IDLE * LOOK_S
        yield was_busy and not is_busy
        before, was_busy = used, is_busy


def give_back_freed_memory() -> None:
    """Do so from now on, in a thread of its own that lives as long as the process; nothing where glibc is not used."""
    trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        Thread(target=_give_back_for_ever, args=(trim,), name="freed memory", daemon=True).start()


def _give_back_for_ever(trim: Callable[[int], int]) -> None:
    for is_idle_again in rests(_processor_s()):
        if is_idle_again:
            trim(0)


def _processor_s() -> Iterator[float]:
    while True:
        time.sleep(LOOK_S)
        yield time.process_time()
