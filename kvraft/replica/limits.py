"""What one request may hold, since it goes into one entry of the log."""

from typing import ClassVar, Final

from kvraft.commands import BATCH_HEADER_BYTES
from kvraft.errors import Refused
from kvraft.raft.types import PAYLOAD_BYTES_MAX

SUBMISSION_BYTES_MAX: Final = PAYLOAD_BYTES_MAX - BATCH_HEADER_BYTES
"""Writes in one submission, bytes: it goes into one entry, and that entry must fit the journal and the wire."""


class TooLarge(Refused):
    """The request holds more than one entry of the log takes; it had no effect and never will."""

    code = "TOO_LARGE"
    size_max: ClassVar = SUBMISSION_BYTES_MAX

    def __init__(self, size: int) -> None:
        super().__init__(
            f"these writes have {size} bytes together and at most {SUBMISSION_BYTES_MAX} are allowed; "
            "send them in several requests"
        )
