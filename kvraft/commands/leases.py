"""Leases: times to live that many keys share, and that a client renews while it runs.

A lease is a number and a deadline in cluster time (`kvraft.replica.cluster_clock`). The keys that are attached to it
are removed when it ends. A number is never used twice: one that a client chooses must be above all earlier ones.
"""

from typing import Annotated, ClassVar, Final

import msgspec
from typing_extensions import override

from kvraft.commands.base import ARGUMENTS_BYTES, INTEGER_BYTES, Mutation
from kvraft.commands.expiry import EXPIRED_BYTES_MAX, EXPIRED_KEYS_MAX, Ttl, check_ttl
from kvraft.commands.model import (
    CommandFailed,
    Failure,
    InvalidCommand,
    LeasePage,
    LeaseState,
    Result,
    Transaction,
    View,
    check_key,
)

LEASE_ID_MAX: Final = 2**53 - 1
"""Highest number of a lease: every JSON reader represents it exactly."""
LEASE_ID_STEP_MAX: Final = 2**41
"""How far a number that a client chooses may be above the highest one used. So a machine's clock in milliseconds is
possible, and one mistaken number does not use up all of them."""
LEASES_MAX: Final = 100_000
"""Most leases, unless `limits.leases` sets another number."""
LISTED_KEYS_MAX: Final = 1_000
"""Most keys of a lease in one result."""
LISTED_LEASES_MAX: Final = 1_000
"""Most leases in one result."""

LeaseId = Annotated[int, msgspec.Meta(ge=0)]
"""The number of a lease as decoded from the log; a later kvraft may use higher ones than this."""
_Count = Annotated[int, msgspec.Meta(ge=0)]


def no_such_lease(lease: int) -> Failure:
    """Return the failure of a command whose lease does not exist."""
    return Failure("NO_SUCH_LEASE", f"there is no lease {lease}, or it has ended; nothing was changed")


class GrantLease(Mutation, frozen=True, gc=False, array_like=True, tag=9):
    """Creates a lease. Its result is the lease's number."""

    LEVEL: ClassVar[int] = 3

    ttl_us: Ttl
    lease: LeaseId = 0
    """The number of the new lease; 0: the next one."""

    @property
    @override
    def size(self) -> int:
        return 2 * INTEGER_BYTES + ARGUMENTS_BYTES

    @override
    def apply(self, transaction: Transaction) -> Result:
        return transaction.grant_lease(self.ttl_us, self.lease)


class RenewLease(Mutation, frozen=True, gc=False, array_like=True, tag=10):
    """Restarts the time to live of a lease that has not ended. Its result is that time, microseconds."""

    LEVEL: ClassVar[int] = 3

    lease: LeaseId

    @property
    @override
    def size(self) -> int:
        return INTEGER_BYTES + ARGUMENTS_BYTES

    @override
    def apply(self, transaction: Transaction) -> Result:
        return transaction.renew_lease(self.lease)


class RevokeLease(Mutation, frozen=True, gc=False, array_like=True, tag=11):
    """Ends a lease and removes its keys. Its result is the revision of the store after that.

    It removes as many keys as its bounds allow, all at one revision. The others are hidden at once, and `RemoveExpired`
    removes them later.
    """

    LEVEL: ClassVar[int] = 3

    lease: LeaseId
    keys_max: _Count = EXPIRED_KEYS_MAX
    bytes_max: _Count = EXPIRED_BYTES_MAX

    @property
    @override
    def size(self) -> int:
        return 3 * INTEGER_BYTES + ARGUMENTS_BYTES

    @override
    def apply(self, transaction: Transaction) -> Result:
        transaction.revoke_lease(self.lease, self.keys_max, self.bytes_max)
        return transaction.revision - (not transaction.has_changed)


class SetLeaseLimit(Mutation, frozen=True, gc=False, array_like=True, tag=12):
    """Sets the maximum number of leases. Its result is 0.

    Existing leases stay. The bound is replicated through the log so that all members decide alike.
    """

    LEVEL: ClassVar[int] = 3

    leases_max: _Count

    @property
    @override
    def size(self) -> int:
        return INTEGER_BYTES + ARGUMENTS_BYTES

    @override
    def apply(self, transaction: Transaction) -> Result:
        transaction.set_lease_limit(self.leases_max)
        return 0


class DescribeLease(msgspec.Struct, frozen=True, gc=False):
    """Reads the state of a lease. Its result is a `LeaseState`."""

    lease: int
    keys_max: int

    def run(self, view: View) -> LeaseState | Failure:
        """Return the state."""
        return view.lease(self.lease, self.keys_max) or no_such_lease(self.lease)


class LeaseOf(msgspec.Struct, frozen=True, gc=False):
    """Reads the number of the lease to which a key is attached. Its result is that; 0: to none, or there is no key."""

    key: bytes

    def run(self, view: View) -> int:
        """Return the number."""
        return view.lease_of(self.key)


class ListLeases(msgspec.Struct, frozen=True, gc=False):
    """Lists leases in the order of their numbers. Its result is a `LeasePage`."""

    after: int
    """It lists the leases with higher numbers than this."""
    limit: int = LISTED_LEASES_MAX

    def run(self, view: View) -> LeasePage:
        """Return the first ones."""
        return view.leases(self.after, self.limit)


def chosen_lease_refused(lease: int, last: int) -> CommandFailed:
    """Return the failure of a command with a number that a client may not choose."""
    if lease <= last:
        text = f"lease {lease} is there or was there; a number is given once: choose one above {last}, or none"
    else:
        text = f"lease {lease} is too far above {last}, the last one: choose one closer to it, or none"
    return CommandFailed(Failure("LEASE_ID_REFUSED", text, {"last_lease": last}))


def grant_lease(ttl_us: int, lease: int = 0) -> GrantLease:
    """Return a `GrantLease` that may be proposed.

    Raises:
        InvalidCommand: the time or the number is not allowed.
    """
    check_ttl(ttl_us)
    if lease:
        check_lease(lease)
    return GrantLease(ttl_us, lease)


def renew_lease(lease: int) -> RenewLease:
    """Return a `RenewLease` that may be proposed.

    Raises:
        InvalidCommand: there can be no such lease.
    """
    check_lease(lease)
    return RenewLease(lease)


def revoke_lease(lease: int) -> RevokeLease:
    """Return a `RevokeLease` that may be proposed.

    Raises:
        InvalidCommand: there can be no such lease.
    """
    check_lease(lease)
    return RevokeLease(lease, EXPIRED_KEYS_MAX)


def describe_lease(lease: int, *, with_keys: bool = False) -> DescribeLease:
    """Return a read of the state of a lease.

    Raises:
        InvalidCommand: there can be no such lease.
    """
    check_lease(lease)
    return DescribeLease(lease, LISTED_KEYS_MAX if with_keys else 0)


def lease_of(key: bytes) -> LeaseOf:
    """Return a read of the lease to which `key` is attached.

    Raises:
        InvalidCommand: the key is empty or too long.
    """
    check_key(key)
    return LeaseOf(key)


def check_lease(lease: int) -> None:
    """Raise for a number that no lease can have.

    Raises:
        InvalidCommand: no lease can have it.
    """
    if not 1 <= lease <= LEASE_ID_MAX:
        raise InvalidCommand(f"a lease is a number from 1 to {LEASE_ID_MAX}, and not {lease}")
