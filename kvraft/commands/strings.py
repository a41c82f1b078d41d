"""The commands of Redis on strings.

Times to live are relative, microseconds. An absolute time of a client's wall clock is converted to a relative one when
its request is parsed. `NEVER` means no deadline, `AS_BEFORE` keeps the present one, and `PASSED` is a time that has
passed already, so that the key is removed.
"""

import enum
from collections.abc import Sequence
from typing import ClassVar, Final, Self

from typing_extensions import override

from kvraft.commands import long_double
from kvraft.commands.base import ARGUMENTS_BYTES, INTEGER_BYTES, Machine, Mutation
from kvraft.commands.integers import check_integer, total
from kvraft.commands.item import Item
from kvraft.commands.model import (
    CommandFailed,
    Failure,
    InvalidCommand,
    Result,
    Transaction,
    check_key,
    check_value,
)
from kvraft.commands.transactions import APPENDED_BYTES_MAX, count_copied

NEVER: Final = 0
PASSED: Final = -1
AS_BEFORE: Final = None
TTL_US_LONGEST: Final = 2**62
"""Longest time to live of these commands, microseconds: 146,000 years."""
MANY_KEYS_MAX: Final = 1_000
"""Most keys of one command: up to ten milliseconds' work (measured)."""
MANY_BYTES_MAX: Final = 16 * 1024 * 1024
"""Most bytes of keys and values of one command."""
_WORK_BYTES: Final = 16 * 1024
"""What a command that copies a long value counts in a log entry in addition to its bytes."""

_PAIR_WORK_BYTES: Final = 64
"""What each key of a command on many counts in a log entry in addition to its bytes, so that one entry holds few."""

Ttl = int | None


class Presence(enum.IntEnum):
    """What must be stored under a key before the command, so that it takes effect."""

    ANY = 0
    ABSENT = 1
    """Nothing."""
    PRESENT = 2
    """Something."""


def put(transaction: Transaction, key: bytes, value: bytes, ttl_us: Ttl) -> None:
    """Store a value to expire after a time, or remove the key if that time has passed."""
    if ttl_us == PASSED:
        transaction.delete(key)
    else:
        transaction.put(key, value, ttl_us)


class SetIf(Mutation, frozen=True, gc=False, array_like=True, tag=23):
    """Stores `value` under `key` if `presence` allows it.

    Its result is 1, or 0 if nothing was stored. With `returns_old` it is the item that was stored under the key before,
    or None, in both cases.
    """

    LEVEL: ClassVar[int] = 3

    key: bytes
    value: bytes
    ttl_us: Ttl
    presence: Presence
    returns_old: bool

    @property
    @override
    def size(self) -> int:
        return len(self.key) + len(self.value) + 3 * INTEGER_BYTES + ARGUMENTS_BYTES

    @override
    def apply(self, transaction: Transaction) -> Result:
        old = transaction.get(self.key)
        wanted = self.presence is Presence.ANY or (old is None) == (self.presence is Presence.ABSENT)
        if wanted:
            put(transaction, self.key, self.value, self.ttl_us)
        if self.returns_old:
            return old
        return int(wanted)


class SetMany(Mutation, frozen=True, gc=False, array_like=True, tag=24):
    """Stores values under their keys; with `only_new` none if one of the keys exists. Its result is 1 or 0.

    If a key is named twice, its last value is stored.
    """

    LEVEL: ClassVar[int] = 3

    pairs: list[tuple[bytes, bytes]]
    only_new: bool

    @property
    @override
    def size(self) -> int:
        bytes_ = sum(len(key) + len(value) for key, value in self.pairs)
        return bytes_ + (ARGUMENTS_BYTES + _PAIR_WORK_BYTES) * len(self.pairs) + 2 * ARGUMENTS_BYTES

    @override
    def apply(self, transaction: Transaction) -> Result:
        if self.only_new and any(transaction.get(key) is not None for key, _ in self.pairs):
            return 0
        transaction.put_all([*dict(self.pairs).items()])
        return 1


class Take(Mutation, frozen=True, gc=False, array_like=True, tag=25):
    """Removes a key. Its result is the `Item` that was removed, or None."""

    LEVEL: ClassVar[int] = 3

    key: bytes

    @property
    @override
    def size(self) -> int:
        return len(self.key) + ARGUMENTS_BYTES

    @override
    def apply(self, transaction: Transaction) -> Item | None:
        item = transaction.get(self.key)
        transaction.delete(self.key)
        return item


class GetAndExpire(Mutation, frozen=True, gc=False, array_like=True, tag=26):
    """Reads a key, and sets or removes its deadline. Its result is its `Item`, or None."""

    LEVEL: ClassVar[int] = 3

    key: bytes
    ttl_us: int

    @property
    @override
    def size(self) -> int:
        return len(self.key) + INTEGER_BYTES + ARGUMENTS_BYTES

    @override
    def apply(self, transaction: Transaction) -> Item | None:
        item = transaction.get(self.key)
        if item is not None:
            expire(transaction, self.key, self.ttl_us)
        return item


def expire(transaction: Transaction, key: bytes, ttl_us: int) -> None:
    """Set or remove the deadline of a key that exists, or remove the key if the time has passed."""
    if ttl_us == PASSED:
        transaction.delete(key)
    else:
        transaction.expire(key, ttl_us)


class SetRange(Mutation, frozen=True, gc=False, array_like=True, tag=27):
    """Writes bytes into a value from an offset on, after zeros if it is shorter. Its result is the new length, bytes.

    Without bytes nothing is written. The deadline of the key stays.
    """

    LEVEL: ClassVar[int] = 3

    key: bytes
    offset: int
    value: bytes

    @property
    @override
    def size(self) -> int:
        return len(self.key) + len(self.value) + INTEGER_BYTES + ARGUMENTS_BYTES + _WORK_BYTES

    @override
    def apply(self, transaction: Transaction) -> Result:
        item = transaction.get(self.key)
        old = b"" if item is None else item.value
        if not self.value:
            return len(old)
        end = self.offset + len(self.value)
        if max(end, len(old)) > APPENDED_BYTES_MAX:
            raise CommandFailed(_too_long(max(end, len(old))))
        count_copied(transaction, max(end, len(old)))
        new = old[: self.offset].ljust(self.offset, b"\0") + self.value + old[end:]
        transaction.put(self.key, new, AS_BEFORE)
        return len(new)


def _too_long(length: int) -> Failure:
    return Failure(
        "VALUE_TOO_LONG",
        f"the value would have {length} bytes; one that is changed in its middle has at most {APPENDED_BYTES_MAX}",
    )


class AddFloat(Mutation, frozen=True, gc=False, array_like=True, tag=28):
    """Adds a number to a value that is one, both as decimal fractions; a key that does not exist counts as 0.

    Its result is the sum as text, which is the new value; see `kvraft.commands.long_double`. The deadline of the key
    stays.
    """

    LEVEL: ClassVar[int] = 3

    key: bytes
    by: bytes

    @property
    @override
    def size(self) -> int:
        return len(self.key) + len(self.by) + ARGUMENTS_BYTES + _WORK_BYTES

    @override
    def apply(self, transaction: Transaction) -> str:
        item = transaction.get(self.key)
        try:
            total = long_double.add(b"0" if item is None else item.value, self.by)
        except long_double.NoNumber:
            raise CommandFailed(
                Failure("NOT_A_FRACTION", "the value or what is added is no decimal fraction")
            ) from None
        except long_double.Infinite:
            raise CommandFailed(Failure("INFINITE", "the sum would be infinite")) from None
        transaction.put(self.key, total.encode(), AS_BEFORE)
        return total


class Increment(Mutation, frozen=True, gc=False, array_like=True, tag=34):
    """Adds a number to a value that is one; a key that does not exist counts as 0. Its result is the sum.

    The deadline of the key stays. A `Transact` with an `Add` has the same effect, at twice the work.
    """

    LEVEL: ClassVar[int] = 3

    key: bytes
    by: int

    @property
    @override
    def size(self) -> int:
        return len(self.key) + INTEGER_BYTES + ARGUMENTS_BYTES

    @override
    def apply(self, transaction: Transaction) -> Result:
        number = total(transaction.get(self.key), self.by)
        transaction.put(self.key, b"%d" % number, AS_BEFORE)
        return number

    @override
    @classmethod
    def apply_all(cls, run: Sequence[Self], machine: Machine) -> list[Result]:
        return machine.increment_all(run)


# --- checked constructors --------------------------------------------------------------------------------------------


def check_keys(keys: list[bytes], values: list[bytes]) -> None:
    """Raise for keys and values that one command may not hold together.

    Raises:
        InvalidCommand: they are too many or too long together, or one of them is too long.
    """
    if len(keys) > MANY_KEYS_MAX:
        raise InvalidCommand(f"a command names at most {MANY_KEYS_MAX} keys, and not {len(keys)}; send several")
    for key in keys:
        check_key(key)
    for value in values:
        check_value(value)
    if sum(map(len, keys)) + sum(map(len, values)) > MANY_BYTES_MAX:
        raise InvalidCommand(f"a command has at most {MANY_BYTES_MAX} bytes of keys and values; send several")


def check_ttl(ttl_us: Ttl) -> None:
    """Raise for a time to live that is not allowed.

    Raises:
        InvalidCommand: it is too long.
    """
    if ttl_us is not None and not PASSED <= ttl_us <= TTL_US_LONGEST:
        raise InvalidCommand(f"a time to live has at most {TTL_US_LONGEST} microseconds")


def set_if(
    key: bytes, value: bytes, *, ttl_us: Ttl = NEVER, presence: Presence = Presence.ANY, returns_old: bool = False
) -> SetIf:
    """Return a `SetIf` that may be proposed.

    Raises:
        InvalidCommand: the key is empty or too long, or the value or the time to live is too long.
    """
    check_key(key)
    check_value(value)
    check_ttl(ttl_us)
    return SetIf(key, value, ttl_us, presence, returns_old)


def set_many(pairs: list[tuple[bytes, bytes]], *, only_new: bool = False) -> SetMany:
    """Return a `SetMany` that may be proposed.

    Raises:
        InvalidCommand: there are too many, or a key or value is not allowed.
    """
    check_keys([key for key, _ in pairs], [value for _, value in pairs])
    return SetMany(pairs, only_new)


def take_key(key: bytes) -> Take:
    """Return a `Take` that may be proposed.

    Raises:
        InvalidCommand: the key is empty or too long.
    """
    check_key(key)
    return Take(key)


def get_and_expire(key: bytes, ttl_us: int) -> GetAndExpire:
    """Return a `GetAndExpire` that may be proposed.

    Raises:
        InvalidCommand: the key is empty or too long, or the time to live is too long.
    """
    check_key(key)
    check_ttl(ttl_us)
    return GetAndExpire(key, ttl_us)


def set_range(key: bytes, offset: int, value: bytes) -> SetRange:
    """Return a `SetRange` that may be proposed.

    Raises:
        InvalidCommand: the key is empty or too long, or the value would become too long.
    """
    check_key(key)
    if value and not 0 <= offset <= APPENDED_BYTES_MAX - len(value):
        raise InvalidCommand(_too_long(offset + len(value)).message)
    return SetRange(key, max(offset, 0) if value else 0, value)


def add_float(key: bytes, by: bytes) -> AddFloat:
    """Return an `AddFloat` that may be proposed.

    Raises:
        InvalidCommand: the key is empty or too long, or what is added is no number.
    """
    check_key(key)
    try:
        long_double.read(by)
    except long_double.NoNumber:
        raise InvalidCommand("what is added is no decimal fraction") from None
    return AddFloat(key, by)


def add_integer(key: bytes, by: int = 1) -> Increment:
    """Return an `Increment` that may be proposed.

    Raises:
        InvalidCommand: the key is empty or too long, or the number does not fit 64 bits.
    """
    check_key(key)
    check_integer(by)
    return Increment(key, by)
