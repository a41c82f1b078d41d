"""Lists that the garbage collector does not follow.

A pass of the collector looks at each object in each list that it follows, and a store has as many as it has keys. Most
are in no cache of the processor, so the pass takes longer than a turn may (measured: 87 ms for 5,000,000 keys). The
collector finds reference cycles, and a list of keys is part of none. Dicts and tuples of such content it leaves out
after its first pass, but lists never. Where as many changes are dropped as are added, that first pass comes late: it
runs when there are 5,000 containers more than before, however many are new (measured: 64,000 new tuples, 15 ms).
"""

import ctypes
from typing import Any, Final, TypeVar

_Content = TypeVar("_Content", bound=list[Any])
_Row = TypeVar("_Row", bound=tuple[Any, ...])

_untrack: Final = ctypes.pythonapi.PyObject_GC_UnTrack
_untrack.argtypes = (ctypes.py_object,)
_untrack.restype = None


def untracked(content: _Content) -> _Content:
    """Let the collector not follow a list, and return it.

    Nothing in it may refer to it, now or later: such a cycle would never be freed. A copy or a slice of it is followed.
    """
    _untrack(content)
    return content


def untracked_rows(rows: list[_Row]) -> list[_Row]:
    """Let the collector follow neither a list of tuples nor the tuples in it, and return it; see `untracked`."""
    for row in rows:
        _untrack(row)
    return untracked(rows)
