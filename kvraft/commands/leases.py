"""Leases: times to live that many keys share, and that their owner renews as long as it lives.

A lease is a number and a deadline in cluster time (`kvraft.replica.cluster_clock`). Keys that are attached to it go
when it ends. A number is never given twice: one that a client chooses must be above all that were given before it.
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
"""Highest number of a lease: every JSON reader takes it for what it is."""
LEASE_ID_STEP_MAX: Final = 2**41
"""A number that a client chooses is at most so far above the highest that was given. So the clock of a machine in
milliseconds is possible, and one mistaken number does not use up all of them."""
LEASES_MAX: Final = 100_000
"""So many leases there may be unless `limits.leases` says otherwise."""
LISTED_KEYS_MAX: Final = 1_000
"""Keys of a lease that are shown at once."""
LISTED_LEASES_MAX: Final = 1_000
"""Leases that are shown at once."""

LeaseId = Annotated[int, msgspec.Meta(ge=0)]
"""The number of a lease as it is read in the log; a later kvraft may give higher ones than this."""
_Count = Annotated[int, msgspec.Meta(ge=0)]


def no_such_lease(lease: int) -> Failure:
    """Return the result of a command whose lease is not there."""
    return Failure("NO_SUCH_LEASE", f"there is no lease {lease}, or it has ended; nothing was changed")


class GrantLease(Mutation, frozen=True, gc=False, array_like=True, tag=9):
    """Begins a lease. Its result is the lease's number."""

    LEVEL: ClassVar[int] = 3

    ttl_us: Ttl
    lease: LeaseId = 0
    """The number that it is to have; 0: the next one."""

    @property
    @override
    def size(self) -> int:
        return 2 * INTEGER_BYTES + ARGUMENTS_BYTES

    @override
    def apply(self, transaction: Transaction) -> Result:
        return transaction.grant_lease(self.ttl_us, self.lease)


class RenewLease(Mutation, frozen=True, gc=False, array_like=True, tag=10):
    """Lets a lease that has not ended begin its time anew. Its result is that time, microseconds."""

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
    """Ends a lease, and with it its keys. Its result is the revision of the store with that.

    It removes as many keys as its bounds allow, all at one revision; the others are seen by nothing any more and are
    removed by `RemoveExpired`.
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
    """Bounds how many leases there may be from here on. Its result is 0.

    Those that are there already stay. It stands in the log so that all members decide the same.
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
    """Asks what a lease is. Its result is a `LeaseState`."""

    lease: int
    keys_max: int

    def run(self, view: View) -> LeaseState | Failure:
        """Return what it is."""
        return view.lease(self.lease, self.keys_max) or no_such_lease(self.lease)


class LeaseOf(msgspec.Struct, frozen=True, gc=False):
    """Asks to which lease a key is attached. Its result is the number of the lease; 0: to none, or it is not there."""

    key: bytes

    def run(self, view: View) -> int:
        """Return the number."""
        return view.lease_of(self.key)


class ListLeases(msgspec.Struct, frozen=True, gc=False):
    """Asks which leases there are. Its result is a `LeasePage`."""

    after: int
    """Those with higher numbers."""
    limit: int = LISTED_LEASES_MAX

    def run(self, view: View) -> LeasePage:
        """Return the first ones."""
        return view.leases(self.after, self.limit)


def chosen_lease_refused(lease: int, last: int) -> CommandFailed:
    """Return why a number that a client has chosen cannot be given."""
    if lease <= last:
        text = f"lease {lease} is there or was there; a number is given once: choose one above {last}, or none"
    else:
        text = f"lease {lease} is too far above {last}, the last one: choose one closer to it, or none"
    return CommandFailed(Failure("LEASE_ID_REFUSED", text, {"last_lease": last}))


def grant_lease(ttl_us: int, lease: int = 0) -> GrantLease:
    """Return a `GrantLease` that may be proposed.

    Raises:
        InvalidCommand: the time or the number cannot be.
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
    return RevokeLease(lease)


def describe_lease(lease: int, *, with_keys: bool = False) -> DescribeLease:
    """Return the question what a lease is.

    Raises:
        InvalidCommand: there can be no such lease.
    """
    check_lease(lease)
    return DescribeLease(lease, LISTED_KEYS_MAX if with_keys else 0)


def lease_of(key: bytes) -> LeaseOf:
    """Return the question to which lease `key` is attached.

    Raises:
        InvalidCommand: the key is empty or too long.
    """
    check_key(key)
    return LeaseOf(key)


def check_lease(lease: int) -> None:
    """Refuse a number that no lease has.

    Raises:
        InvalidCommand: it is none.
    """
    if not 1 <= lease <= LEASE_ID_MAX:
        raise InvalidCommand(f"a lease is a number from 1 to {LEASE_ID_MAX}, and not {lease}")
