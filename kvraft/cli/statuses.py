"""How the `kvraft` command ends: with which status, and what it says of an error."""

import os
import signal
import sys
from typing import Final

OK: Final = 0
NO_SUCH_KEY: Final = 1
CONDITION_FAILED: Final = 3
REFUSED: Final = 4
USAGE: Final = 64
DATA: Final = 65
NO_INPUT: Final = 66
UNAVAILABLE: Final = 69
FAILED: Final = 74
UNKNOWN: Final = 75
CONFIG: Final = 78

MEANINGS: Final = {
    OK: "done",
    NO_SUCH_KEY: "no such key",
    CONDITION_FAILED: "the condition did not hold, nothing was changed",
    REFUSED: "refused, nothing was changed",
    USAGE: "the command line makes no sense",
    DATA: "the input, or what a node holds, is not as it must be",
    NO_INPUT: "there is no such file",
    UNAVAILABLE: "no leader, or no node, was reached in time; nothing was changed",
    FAILED: "reading or writing a file failed",
    UNKNOWN: "the write may have happened; read it back before you repeat it",
    CONFIG: "config.json is wrong, or nothing says where the cluster is",
}
"""Every status but those of signals (130 after Ctrl-C) and of a node (docs/operations.md)."""


class CommandFailed(Exception):
    """A command that did not do what was asked; the text says why."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def tell(error: Exception, *, as_json: bool = False) -> int | None:
    """Print an error to stderr; return its status, or None, and print nothing, if it is a bug in kvraft."""
    status = status_of(error)
    if status is None:
        return None
    if as_json:
        import json

        from kvraft.client import ClientError

        details = dict(error.details) if isinstance(error, ClientError) else {}
        told = {"error": getattr(error, "code", "") or type(error).__name__, "message": str(error), **details}
        print(json.dumps(told), file=sys.stderr)
    else:
        print(f"kvraft: {error}", file=sys.stderr)
    return status


def end_of_a_pipe() -> int:
    """Return the status when the reader of stdout has closed the pipe; the rest of the buffer causes no error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + signal.SIGPIPE


def interrupted() -> int:
    """Return the status after Ctrl-C; the next prompt begins on a line of its own."""
    print(file=sys.stderr)
    return 128 + signal.SIGINT


def status_of(error: BaseException) -> int | None:
    """Return the status for an error; None for one that is nobody's but ours."""
    from kvraft import client
    from kvraft.client.errors import NodesUnknown

    if isinstance(error, CommandFailed):
        return error.status
    by_kind = (
        (NodesUnknown, CONFIG),
        (client.NoSuchKey, NO_SUCH_KEY),
        (client.NoSuchLease, NO_SUCH_KEY),
        (client.ConditionFailed, CONDITION_FAILED),
        (client.LockHeld, CONDITION_FAILED),
        (client.StaleToken, CONDITION_FAILED),
        (client.InvalidRequest, USAGE),
        (client.NotACounter, DATA),
        (client.Unavailable, UNAVAILABLE),
        (client.ClientClosed, UNAVAILABLE),
        (client.OutcomeUnknown, UNKNOWN),
        (client.ClientError, REFUSED),
        (OSError, FAILED),
    )
    return next((status for kind, status in by_kind if isinstance(error, kind)), None)
