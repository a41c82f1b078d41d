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
    sys.stderr.write(f"kvraft: {why}\n")
    raise SystemExit(status)


def leave_at_once(status: int, why: str) -> NoReturn:
    """End the process from within the reactor, which swallows SystemExit and would go on.

    Nothing is cleaned up, and nothing needs to be: whoever calls this can trust its own disk or state no more.
    """
    sys.stderr.write(f"kvraft: {why}\n")
    sys.stderr.flush()
    sys.stdout.flush()
    os._exit(status)
