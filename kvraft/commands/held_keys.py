"""Keys held by a secret value: the commands that a lock by `SET key secret NX PX time` needs in addition to SET."""

import enum
from typing import ClassVar

from typing_extensions import override

from kvraft.commands.base import ARGUMENTS_BYTES, INTEGER_BYTES, Mutation
from kvraft.commands.model import Result, Transaction


class NewExpiry(enum.IntEnum):
    """How the time to live of a key changes."""

    SET = 0
    """Set it to the given time."""
    REPLACE = 1
    """Set it to the given time, if the key expires at all."""
    ADD = 2
    """Add the given time to it, if the key expires at all."""


class ExpireHeld(Mutation, frozen=True, gc=False, array_like=True, tag=39):
    """Changes the deadline of a key if its value is `secret`. Its result is 1 if it has done so, else 0.

    A time that has passed removes the key, as in Redis.
    """

    LEVEL: ClassVar[int] = 3

    key: bytes
    secret: bytes
    ttl_us: int
    how: NewExpiry

    @property
    @override
    def size(self) -> int:
        return len(self.key) + len(self.secret) + 2 * INTEGER_BYTES + ARGUMENTS_BYTES

    @override
    def apply(self, transaction: Transaction) -> Result:
        item = transaction.get(self.key)
        if item is None or item.value != self.secret:
            return 0
        ttl_us = self.ttl_us
        if self.how is not NewExpiry.SET:
            left_us = transaction.time_to_live(self.key)
            if left_us is None:
                return 0
            if self.how is NewExpiry.ADD:
                ttl_us += left_us
        if ttl_us <= 0:
            transaction.delete(self.key)
        else:
            transaction.expire(self.key, ttl_us)
        return 1
