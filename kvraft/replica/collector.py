"""Controls Python's garbage collector; no other module of kvraft does.

The collector follows nothing of a store that grows with it: no items and no dicts of them (`kvraft.commands.Item`), and
no lists of keys and of changes (`kvraft.store.untracked`). So its passes are short however large the store is. While a
store is loaded it would scan what is decoded again and again and find nothing, so the loader disables it for a bounded
time: a `Rest` that is not renewed ends after `REST_S_MAX`, for example when its holder waits for a disk that hangs. The
collector is enabled when no rest is left.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

REST_S_MAX: Final = 1.0
"""Longest time that a `Rest` lasts after its last renewal, seconds."""
THRESHOLD: Final = (5_000, 20, 50)
"""Fewer, larger collections than by default: nearly everything here is freed by its reference count. A collection of
20,000 objects that were in no processor's cache took up to 19 ms (measured, while keys expired)."""

_resting: set[object] = set()
"""The holders of a rest. Global, because the collector is one for the whole process."""


def set_up() -> None:
    """Let the collector run less often than by default."""
    gc.set_threshold(*THRESHOLD)


def hide_all() -> None:
    """Exclude all present objects from collection, without a pass over them.

    Garbage among them is never freed; it is little, and a pass to find it would stall the node.
    """
    gc.freeze()


@contextmanager
def resting() -> Iterator[None]:
    """Disable the collector during a block of code that does not return to the reactor."""
    holder = object()
    _begin(holder)
    try:
        yield
    finally:
        _end(holder)


class Rest:
    """Disables the collector across turns, for `REST_S_MAX` after each `renew`."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._timeout: IDelayedCall | None = None

    def renew(self) -> None:
        """Begin the rest, or extend it."""
        _begin(self)
        if self._timeout is None:
            self._timeout = self._clock.callLater(REST_S_MAX, self._expire)
        else:
            self._timeout.reset(REST_S_MAX)

    def end(self) -> None:
        """Enable the collector again, unless another rest lasts."""
        if self._timeout is not None:
            self._timeout.cancel()
        self._expire()

    def _expire(self) -> None:
        self._timeout = None
        _end(self)


def end_all() -> None:
    """End every rest: a simulated process has ended, and its holders never end theirs."""
    _resting.clear()
    gc.enable()


def _begin(holder: object) -> None:
    _resting.add(holder)
    gc.disable()


def _end(holder: object) -> None:
    _resting.discard(holder)
    if not _resting:
        gc.enable()
