"""Ends a run in which the code under test goes round for ever: no event follows, so no check would be made."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

RUN_S_MAX: Final = 5.0
"""Processor time that one run may take, seconds, and"""
SECOND_S_MAX: Final = 1.0
"""so much more for each virtual second: more than twenty times what it takes."""


class Endless(BaseException):
    """A run takes too long. No `Exception`: what is under test catches those."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise Endless when what is done meanwhile takes more processor time; only in the main thread of a process.

    While the steps of the code are counted it takes much longer, and nothing is raised.
    """
    if threading.current_thread() is not threading.main_thread() or sys.gettrace() is not None:
        yield
        return

    def bark(_number: int, frame: FrameType | None) -> None:
        place = f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else "somewhere"
        raise Endless(f"no end after {seconds:g} s of CPU: {place}")

    before = signal.signal(signal.SIGVTALRM, bark)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        signal.signal(signal.SIGVTALRM, before)
