"""Commands that change the store: they are replicated through the log, and every member applies them alike.

A mutation is one frozen class. Its tag is its opcode, `LEVEL` the feature level from which on the log may hold it, and
`apply` its effect. `MUTATIONS` lists them all: a new one is a class and its place in that list. A leader refuses a
mutation of a level that the cluster has not reached. `docs/commands.md` shows how to add one.
"""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Final, Self

import msgspec
from typing_extensions import override

from kvraft.commands.base import ARGUMENTS_BYTES, INTEGER_BYTES, Machine, Mutation
from kvraft.commands.basic import Delete, Set
from kvraft.commands.blocks import Block
from kvraft.commands.client_sessions import (
    ANSWER_BYTES_MAX,
    BoundSessions,
    KeepSession,
    Number,
    OpenSession,
    check_number,
    kept_result,
)
from kvraft.commands.expiry import Expire, RemoveExpired
from kvraft.commands.held_keys import ExpireHeld
from kvraft.commands.keys import ChangeExpiry, Copy, DeleteMany, RemoveAll
from kvraft.commands.leases import GrantLease, RenewLease, RevokeLease, SetLeaseLimit
from kvraft.commands.locks import AcquireLock, Guarded, ReleaseLock, RenewLock, SetLockLimit, WithdrawRequest
from kvraft.commands.model import CommandFailed, Failure, HistoryBounds, InvalidCommand, Result, Transaction
from kvraft.commands.results import pack_result, unpack_result
from kvraft.commands.strings import AddFloat, GetAndExpire, Increment, SetIf, SetMany, SetRange, Take
from kvraft.commands.transactions import Transact


class Identify(Mutation, frozen=True, gc=False, array_like=True, tag=3):
    """Sets the cluster's id; only the first one in the log takes effect. Its result is the id that is in force."""

    cluster_id: str

    @property
    @override
    def size(self) -> int:
        return len(self.cluster_id.encode()) + ARGUMENTS_BYTES

    @override
    def apply(self, transaction: Transaction) -> Result:
        return transaction.identify(self.cluster_id)


class SetQuota(Mutation, frozen=True, gc=False, array_like=True, tag=4):
    """Sets the quota of the store, 0 for no bound. Its result is 0.

    Existing keys stay. It is replicated through the log so that all members decide alike about each later write.
    """

    LEVEL: ClassVar[int] = 2

    bytes_max: Annotated[int, msgspec.Meta(ge=0)]
    keys_max: Annotated[int, msgspec.Meta(ge=0)]

    @property
    @override
    def size(self) -> int:
        return 2 * INTEGER_BYTES + ARGUMENTS_BYTES

    @override
    def apply(self, transaction: Transaction) -> Result:
        transaction.set_quota(self.bytes_max, self.keys_max)
        return 0


class SetHistory(Mutation, frozen=True, gc=False, array_like=True, tag=5):
    """Sets the bounds of the history; see `HistoryBounds`. Its result is 0.

    It is replicated through the log so that every member can read equally far back.
    """

    LEVEL: ClassVar[int] = 3

    revisions: Annotated[int, msgspec.Meta(ge=0)]
    bytes: Annotated[int, msgspec.Meta(ge=0)]
    seconds: Annotated[int, msgspec.Meta(ge=0)]

    @property
    @override
    def size(self) -> int:
        return 3 * INTEGER_BYTES + ARGUMENTS_BYTES

    @override
    def apply(self, transaction: Transaction) -> Result:
        transaction.set_history(HistoryBounds(self.revisions, self.bytes, self.seconds))
        return 0


NumberedWrite = (
    Set
    | Delete
    | Transact
    | Expire
    | GrantLease
    | RenewLease
    | RevokeLease
    | SetIf
    | SetMany
    | Take
    | GetAndExpire
    | SetRange
    | AddFloat
    | Increment
    | DeleteMany
    | ChangeExpiry
    | Copy
    | RemoveAll
    | Block
    | AcquireLock
    | ReleaseLock
    | RenewLock
    | WithdrawRequest
    | Guarded
    | ExpireHeld
)
"""The writes that a client may number: all that it may send, except those about sessions."""


_NUMBERED_WRITES: Final = frozenset(NumberedWrite.__args__)


class Once(Mutation, frozen=True, gc=False, array_like=True, tag=20):
    """Applies a write of a session, unless its number has an answer already. Its result is that answer.

    The failure of a write is an answer as well, and is kept. Only a refusal by the session itself is not kept: then
    nothing was applied, and the number is not used up.
    """

    LEVEL: ClassVar[int] = 3

    client: Number
    number: Number
    write: NumberedWrite

    @property
    @override
    def size(self) -> int:
        return self.write.size + 2 * INTEGER_BYTES + ARGUMENTS_BYTES

    @override
    def apply(self, transaction: Transaction) -> Result:
        kept = transaction.recall(self.client, self.number)
        if kept is not None:
            earlier: Result = unpack_result(kept)
            return earlier
        result = kept_result(self.write, transaction.attempt(self.write))
        answer = pack_result(result)
        if len(answer) > ANSWER_BYTES_MAX:
            raise CommandFailed(
                Failure(
                    "RESULT_TOO_LARGE",
                    f"the answer to a write of a session has at most {ANSWER_BYTES_MAX} bytes; nothing was changed: "
                    "read less in it",
                )
            )
        transaction.remember(self.client, self.number, answer, is_failure=isinstance(result, Failure))
        return result

    @override
    @classmethod
    def apply_all(cls, run: Sequence[Self], machine: Machine) -> list[Result]:
        return machine.once_all(run)


assert all(write.LEVEL <= Once.LEVEL for write in NumberedWrite.__args__), "a session needs a level for each write"

MUTATIONS: Final[tuple[type[Mutation], ...]] = (
    Set,
    Delete,
    Identify,
    SetQuota,
    SetHistory,
    Transact,
    Expire,
    RemoveExpired,
    ExpireHeld,
    GrantLease,
    RenewLease,
    RevokeLease,
    SetLeaseLimit,
    SetIf,
    SetMany,
    Take,
    GetAndExpire,
    SetRange,
    AddFloat,
    Increment,
    DeleteMany,
    ChangeExpiry,
    Copy,
    RemoveAll,
    Block,
    SetLockLimit,
    AcquireLock,
    ReleaseLock,
    RenewLock,
    WithdrawRequest,
    Guarded,
    OpenSession,
    Once,
    KeepSession,
    BoundSessions,
)
"""Every command that the log may hold. The meaning of an opcode never changes: other arguments need another opcode."""


def opcode(mutation: type[Mutation]) -> int:
    """Return the number of a class of commands in the log."""
    config: Any = mutation.__struct_config__
    tag = config.tag
    assert isinstance(tag, int), f"{mutation.__name__} has no opcode"
    return tag


OPCODES: Final = frozenset(map(opcode, MUTATIONS))
"""Every opcode that this kvraft can apply."""


def numbered(client: int, number: int, write: object) -> Once:
    """Return a write of a session that may be proposed.

    Raises:
        InvalidCommand: it is no write that can be numbered, or the client or number is not allowed.
    """
    check_number(client)
    check_number(number)
    if type(write) not in _NUMBERED_WRITES:
        raise InvalidCommand("only a command that writes can be numbered; send it without the number")
    return Once(client, number, write)  # type: ignore[arg-type]  # its type is one of them
