"""The exit statuses of the `kvraft` command, and how it prints errors."""

import os
import signal
import sys
from typing import Any, Final

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
    USAGE: "the command line is wrong",
    DATA: "the input, or the data of a node, is invalid",
    NO_INPUT: "there is no such file",
    UNAVAILABLE: "no leader, or no node, was reached in time; nothing was changed",
    FAILED: "reading or writing a file failed",
    UNKNOWN: "the write may have happened; read it back before you repeat it",
    CONFIG: "config.json is wrong, or nothing says where the cluster is",
}
"""Every exit status but those after signals (130: Ctrl-C, 141: the end of a pipe) and those in docs/operations.md."""


class CommandFailed(Exception):
    """A command failed; the text says why, and `status` is the exit status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def tell(error: Exception, *, as_json: bool = False) -> int | None:
    """Print an error to stderr and return its exit status. For a bug in kvraft print nothing and return None."""
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
        if status == CONDITION_FAILED and "found" in getattr(error, "details", {}):
            _tell_found(error)
    return status


def _tell_found(error: Any) -> None:
    """Print what a write that had a condition has found, to stderr."""
    from kvraft.cli.options import shown

    found = error.found
    told = (
        "no such key"
        if found is None
        else f"{shown(found.value)} (revision {found.mod_revision}, version {found.version})"
    )
    print(f"found: {told}", file=sys.stderr)


def end_of_a_pipe() -> int:
    """Return the exit status after the reader of stdout closed the pipe; redirect the unwritten rest to /dev/null."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + signal.SIGPIPE


def interrupted() -> int:
    """Return the exit status after Ctrl-C; print a newline, so that the next prompt begins on a new line."""
    print(file=sys.stderr)
    return 128 + signal.SIGINT


def status_of(error: BaseException) -> int | None:
    """Return the exit status for an error; None for an error that only a bug in kvraft can cause."""
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
