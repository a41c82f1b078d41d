"""What all commands that change the store have in common."""

from collections.abc import Sequence
from typing import Any, ClassVar, Final, Protocol, Self

import msgspec

from kvraft.commands.model import Result, Transaction

ARGUMENTS_BYTES: Final = 12
"""What a command takes beside up to two arguments, bytes: an array's head, the opcode, and a head of five for each."""
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
