"""Freed memory: when it is given back, and that the kernel gets it."""

import subprocess
import sys
from itertools import accumulate
from typing import Final

from kvraft.process.freed_memory import IDLE, LOOK_S, rests

BUSY: Final = 2 * IDLE * LOOK_S
QUIET: Final = 0.5 * IDLE * LOOK_S


def test_it_is_given_back_once_after_work() -> None:
    """Under load it is left alone, and a node that stays idle has nothing more to give."""
    used = accumulate([QUIET, BUSY, BUSY, QUIET, QUIET, BUSY, QUIET])
    assert list(rests(used)) == [False, False, False, True, False, False, True]


def test_a_process_that_was_busy_gives_its_memory_back() -> None:
    """A process fills its memory and frees most of it, but for what lies at the end; then it waits."""
    program = """
import time
from kvraft.process import freed_memory
from kvraft.process.memory import resident_bytes

freed_memory.LOOK_S = 0.3
freed_memory.give_back_freed_memory()
held = [bytes(1000) for _ in range(200_000)]
end = time.process_time() + 0.3
while time.process_time() < end:
    pass
del held[:-1]
for _ in range(100):
    time.sleep(0.1)
    if resident_bytes() < 100 << 20:
        break
print(resident_bytes() >> 20)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert int(ran.stdout) < 100, "200 MB were freed"
