"""Keys that expire: when they do, and what removes them.

A deadline is a point of cluster time (`kvraft.replica.cluster_clock`): that of the command's batch, and the time to
live that the client asked for. Every member comes to the same one, and no wall clock is asked.
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
"""Keys that one entry of the log removes: two milliseconds' work (measured)."""
EXPIRED_BYTES_MAX: Final = 1024 * 1024
"""An entry that has removed so many bytes of values removes no more keys."""

Ttl = Annotated[int, msgspec.Meta(ge=0)]
"""A time to live as it is read in the log; a later kvraft may allow more than this one."""
_Count = Annotated[int, msgspec.Meta(ge=0)]


def missing() -> Failure:
    """Return the failure of a command whose key is not there."""
    return Failure("NO_SUCH_KEY", "the key is not there, or has expired; nothing was changed")


class Expire(Mutation, frozen=True, gc=False, array_like=True, tag=7):
    """Lets a key expire after a time, or never, whatever was said before. Its result is the revision of the store.

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
    """Removes the keys that have expired by the stamp of its batch, those of the earliest deadlines first.

    It ends as many sessions of clients that have expired, too.

    Only a leader proposes it. It names no key: what was renewed before it in the log stays. Its bounds stand in the
    log, so that a later kvraft may choose others. Its result is the number of keys removed, all at one revision.
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
    """Asks when a key expires. Its result is the time left, microseconds; None: it does not expire."""

    key: bytes

    def run(self, view: View) -> int | Failure | None:
        """Return the time left."""
        return missing() if view.get(self.key) is None else view.time_to_live(self.key)


def check_ttl(ttl_us: int) -> None:
    """Refuse a time to live that no key may be given.

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
    """Return what lets a key never expire, to be proposed.

    Raises:
        InvalidCommand: the key is empty or too long.
    """
    check_key(key)
    return Expire(key, 0)


def time_to_live(key: bytes) -> TimeToLive:
    """Return the question when `key` expires.

    Raises:
        InvalidCommand: the key is empty or too long.
    """
    check_key(key)
    return TimeToLive(key)
