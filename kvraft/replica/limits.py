"""The limits of one request, one log entry and one turn."""

from typing import ClassVar, Final

from kvraft.commands import BATCH_HEADER_BYTES
from kvraft.errors import Refused
from kvraft.raft.types import PAYLOAD_BYTES_MAX

BATCH_BYTES_MAX: Final = 1024 * 1024
"""Writes in one log entry, bytes; one larger submission still makes one entry."""
READYS_A_TURN_MAX: Final = 8
"""Most Readys that one turn carries out before it returns to the reactor."""
TURN_S_MAX: Final = 0.002
"""A turn that has taken so long carries out no further Ready, seconds: a backlog waits for the next turn."""
TURN_GAP_S_MAX: Final = 0.5
"""Longest time between two turns, seconds, so that requests expire in time while an election takes long."""
SUBMISSION_BYTES_MAX: Final = PAYLOAD_BYTES_MAX - BATCH_HEADER_BYTES
"""Most bytes of the writes in one submission: they share one entry, which must fit the journal and the wire."""


class TooLarge(Refused):
    """The request holds more than one log entry takes; it had no effect and never will."""

    code = "TOO_LARGE"
    size_max: ClassVar = SUBMISSION_BYTES_MAX

    def __init__(self, size: int) -> None:
        super().__init__(
            f"these writes have {size} bytes together and at most {SUBMISSION_BYTES_MAX} are allowed; "
            "send them in several requests"
        )


class TransactionTooLarge(TooLarge):
    """A transaction holds more than this node takes; it had no effect and never will."""

    def __init__(self, excess: str) -> None:
        Refused.__init__(self, excess)


class LevelTooLow(Refused):
    """Not all members support the command yet; it had no effect."""

    code = "LEVEL_TOO_LOW"

    def __init__(self, needed: int, agreed: int) -> None:
        super().__init__(
            f"this command needs feature level {needed} and the cluster has agreed on {agreed}: upgrade every member "
            "first, and see that all of them are connected"
        )
