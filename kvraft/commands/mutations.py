"""Commands that change the store: each stands in the log, and every member applies it in the same way.

A mutation is one frozen class. Its tag is its opcode, `LEVEL` the feature level from which on it may stand in the log,
and `apply` what it does. `MUTATIONS` lists them all: a new one is a class and its place in that list. A leader refuses
one of a level that the cluster has not agreed on yet. `docs/commands.md` shows how to add one.
"""

from typing import Annotated, Any, ClassVar, Final

import msgspec
from typing_extensions import override

from kvraft.commands.base import ARGUMENTS_BYTES, INTEGER_BYTES, Mutation
from kvraft.commands.basic import Delete, Set
from kvraft.commands.blocks import Block
from kvraft.commands.expiry import Expire, RemoveExpired
from kvraft.commands.held_keys import ExpireHeld
from kvraft.commands.keys import ChangeExpiry, Copy, DeleteMany, RemoveAll
from kvraft.commands.leases import GrantLease, RenewLease, RevokeLease, SetLeaseLimit
from kvraft.commands.locks import AcquireLock, Guarded, ReleaseLock, RenewLock, SetLockLimit, WithdrawRequest
from kvraft.commands.model import HistoryBounds, Result, Transaction
from kvraft.commands.strings import AddFloat, GetAndExpire, SetIf, SetMany, SetRange, Take
from kvraft.commands.transactions import Transact


class Identify(Mutation, frozen=True, gc=False, array_like=True, tag=3):
    """Gives the cluster its identity; the first one in the log holds for ever. Its result is the id that holds."""

    cluster_id: str

    @property
    @override
    def size(self) -> int:
        return len(self.cluster_id.encode()) + ARGUMENTS_BYTES

    @override
    def apply(self, transaction: Transaction) -> Result:
        return transaction.identify(self.cluster_id)


class SetQuota(Mutation, frozen=True, gc=False, array_like=True, tag=4):
    """Bounds what the store holds from here on, 0 for no bound. Its result is 0.

    What is there already stays. It stands in the log so that all members decide the same about each write after it.
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
    """Bounds what is kept of the past from here on; see `HistoryBounds`. Its result is 0.

    It stands in the log so that every member can read as far back as any other.
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
)
"""Every command that may stand in the log. What an opcode means never changes: other arguments are another opcode."""


def opcode(mutation: type[Mutation]) -> int:
    """Return the number that stands for a class of commands in the log."""
    config: Any = mutation.__struct_config__
    tag = config.tag
    assert isinstance(tag, int), f"{mutation.__name__} has no opcode"
    return tag


OPCODES: Final = frozenset(map(opcode, MUTATIONS))
"""Every opcode that this kvraft can carry out."""
