"""The commands of Redis on keys with values of any kind."""

import enum
from typing import ClassVar, Final

from typing_extensions import override

from kvraft.commands.base import ARGUMENTS_BYTES, INTEGER_BYTES, Mutation
from kvraft.commands.expiry import missing
from kvraft.commands.model import CommandFailed, Failure, Page, Result, Span, Transaction, check_key
from kvraft.commands.strings import NEVER, check_keys, check_ttl, expire

REMOVED_KEYS_MAX: Final = 400
"""Most keys that one step of a removal of all keys examines: three milliseconds' work (measured)."""
WHOLE_KEYS_MAX: Final = 300
"""Most keys that are removed if that must be one step."""
REMOVED_BYTES_MAX: Final = 1024 * 1024
"""Bytes of removed values after which a step removes no more keys."""
_REMOVAL_WORK_BYTES: Final = 256 * 1024
"""What such a step counts in a log entry in addition to its bytes."""
_KEY_WORK_BYTES: Final = 64
"""What each removed key counts in a log entry in addition to its bytes."""


class DeleteMany(Mutation, frozen=True, gc=False, array_like=True, tag=29):
    """Removes keys. Its result is how many of them existed."""

    LEVEL: ClassVar[int] = 3

    keys: list[bytes]

    @property
    @override
    def size(self) -> int:
        return sum(map(len, self.keys)) + _KEY_WORK_BYTES * len(self.keys) + 2 * ARGUMENTS_BYTES

    @override
    def apply(self, transaction: Transaction) -> Result:
        return transaction.delete_all(self.keys)


class When(enum.IntEnum):
    """The condition on a key's present deadline under which it is changed."""

    ALWAYS = 0
    HAS_NONE = 1
    HAS_ONE = 2
    LATER = 3
    """If it gets later; no deadline counts as later than any."""
    EARLIER = 4
    EARLIER_IF_ANY = 5
    """If it gets earlier and the key had one."""


class ChangeExpiry(Mutation, frozen=True, gc=False, array_like=True, tag=30):
    """Sets or removes the deadline of a key, if the key exists and `when` allows it. Its result is 1 or 0.

    Removing the deadline of a key that has none changes nothing. It makes no revision, unless the time has passed and
    so the key is removed.
    """

    LEVEL: ClassVar[int] = 3

    key: bytes
    ttl_us: int
    when: When

    @property
    @override
    def size(self) -> int:
        return len(self.key) + 2 * INTEGER_BYTES + ARGUMENTS_BYTES

    @override
    def apply(self, transaction: Transaction) -> Result:
        if transaction.get(self.key) is None:
            return 0
        left = transaction.time_to_live(self.key)
        if self.ttl_us == NEVER:
            if left is None:
                return 0
        elif not self._may_be(left):
            return 0
        expire(transaction, self.key, self.ttl_us)
        return 1

    def _may_be(self, left: int | None) -> bool:
        match self.when:
            case When.ALWAYS:
                return True
            case When.HAS_NONE:
                return left is None
            case When.HAS_ONE:
                return left is not None
            case When.LATER:
                return left is not None and self.ttl_us > left
            case When.EARLIER:
                return left is None or self.ttl_us < left
            case When.EARLIER_IF_ANY:
                return left is not None and self.ttl_us < left


class Copy(Mutation, frozen=True, gc=False, array_like=True, tag=31):
    """Copies the value and the deadline of a key to another key. Its result is 1 or 0.

    0: the destination exists and may not be replaced. With `moves` the source is removed; a move of a key to itself is
    allowed and changes nothing. Without `moves`, 0 also means that the source does not exist.

    Raises:
        CommandFailed: the source of a move does not exist.
    """

    LEVEL: ClassVar[int] = 3

    source: bytes
    destination: bytes
    replaces: bool
    moves: bool

    @property
    @override
    def size(self) -> int:
        return len(self.source) + len(self.destination) + 2 * ARGUMENTS_BYTES

    @override
    def apply(self, transaction: Transaction) -> Result:
        item = transaction.get(self.source)
        if item is None:
            if self.moves:
                raise CommandFailed(missing())
            return 0
        if not self.replaces and transaction.get(self.destination) is not None:
            return 0
        if self.source == self.destination:
            return 1
        left = transaction.time_to_live(self.source)
        if self.moves:
            transaction.delete(self.source)
        transaction.put(self.destination, item.value, NEVER if left is None else left)
        return 1


class RemoveAll(Mutation, frozen=True, gc=False, array_like=True, tag=32):
    """Removes the first keys from `start` on that were not written after `revision`; 0: the one before its own.

    To keep each step short, it examines a bounded number of keys, and stops after a bounded number of bytes of removed
    values. Its result is a `Page` without items: the next step uses its revision, and begins where it says. With
    `whole` it removes all keys, and fails if there are more than it may examine.
    """

    LEVEL: ClassVar[int] = 3

    start: bytes
    revision: int
    keys_max: int
    bytes_max: int
    whole: bool

    @property
    @override
    def size(self) -> int:
        return len(self.start) + 4 * INTEGER_BYTES + ARGUMENTS_BYTES + _REMOVAL_WORK_BYTES

    @override
    def apply(self, transaction: Transaction) -> Page:
        revision = self.revision or transaction.revision - 1
        keys_left, bytes_left = self.keys_max, self.bytes_max
        start: bytes | None = self.start
        while start is not None and keys_left > 0 and bytes_left >= 0:
            page = transaction.page(Span(start, None), keys_left)
            start = page.following
            for key, item in page.items:
                if bytes_left < 0 and not self.whole:
                    start = key
                    break
                keys_left -= 1
                if item.modify_revision <= revision or self.whole:
                    transaction.delete(key)
                    bytes_left -= 0 if self.whole else len(item.value)
        if start is not None and self.whole:
            raise CommandFailed(
                Failure("TOO_MANY_KEYS", f"at most {self.keys_max} keys are removed in one step, and there are more")
            )
        return Page(revision, [], start)


def delete_many(keys: list[bytes]) -> DeleteMany:
    """Return a `DeleteMany` that may be proposed.

    Raises:
        InvalidCommand: there are too many, or one may not be.
    """
    check_keys(keys, [])
    return DeleteMany(keys)


def change_expiry(key: bytes, ttl_us: int, when: When = When.ALWAYS) -> ChangeExpiry:
    """Return a `ChangeExpiry` that may be proposed.

    Raises:
        InvalidCommand: the key is empty or too long, or the time to live is too long.
    """
    check_key(key)
    check_ttl(ttl_us)
    return ChangeExpiry(key, ttl_us, when)


def copy_key(source: bytes, destination: bytes, *, replaces: bool = False) -> Copy:
    """Return a `Copy` that keeps its source, to be proposed.

    Raises:
        InvalidCommand: a key is empty or too long.
    """
    check_key(source)
    check_key(destination)
    return Copy(source, destination, replaces, moves=False)


def move_key(source: bytes, destination: bytes, *, replaces: bool = True) -> Copy:
    """Return a `Copy` that removes its source, to be proposed.

    Raises:
        InvalidCommand: a key is empty or too long.
    """
    check_key(source)
    check_key(destination)
    return Copy(source, destination, replaces, moves=True)


def remove_all(start: bytes = b"", revision: int = 0, *, whole: bool = False) -> RemoveAll:
    """Return a step of the removal of all keys, to be proposed; without arguments the first one."""
    return RemoveAll(start, revision, WHOLE_KEYS_MAX if whole else REMOVED_KEYS_MAX, REMOVED_BYTES_MAX, whole)
