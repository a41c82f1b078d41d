"""Commands that change the store: each stands in the log, and every member applies it in the same way.

A mutation is one frozen class. Its tag is its opcode, `LEVEL` the feature level from which on it may stand in the log,
and `apply` what it does. `MUTATIONS` lists them all: a new one is a class and its place in that list. A leader refuses
one of a level that the cluster has not agreed on yet. `docs/commands.md` shows how to add one.
"""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Final, Protocol, Self

import msgspec
from typing_extensions import override

from kvraft.commands.model import KEY_BYTES_MAX, VALUE_BYTES_MAX, Result, Transaction, check_key, check_value

_ARGUMENTS_BYTES: Final = 12
"""What a command takes beside up to two arguments, bytes: an array's head, the opcode, and a head of five for each."""
_INTEGER_BYTES: Final = 9


class Machine(Protocol):
    """The state machine, to which runs of mutations are applied."""

    def transact(self, mutation: "Mutation") -> Result:
        """Apply one mutation as a transaction; a failure is its result."""
        ...

    def set_all(self, sets: Sequence["Set"]) -> list[Result]:
        """Apply each `Set` as a transaction of its own."""
        ...


class Mutation(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A replicated command."""

    LEVEL: ClassVar[int] = 0
    """The feature level (`kvraft.store.features`) that all members must have before it may stand in the log."""

    @property
    def size(self) -> int:
        """Bytes that it takes in the log at most."""
        raise NotImplementedError

    def apply(self, transaction: Transaction) -> Result:
        """Do to the store what the command says, and return its result.

        Raises:
            CommandFailed: it cannot be done; nothing of it takes effect.
        """
        raise NotImplementedError

    @classmethod
    def apply_all(cls, run: Sequence[Self], machine: Machine) -> list[Result]:
        """Apply mutations of this class that follow each other, each as a transaction of its own.

        A class overrides it only for speed: what comes of it must be the same to the byte.
        """
        return [machine.transact(mutation) for mutation in run]


class Set(Mutation, frozen=True, gc=False, array_like=True, tag=1):
    """Stores `value` under `key`. Its result is the new revision."""

    key: bytes
    value: bytes

    @property
    @override
    def size(self) -> int:
        return len(self.key) + len(self.value) + _ARGUMENTS_BYTES

    @override
    def apply(self, transaction: Transaction) -> Result:
        transaction.put(self.key, self.value)
        return transaction.revision

    @override
    @classmethod
    def apply_all(cls, run: Sequence[Self], machine: Machine) -> list[Result]:
        return machine.set_all(run)


class Delete(Mutation, frozen=True, gc=False, array_like=True, tag=2):
    """Removes `key`. Its result is the number of keys removed, 1 or 0."""

    key: bytes

    @property
    @override
    def size(self) -> int:
        return len(self.key) + _ARGUMENTS_BYTES

    @override
    def apply(self, transaction: Transaction) -> Result:
        return int(transaction.delete(self.key))


class Identify(Mutation, frozen=True, gc=False, array_like=True, tag=3):
    """Gives the cluster its identity; the first one in the log holds for ever. Its result is the id that holds."""

    cluster_id: str

    @property
    @override
    def size(self) -> int:
        return len(self.cluster_id.encode()) + _ARGUMENTS_BYTES

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
        return 2 * _INTEGER_BYTES + _ARGUMENTS_BYTES

    @override
    def apply(self, transaction: Transaction) -> Result:
        transaction.set_quota(self.bytes_max, self.keys_max)
        return 0


MUTATIONS: Final[tuple[type[Mutation], ...]] = (Set, Delete, Identify, SetQuota)
"""Every command that may stand in the log. What an opcode means never changes: other arguments are another opcode."""


def opcode(mutation: type[Mutation]) -> int:
    """Return the number that stands for a class of commands in the log."""
    config: Any = mutation.__struct_config__
    tag = config.tag
    assert isinstance(tag, int), f"{mutation.__name__} has no opcode"
    return tag


OPCODES: Final = frozenset(map(opcode, MUTATIONS))
"""Every opcode that this kvraft can carry out."""


def set_key(key: bytes, value: bytes) -> Set:
    """Return a `Set` that may be proposed.

    Raises:
        InvalidCommand: the key is empty, or key or value are too long.
    """
    if not 0 < len(key) <= KEY_BYTES_MAX:
        check_key(key)
    if len(value) > VALUE_BYTES_MAX:
        check_value(value)
    return Set(key, value)


def delete_key(key: bytes) -> Delete:
    """Return a `Delete` that may be proposed.

    Raises:
        InvalidCommand: the key is empty or too long.
    """
    check_key(key)
    return Delete(key)
