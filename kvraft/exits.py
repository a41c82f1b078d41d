"""How a node ends when it cannot go on: one line that says what to do, and an exit status from sysexits.h."""

import os
import sys
from typing import Final, NoReturn

USAGE: Final = 64
"""The command line makes no sense."""
OSERR: Final = 71
"""The operating system refused something, as a rule the address that is taken."""
IOERR: Final = 74
"""The disk failed or holds what must not be believed, or the node found a fault in itself."""
CONFIG: Final = 78
"""config.json is wrong, or names no such node."""


def leave(status: int, why: str) -> NoReturn:
    """End the process before the reactor runs."""
    _say(why)
    raise SystemExit(status)


def leave_at_once(status: int, why: str) -> NoReturn:
    """End the process from within the reactor, which swallows SystemExit and would go on.

    Nothing is cleaned up, and nothing needs to be: whoever calls this can trust its own disk or state no more.
    """
    try:
        _say(why)
        sys.stdout.flush()
    finally:  # also when nobody listens any more
        os._exit(status)


def _say(why: str) -> None:
    """Say it on the real stderr, and in the log: from its start on twistd has sys.stderr lead there."""
    line = f"kvraft: {why}\n"
    if sys.__stderr__ is not None and sys.__stderr__ is not sys.stderr:
        sys.__stderr__.write(line)
        sys.__stderr__.flush()
    sys.stderr.write(line)
    sys.stderr.flush()
