"""Client sessions, in which a write that is sent again is applied once.

A client opens a session, whose id is assigned through the log and never reused, and numbers its writes from 1. The
store keeps the answers to the latest `WINDOW` numbers of each session. A write whose number has an answer already is
not applied, and gets that answer (`kvraft.commands.mutations.Once`). So a client can send a write with an unknown
outcome again with the same number, to the present leader.

A session that is not used for its time to live expires, by cluster time and through the log, as keys do.
"""

from typing import Annotated, ClassVar, Final

import msgspec
from typing_extensions import override

from kvraft.commands.base import ARGUMENTS_BYTES, INTEGER_BYTES, Mutation
from kvraft.commands.expiry import SECOND_US
from kvraft.commands.item import Item
from kvraft.commands.model import (
    Failure,
    InvalidCommand,
    Outcome,
    Page,
    Result,
    SessionBounds,
    Transaction,
)
from kvraft.commands.transactions import Nested, Put, Remove, RemoveRange, Transact

# All members must use the same limits: another window, or another longest answer, needs another opcode.
WINDOW: Final = 128
"""Numbers of one session whose answers are kept: the highest that was applied, and those right below it. It is also the
most writes that a client may have in flight."""
ANSWER_BYTES_MAX: Final = 64 * 1024
"""Longest encoded answer that is kept, bytes; a write with a longer one fails."""
SESSION_ANSWERS_BYTES_MAX: Final = 1024 * 1024
"""Most bytes that the answers of one session count; above it the lowest numbers leave the window."""
SEQUENCE_MAX: Final = 2**63 - 1
SESSION_TTL_US_MIN: Final = SECOND_US
"""Shortest time to live of a session, microseconds."""
SESSION_TTL_US_MAX: Final = 7 * 86_400 * SECOND_US
"""Longest time to live of a session, microseconds: a week."""
SESSION_TTL_US: Final = 300 * SECOND_US
"""The time to live of a session for which none is given, microseconds."""
MESSAGE_CHARS_MAX: Final = 1_000
"""Most characters of a failure's text that are kept."""
NUMBER_REFUSED: Final = frozenset({"SESSION_EXPIRED", "NUMBER_TOO_LOW"})
"""Codes of failures that say that a session does not keep a number's answer: an earlier request with that number may
have been carried out."""

Number = Annotated[int, msgspec.Meta(ge=1)]
"""A client's id, or the number of a write."""
_Count = Annotated[int, msgspec.Meta(ge=0)]


class OpenSession(Mutation, frozen=True, gc=False, array_like=True, tag=19):
    """Opens a session that expires after a time without use, microseconds. Its result is the client's id."""

    LEVEL: ClassVar[int] = 3

    ttl_us: Number

    @property
    @override
    def size(self) -> int:
        return INTEGER_BYTES + ARGUMENTS_BYTES

    @override
    def apply(self, transaction: Transaction) -> Result:
        return transaction.open_session(self.ttl_us)


class KeepSession(Mutation, frozen=True, gc=False, array_like=True, tag=21):
    """Renews a session, as each use of it does, or ends it. Its result is the client's id."""

    LEVEL: ClassVar[int] = 3

    client: Number
    goes_on: bool
    """Whether it is renewed and not ended."""

    @property
    @override
    def size(self) -> int:
        return 2 * INTEGER_BYTES + ARGUMENTS_BYTES

    @override
    def apply(self, transaction: Transaction) -> Result:
        transaction.keep_session(self.client, goes_on=self.goes_on)
        return self.client


class BoundSessions(Mutation, frozen=True, gc=False, array_like=True, tag=22):
    """Sets the maximum number of sessions and of their bytes. Its result is 0.

    The bounds are replicated through the log so that every member keeps the same answers.
    """

    LEVEL: ClassVar[int] = 3

    sessions_max: _Count
    bytes_max: _Count

    @property
    @override
    def size(self) -> int:
        return 2 * INTEGER_BYTES + ARGUMENTS_BYTES

    @override
    def apply(self, transaction: Transaction) -> Result:
        transaction.bound_sessions(SessionBounds(self.sessions_max, self.bytes_max))
        return 0


def open_session(ttl_us: int = SESSION_TTL_US) -> OpenSession:
    """Return a command that opens a session, to be proposed.

    Raises:
        InvalidCommand: the time is too short or too long.
    """
    if not SESSION_TTL_US_MIN <= ttl_us <= SESSION_TTL_US_MAX:
        raise InvalidCommand(
            f"a session lives for at least {SESSION_TTL_US_MIN // SECOND_US} and at most "
            f"{SESSION_TTL_US_MAX // SECOND_US} seconds without use"
        )
    return OpenSession(ttl_us)


def check_number(number: int) -> None:
    """Raise for a number that is no client's id and no number of a write.

    Raises:
        InvalidCommand: it is not between 1 and the highest.
    """
    if not 1 <= number <= SEQUENCE_MAX:
        raise InvalidCommand(f"a client's id and the number of a write are between 1 and {SEQUENCE_MAX}")


def renew_session(client: int) -> KeepSession:
    """Return a command that renews a session, to be proposed.

    Raises:
        InvalidCommand: there is no such id.
    """
    check_number(client)
    return KeepSession(client, goes_on=True)


def end_session(client: int) -> KeepSession:
    """Return a command that ends a session, to be proposed.

    Raises:
        InvalidCommand: there is no such id.
    """
    check_number(client)
    return KeepSession(client, goes_on=False)


# --- the part of a result that is kept -------------------------------------------------------------------------------

_REMOVED: Final = (b"", Item(b"", 0, 0, 0))
"""Stands for an item that was removed."""


def kept_result(mutation: Mutation, result: Result) -> Result:
    """Return the part of a result that a client gets in a session: without the replaced and removed values."""
    match mutation, result:
        case Transact(), Outcome():
            return _shortened(mutation, result)
        case _, Failure(code, message, details):
            return Failure(code, message[:MESSAGE_CHARS_MAX], details)
    return result


def _shortened(transaction: Transact | Nested, outcome: Outcome) -> Outcome:
    steps = transaction.then if outcome.succeeded else transaction.otherwise
    results = [*outcome.results]
    for place, (step, result) in enumerate(zip(steps, results, strict=True)):
        match step, result:
            case Put(), _:
                results[place] = None
            case ((Remove() | RemoveRange()), Page()):
                following = None if result.following is None else b""
                results[place] = Page(result.revision, [_REMOVED] * len(result.items), following)
            case Nested(), Outcome():
                results[place] = _shortened(step, result)
    return Outcome(outcome.succeeded, outcome.revision, results)
