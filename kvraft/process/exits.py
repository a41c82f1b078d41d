"""Ends the process when the node cannot go on: with one line that says what to do, and an exit status."""

import os
import signal
import sys
from typing import Final, NoReturn

import attrs
from twisted.logger import Logger

_log: Final = Logger(namespace="kvraft")


@attrs.define
class LogPlace:
    """The destination of this process's log."""

    has_begun: bool = False
    """Whether log events are written already."""
    is_stdout: bool = False
    """Whether the log goes to standard output, where a person sees it next to stderr."""


LOG_PLACE: Final = LogPlace()
"""The one log of this process; `logs` begins it."""


def leave(status: int, why: str) -> NoReturn:
    """End the process before the reactor runs; write the reason to stderr, and to the log if that is elsewhere."""
    if LOG_PLACE.has_begun and not LOG_PLACE.is_stdout:
        _log.critical("{why}", why=why)
    _say(why)
    raise SystemExit(status)


def leave_at_once(status: int, why: str) -> NoReturn:
    """End the process from within the reactor, which swallows SystemExit and would go on.

    Writes the reason to the log, and to stderr if the log is elsewhere. Nothing is cleaned up: the caller's disk or
    state can no longer be trusted.
    """
    try:
        _log.critical("{why}", why=why)
        if not LOG_PLACE.is_stdout:
            _say(why)
        sys.stdout.flush()
    finally:  # even if the streams are closed
        os._exit(status)


def interrupted(why: str) -> NoReturn:
    """End the process before the reactor runs by the signal of Ctrl-C, which a shell shows as status 130."""
    if LOG_PLACE.has_begun and not LOG_PLACE.is_stdout:
        _log.warn("{why}", why=why)
    _say(why)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)
    raise SystemExit(128 + signal.SIGINT)  # if the signal is blocked


def _say(why: str) -> None:
    """Write to the real stderr: once the log has begun, twistd redirects sys.stderr to it."""
    stream = sys.__stderr__ or sys.stderr
    stream.write(f"kvraft: {why}\n")
    stream.flush()
