"""How a node ends when it cannot go on: one line that says what to do, and an exit status from sysexits.h."""

import os
import signal
import sys
from typing import Final, NoReturn, Self

import attrs
from twisted.logger import Logger

_log: Final = Logger(namespace="kvraft")

USAGE: Final = 64
"""The command line makes no sense."""
NOINPUT: Final = 66
"""The data directory is not the one that the cluster knows under this id: a disk was lost or emptied, or an older copy
put back. It does no good to start the node again; it must be replaced by one with a new id."""
NOHOST: Final = 68
"""No member of the cluster that is to be joined can be reached."""
REMOVED: Final = 69
"""The node was removed from its cluster. It does no good to start it again."""
OSERR: Final = 71
"""The operating system refused something: an address that is taken, a log file, one more open file."""
IOERR: Final = 74
"""The disk failed or holds what must not be believed, or the node found a fault in itself."""
PROTOCOL: Final = 76
"""The cluster speaks a later version than this kvraft. It does no good to start the node before it is upgraded."""
NOPERM: Final = 77
"""The cluster does not take this node in: its id or address is taken, or its data belong to another cluster."""
CONFIG: Final = 78
"""config.json is wrong, or names no such node."""


@attrs.define
class LogPlace:
    """Where the log of this process goes."""

    has_begun: bool = False
    """Whether what is logged is written anywhere yet."""
    is_stdout: bool = False
    """Whether that is the standard output of this process, which a person sees as stderr is seen."""


LOG_PLACE: Final = LogPlace()
"""There is one log in a process; `logs` begins it."""

_STATUS_BY_TRAIT: Final = (
    ("needs_upgrade", PROTOCOL),
    ("lost_data", NOINPUT),
    ("is_misconfigured", CONFIG),
    ("lacks_files", OSERR),
)
"""What an error may say of itself, and the status that befits it."""


class LastWords(str):
    """Why a node ends, and the status with which it does."""

    __slots__ = ("status",)

    status: int

    @classmethod
    def of(cls, status: int, why: str) -> Self:
        """Return `why` with its status."""
        words = cls(why)
        words.status = status
        return words


def status_of(why: str) -> int:
    """Return the status with which a node ends for this reason: IOERR unless the reason names another."""
    return why.status if isinstance(why, LastWords) else IOERR


def words_for(error: BaseException | None, why: str) -> LastWords:
    """Return `why` with the status that befits the error behind it."""
    status = next((status for trait, status in _STATUS_BY_TRAIT if getattr(error, trait, False)), IOERR)
    return LastWords.of(status, why)


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
