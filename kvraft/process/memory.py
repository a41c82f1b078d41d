"""How much memory this process holds."""

import resource
from pathlib import Path
from typing import Final

_STATM: Final = Path("/proc/self/statm")
"""Sizes of this process, in pages; the second is what it holds in memory (Linux, proc_pid_statm(5))."""


def resident_bytes() -> int | None:
    """Return how many bytes of memory this process holds; None where the system does not say."""
    try:
        return int(_STATM.read_bytes().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return None
