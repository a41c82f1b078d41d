"""The errors that a client can get instead of a result.

::

    RequestFailed
    ├── Refused                 the request certainly had no effect
    │   ├── NotLeaderRefusal    ask the leader; `leader_hint` is its address, or None
    │   ├── Overloaded          too much is waiting; try again in a moment
    │   └── Unsupported         this kvraft cannot do that
    └── OutcomeUnknown          the write may or may not have happened; read it back before you repeat it

Every error says of a write whether it certainly did not happen (`definite`) or may have happened.
"""

from collections.abc import Mapping
from typing import ClassVar


class RequestFailed(Exception):
    """A submission that has no results. Protocols show `code`; `str()` says what to do about it."""

    code: ClassVar[str] = "FAILED"
    definite: ClassVar[bool] = False
    details: Mapping[str, int] | None = None
    """Numbers that a program can use, by their names in JSON."""


class Refused(RequestFailed):
    """The request certainly had no effect and never will."""

    code = "REFUSED"
    definite = True


class NotLeaderRefusal(Refused):
    """Only the leader answers; `leader_hint` is its client address as "host:port", None while none is known."""

    code = "NOT_LEADER"

    def __init__(self, leader_hint: str | None) -> None:
        super().__init__(f"ask the leader at {leader_hint}" if leader_hint else "no leader is known; try again")
        self.leader_hint = leader_hint


class Overloaded(Refused):
    """A named limit of this node is reached."""

    code = "OVERLOADED"


class Unsupported(Refused):
    """This kvraft cannot do what is asked."""

    code = "UNSUPPORTED"


class OutcomeUnknown(RequestFailed):
    """The write was sent on its way and its fate is not known."""

    code = "UNKNOWN"
