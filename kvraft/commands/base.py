"""The base class of all commands that change the store."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Protocol, Self

import msgspec

from kvraft.commands.model import Result, Transaction

ARGUMENTS_BYTES: Final = 12
"""Bytes of a command in addition to those of up to two arguments: the array's head, the opcode, and five for each."""
INTEGER_BYTES: Final = 9


class Machine(Protocol):
    """The state machine, to which runs of mutations are applied."""

    def transact(self, mutation: "Mutation") -> Result:
        """Apply one mutation as a transaction; a failure is its result."""
        ...

    def set_all(self, sets: Sequence[Any]) -> list[Result]:
        """Apply each `Set` as a transaction of its own."""
        ...

    def increment_all(self, increments: Sequence[Any]) -> list[Result]:
        """Apply each `Increment` as a transaction of its own."""
        ...

    def once_all(self, onces: Sequence[Any]) -> list[Result]:
        """Apply each `Once` as a transaction of its own."""
        ...


class Mutation(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A replicated command."""

    LEVEL: ClassVar[int] = 0
    """The feature level (`kvraft.store.features`) that the cluster must have before the log may hold it."""

    @property
    def size(self) -> int:
        """Most bytes that it takes in the log."""
        raise NotImplementedError

    def apply(self, transaction: Transaction) -> Result:
        """Apply the command to the store, and return its result.

        Raises:
            CommandFailed: it failed without effect.
        """
        raise NotImplementedError

    @classmethod
    def apply_all(cls, run: Sequence[Self], machine: Machine) -> list[Result]:
        """Apply consecutive mutations of this class, each as its own transaction.

        A class overrides it only for speed: the effect must be the same to the byte.
        """
        return [machine.transact(mutation) for mutation in run]


class _Changing(dict[type, bool]):
    """Whether the operations of a class are mutations; each class is looked at once."""

    def __missing__(self, kind: type) -> bool:
        self[kind] = found = issubclass(kind, Mutation)
        return found


IS_MUTATION: Final[Mapping[type, bool]] = _Changing()
"""For the class of an operation: whether it changes the store.

To ask `isinstance(operation, Mutation)` takes four times as long, since the metaclass of `msgspec.Struct` is not `type`
itself (measured: 0.09 µs for each operation of a request).
"""
