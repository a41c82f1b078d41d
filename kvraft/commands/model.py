"""What commands have in common: what they are given of the store, and what they come to."""

from typing import Final, Protocol

import msgspec

KEY_BYTES_MAX: Final = 64 * 1024
"""Longest key, in bytes."""
VALUE_BYTES_MAX: Final = 8 * 1024 * 1024
"""Longest value, in bytes; a protocol may have a lower limit of its own."""

Item = tuple[bytes, int, int, int]
"""A key's value, create revision, modify revision and version (1 when created, one more for each overwrite). A plain
tuple, which the garbage collector need not follow."""


class Failure(msgspec.Struct, frozen=True, gc=False):
    """The result of a command that failed, the same on every member."""

    code: str
    message: str


Result = Item | int | str | Failure | None
"""What one command came to; each class of commands says what it gives. Any may give a `Failure`."""


class InvalidCommand(ValueError):
    """The command can never be executed; the text says what to do about it."""


class CommandFailed(Exception):
    """Raised while a mutation is applied: nothing of it takes effect, and `failure` is its result."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class View(Protocol):
    """What a query sees: the store at one revision."""

    @property
    def revision(self) -> int:
        """The revision of the latest change."""
        ...

    @property
    def cluster_time(self) -> int:
        """The time that all members agree on, microseconds since the cluster was born."""
        ...

    def get(self, key: bytes) -> Item | None:
        """Return what is stored under `key`."""
        ...


class Transaction(View, Protocol):
    """What a mutation sees of the store and does to it: all of it at one revision, or nothing.

    A mutation reads no clock and draws no random number: what it does depends on this alone.
    """

    @property
    def revision(self) -> int:
        """The revision that this transaction makes, if it changes a key."""
        ...

    def put(self, key: bytes, value: bytes) -> None:
        """Store `value` under `key`.

        Raises:
            CommandFailed: the store would grow by it beyond its quota.
        """
        ...

    def delete(self, key: bytes) -> bool:
        """Remove `key`; return whether it was there."""
        ...

    def identify(self, cluster_id: str) -> str:
        """Give the cluster its identity unless it has one; return the one that holds."""
        ...

    def set_quota(self, bytes_max: int, keys_max: int) -> None:
        """Bound what the store holds from here on; 0 for no bound."""
        ...


def check_key(key: bytes) -> None:
    """Refuse a key that no command may name.

    Raises:
        InvalidCommand: it is empty or too long.
    """
    if not key:
        raise InvalidCommand("the key is empty; name one")
    if len(key) > KEY_BYTES_MAX:
        raise InvalidCommand(f"the key has {len(key)} bytes; at most {KEY_BYTES_MAX} are allowed")


def check_value(value: bytes) -> None:
    """Refuse a value that no command may store.

    Raises:
        InvalidCommand: it is too long.
    """
    if len(value) > VALUE_BYTES_MAX:
        raise InvalidCommand(f"the value has {len(value)} bytes; at most {VALUE_BYTES_MAX} are allowed")
