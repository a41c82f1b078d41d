"""The clock that the reactor's timers follow."""

import time
from collections.abc import Callable
from typing import Any


def use_monotonic_time(reactor: Any, monotonic: Callable[[], float] = time.monotonic) -> None:
    """Make the reactor's timers follow the monotonic clock.

    By default Twisted's timers follow the wall clock: a jump of one hour forward fires every timer at once, and a jump
    of one hour backward stops elections and heartbeats for an hour. Call this before anything is scheduled. No other
    code changes the reactor's clock.
    """
    reactor.seconds = monotonic
