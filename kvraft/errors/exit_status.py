"""Why a node ends for good, and the exit status that says so: one of sysexits.h, for supervisors."""

from typing import Final

import attrs
from typing_extensions import override

USAGE: Final = 64
"""The command line is wrong."""
NOINPUT: Final = 66
"""The data directory is not the one that the cluster has recorded under this id: a disk was lost or emptied, or
an older copy put back. It does no good to start the node again; it must be replaced by one with a new id."""
NOHOST: Final = 68
"""No member of the cluster that is to be joined can be reached."""
REMOVED: Final = 69
"""The node was removed from its cluster. It does no good to start it again."""
OSERR: Final = 71
"""The operating system refused something: an address that is taken, a log file, one more open file."""
IOERR: Final = 74
"""The disk failed or holds damaged data, or the node found a fault in itself."""
PROTOCOL: Final = 76
"""The cluster speaks a later version than this kvraft. It does no good to start the node before it is upgraded."""
NOPERM: Final = 77
"""The cluster does not take this node in: its id or address is taken, or its data belong to another cluster."""
CONFIG: Final = 78
"""config.json is wrong, or names no such node."""

_STATUS_BY_TRAIT: Final = (
    ("needs_upgrade", PROTOCOL),
    ("lost_data", NOINPUT),
    ("is_misconfigured", CONFIG),
    ("lacks_files", OSERR),
)
"""What an error may say of itself, and the status that befits it."""


@attrs.frozen
class FatalReason:
    """Why a node must not go on: a sentence for its log, and the exit status of its process."""

    text: str
    status: int = IOERR

    @override
    def __str__(self) -> str:
        return self.text


def status_for(error: BaseException | None) -> int:
    """Return the status that befits an error: IOERR unless a trait of the error names another."""
    return next((status for trait, status in _STATUS_BY_TRAIT if getattr(error, trait, False)), IOERR)


def fatal_reason(error: BaseException | None, text: str) -> FatalReason:
    """Return `text` with the status that befits the error that caused it."""
    return FatalReason(text, status_for(error))
