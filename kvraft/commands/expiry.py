"""Keys that expire: the commands that set, read and remove deadlines.

A deadline is a point of cluster time (`kvraft.replica.cluster_clock`): the stamp of the command's batch plus the time
to live that the client requested. So it is the same on every member, and no wall clock is read.
"""

from typing import Annotated, ClassVar, Final

import msgspec
from typing_extensions import override

from kvraft.commands.base import ARGUMENTS_BYTES, INTEGER_BYTES, Mutation
from kvraft.commands.model import CommandFailed, Failure, InvalidCommand, Result, Transaction, View, check_key

SECOND_US: Final = 1_000_000
TTL_US_MIN: Final = 1_000
"""Shortest time to live, microseconds."""
TTL_US_MAX: Final = 10 * 365 * 86_400 * SECOND_US
"""Longest time to live, microseconds: ten years."""
EXPIRED_KEYS_MAX: Final = 200
"""Most keys that one log entry removes: two milliseconds' work (measured)."""
EXPIRED_BYTES_MAX: Final = 1024 * 1024
"""Bytes of removed values after which one log entry removes no more keys."""

Ttl = Annotated[int, msgspec.Meta(ge=0)]
"""A time to live as decoded from the log; a later kvraft may allow longer ones."""
_Count = Annotated[int, msgspec.Meta(ge=0)]


def missing() -> Failure:
    """Return the failure of a command whose key does not exist."""
    return Failure("NO_SUCH_KEY", "the key is not there, or has expired; nothing was changed")


class Expire(Mutation, frozen=True, gc=False, array_like=True, tag=7):
    """Replaces the deadline of a key by one after a time, or by none. Its result is the revision of the store.

    It makes no revision: value, revisions and version of the key stay.
    """

    LEVEL: ClassVar[int] = 3

    key: bytes
    ttl_us: Ttl
    """0: never."""

    @property
    @override
    def size(self) -> int:
        return len(self.key) + INTEGER_BYTES + ARGUMENTS_BYTES

    @override
    def apply(self, transaction: Transaction) -> Result:
        if transaction.get(self.key) is None:
            raise CommandFailed(missing())
        transaction.expire(self.key, self.ttl_us)
        return transaction.revision - 1


class RemoveExpired(Mutation, frozen=True, gc=False, array_like=True, tag=8):
    """Removes the keys that have expired by the stamp of its batch, those with the earliest deadlines first.

    It also ends expired client sessions, up to the same number.

    Only a leader proposes it. It names no key, so a key that was renewed before it in the log stays. Its bounds are in
    the log, so that a later kvraft may choose others. Its result is the number of keys removed, all at one revision.
    """

    LEVEL: ClassVar[int] = 3

    keys_max: _Count = EXPIRED_KEYS_MAX
    bytes_max: _Count = EXPIRED_BYTES_MAX

    @property
    @override
    def size(self) -> int:
        return 2 * INTEGER_BYTES + ARGUMENTS_BYTES

    @override
    def apply(self, transaction: Transaction) -> Result:
        transaction.end_expired_sessions(self.keys_max)
        return transaction.remove_expired(self.keys_max, self.bytes_max)


class TimeToLive(msgspec.Struct, frozen=True, gc=False):
    """Reads the time that a key has left. Its result is that time, microseconds; None: it does not expire."""

    key: bytes

    def run(self, view: View) -> int | Failure | None:
        """Return the time left."""
        return missing() if view.get(self.key) is None else view.time_to_live(self.key)


def check_ttl(ttl_us: int) -> None:
    """Raise for a time to live that is not allowed.

    Raises:
        InvalidCommand: it is too short or too long.
    """
    if not TTL_US_MIN <= ttl_us <= TTL_US_MAX:
        raise InvalidCommand(
            f"a time to live is at least {TTL_US_MIN / SECOND_US:g} and at most {TTL_US_MAX // SECOND_US} seconds"
        )


def expire_key(key: bytes, ttl_us: int) -> Expire:
    """Return an `Expire` that may be proposed.

    Raises:
        InvalidCommand: the key is empty or too long, or the time is.
    """
    check_key(key)
    check_ttl(ttl_us)
    return Expire(key, ttl_us)


def persist_key(key: bytes) -> Expire:
    """Return an `Expire` that removes the deadline of a key, and may be proposed.

    Raises:
        InvalidCommand: the key is empty or too long.
    """
    check_key(key)
    return Expire(key, 0)


def time_to_live(key: bytes) -> TimeToLive:
    """Return a read of the time that `key` has left.

    Raises:
        InvalidCommand: the key is empty or too long.
    """
    check_key(key)
    return TimeToLive(key)
