"""The clock that the reactor's timers follow."""

import time
from collections.abc import Callable
from typing import Any


def use_monotonic_time(reactor: Any, monotonic: Callable[[], float] = time.monotonic) -> None:
    """Let the reactor's timers follow the monotonic clock.

    Twisted's follow the wall clock: a jump of one hour forward fires every timer at once, one backward stops elections
    and heartbeats for an hour. This must happen before anything is scheduled, and happens only here.
    """
    reactor.seconds = monotonic
