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
    """Where the log of this process goes."""

    has_begun: bool = False
    """Whether what is logged is written anywhere yet."""
    is_stdout: bool = False
    """Whether that is the standard output of this process, which a person sees as stderr is seen."""


LOG_PLACE: Final = LogPlace()
"""There is one log in a process; `logs` begins it."""


def leave(status: int, why: str) -> NoReturn:
    """End the process before the reactor runs: say why on stderr, and in the log as well where that is elsewhere."""
    if LOG_PLACE.has_begun and not LOG_PLACE.is_stdout:
        _log.critical("{why}", why=why)
    _say(why)
    raise SystemExit(status)


def leave_at_once(status: int, why: str) -> NoReturn:
    """End the process from within the reactor, which swallows SystemExit and would go on.

    Says why in the log, and on stderr as well where the log is elsewhere. Nothing is cleaned up, and nothing needs to
    be: whoever calls this can trust its own disk or state no more.
    """
    try:
        _log.critical("{why}", why=why)
        if not LOG_PLACE.is_stdout:
            _say(why)
        sys.stdout.flush()
    finally:  # also when nobody listens any more
        os._exit(status)


def interrupted(why: str) -> NoReturn:
    """End the process before the reactor runs as Ctrl-C ends any: by its signal, which a shell shows as 130."""
    if LOG_PLACE.has_begun and not LOG_PLACE.is_stdout:
        _log.warn("{why}", why=why)
    _say(why)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)
    raise SystemExit(128 + signal.SIGINT)  # where the signal is blocked


def _say(why: str) -> None:
    """Say it on the real stderr: once the log has begun, twistd has sys.stderr lead there."""
    stream = sys.__stderr__ or sys.stderr
    stream.write(f"kvraft: {why}\n")
    stream.flush()
