"""The two commands that most clients need: they store a value, and remove a key."""

from collections.abc import Sequence
from typing import Self

from typing_extensions import override

from kvraft.commands.base import ARGUMENTS_BYTES, Machine, Mutation
from kvraft.commands.model import KEY_BYTES_MAX, VALUE_BYTES_MAX, Result, Transaction, check_key, check_value


class Set(Mutation, frozen=True, gc=False, array_like=True, tag=1):
    """Stores `value` under `key`. Its result is the new revision."""

    key: bytes
    value: bytes

    @property
    @override
    def size(self) -> int:
        return len(self.key) + len(self.value) + ARGUMENTS_BYTES

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
        return len(self.key) + ARGUMENTS_BYTES

    @override
    def apply(self, transaction: Transaction) -> Result:
        return int(transaction.delete(self.key))


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
