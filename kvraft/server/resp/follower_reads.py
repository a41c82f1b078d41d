"""Reads that any node answers itself, whichever node leads: READONLY, READWRITE and KV.READS.

After READONLY the node answers from its own state. If that state is too old, it answers like a replica of Redis that
has lost its master. KV.READS chooses another bound of the age, or linearizable reads.
"""

from typing import Any, Final

import msgspec

from kvraft.commands import Aged, Failure, LocalRead, Mutation, Operation, StaleRead
from kvraft.commands.integers import read_integer
from kvraft.server.dialect import Answer, Note
from kvraft.server.resp.connection_state import Connection
from kvraft.server.resp.encoding import OK_BYTES, error
from kvraft.server.resp.errors import SYNTAX, RespError, failed
from kvraft.server.resp.table import Arguments, Command

READONLY_MAX_AGE_S: Final = 10
"""After READONLY no read shows a state that is older, seconds."""
MAX_AGE_S: Final = 86_400
"""Largest bound of the age that a client can choose, seconds."""
TOO_OLD: Final = "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."
_MICROSECONDS: Final = 1_000_000


class FollowerReads(msgspec.Struct, frozen=True):
    """How a node answers the reads of one connection."""

    max_age_us: int | None
    """The oldest state that a read may show, as an age; None: reads are linearizable."""

    def place(self, read: Operation, answer: Answer) -> tuple[Operation, Answer]:
        """Return a read for this node to answer, and the encoder of its reply."""
        assert not isinstance(read, Mutation), "a follower carries out no write"
        if self.max_age_us is None:
            return LocalRead(read), answer
        return StaleRead(read, self.max_age_us), _Fresh(answer)


class _Fresh:
    """Encodes the result of a read whose age is within the bound."""

    __slots__ = ("_answer",)

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def __call__(self, aged: Aged) -> bytes:
        """Return the reply."""
        result: Any = aged.result
        if isinstance(result, Failure):
            return error(TOO_OLD) if result.code == "TOO_STALE" else failed(result)
        return self._answer if isinstance(self._answer, bytes) else self._answer(result)


def _readonly(connection: Connection, arguments: Arguments) -> Note:
    connection.follower_reads = FollowerReads(READONLY_MAX_AGE_S * _MICROSECONDS)
    return OK_BYTES


def _readwrite(connection: Connection, arguments: Arguments) -> Note:
    connection.follower_reads = None
    return OK_BYTES


def _reads(connection: Connection, arguments: Arguments) -> Note:
    match [arguments[1].upper(), *arguments[2:]]:
        case [b"LEADER"]:
            connection.follower_reads = None
        case [b"LINEARIZABLE"]:
            connection.follower_reads = FollowerReads(None)
        case [b"STALE", age]:
            seconds = read_integer(age)
            if seconds is None or not 0 <= seconds <= MAX_AGE_S:
                raise RespError(f"ERR the age is a whole number of seconds, at most {MAX_AGE_S}")
            connection.follower_reads = FollowerReads(seconds * _MICROSECONDS)
        case _:
            raise RespError(SYNTAX)
    return OK_BYTES


_FLAGS: Final = ("loading", "stale", "fast")
COMMANDS: Final = (
    Command(
        name="readonly",
        arity=1,
        flags=_FLAGS,
        act=_readonly,
        group="cluster",
        since="3.0.0",
        summary="Enables read queries for a connection to a cluster replica node",
    ),
    Command(
        name="readwrite",
        arity=1,
        flags=_FLAGS,
        act=_readwrite,
        group="cluster",
        since="3.0.0",
        summary="Disables read queries for a connection to a cluster replica node",
    ),
    Command(
        name="kv.reads",
        arity=-2,
        flags=_FLAGS,
        act=_reads,
        since="7.0.0",
        summary="Choose how the reads of this connection are answered: LEADER, LINEARIZABLE or STALE and seconds",
    ),
)
