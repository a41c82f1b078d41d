"""The garbage collector of this process: all that kvraft does to it is done here.

While a store is loaded the collector would look at every key again and again, and find nothing: at 1 million keys a
pass takes longer than a turn may (measured: 114 ms). So who loads lets it rest, for a bounded time: a `Rest` that is
not renewed is over after `REST_S_MAX`, be it that a disk hangs on which its holder waits. The collector works when
nobody's rest is left.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

REST_S_MAX: Final = 1.0
"""Longest time that the collector rests without a sign of its holder, seconds."""
THRESHOLD: Final = (20_000, 20, 50)
"""Fewer, larger collections than by default: nearly everything here is freed by its reference count."""

_resting: set[object] = set()
"""Who lets the collector rest. It is the process's, and so is this."""


def set_up() -> None:
    """Let the collector look less often than it does by default."""
    gc.set_threshold(*THRESHOLD)


def hide_all() -> None:
    """Hide from the collector whatever there is, without a pass over it.

    Also what is no key: a little garbage that is never found, a stall that never comes.
    """
    gc.freeze()


@contextmanager
def resting() -> Iterator[None]:
    """Let the collector rest while a block runs that gives nobody else a turn."""
    holder = object()
    _begin(holder)
    try:
        yield
    finally:
        _end(holder)


class Rest:
    """Lets the collector rest across turns, for `REST_S_MAX` after each `renew`."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._timeout: IDelayedCall | None = None

    def renew(self) -> None:
        """Let it rest (on)."""
        _begin(self)
        if self._timeout is None:
            self._timeout = self._clock.callLater(REST_S_MAX, self._expire)
        else:
            self._timeout.reset(REST_S_MAX)

    def end(self) -> None:
        """Let it work again, unless somebody else has a reason."""
        if self._timeout is not None:
            self._timeout.cancel()
        self._expire()

    def _expire(self) -> None:
        self._timeout = None
        _end(self)


def end_all() -> None:
    """Let the collector work whoever wants it to rest: a process has ended that was only simulated."""
    _resting.clear()
    gc.enable()


def _begin(holder: object) -> None:
    _resting.add(holder)
    gc.disable()


def _end(holder: object) -> None:
    _resting.discard(holder)
    if not _resting:
        gc.enable()
