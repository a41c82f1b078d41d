"""Locks that hand out fencing tokens, and writes that only the holder of a token may make.

A lock is held until a deadline in cluster time (`kvraft.replica.cluster_clock`), which its holder moves by renewing it.
The queue of a lock is replicated through the log, so it is the same under the next leader. Each grant has a token that
is higher than all earlier ones. A write that is guarded by a token is applied only if its lock is held with that token
at the write's position in the log; so a holder that has lost its lock without noticing can change nothing.
"""

from typing import Annotated, ClassVar, Final

import msgspec
from typing_extensions import override

from kvraft.commands.base import ARGUMENTS_BYTES, INTEGER_BYTES, Mutation
from kvraft.commands.expiry import SECOND_US, Expire, Ttl, check_ttl
from kvraft.commands.lock_values import SUPERSEDED, Lock, Told, Waiter, settled
from kvraft.commands.model import (
    CommandFailed,
    Failure,
    Granted,
    InvalidCommand,
    LockState,
    Queued,
    Result,
    Transaction,
    View,
)
from kvraft.commands.transactions import Transact

LOCK_NAME_BYTES_MAX: Final = 1_024
OWNER_BYTES_MAX: Final = 128
LOCK_WAITERS_MAX: Final = 256
"""Most requests that wait for one lock. The lock and its queue are one row of a snapshot, copied at each change."""
WAIT_US_MAX: Final = 86_400 * SECOND_US
"""Longest wait for a lock, microseconds: a day."""
LOCKS_MAX: Final = 100_000
"""Most locks that are held at a time unless `limits.locks` says otherwise."""

_Count = Annotated[int, msgspec.Meta(ge=0)]


def stale_token(present: int) -> Failure:
    """Return the failure of a command whose token is no longer its lock's; `present` 0: the lock is not held."""
    holds = f"it is held with token {present}" if present else "nobody holds it"
    return Failure(
        "STALE_TOKEN",
        f"the lock is not held with this token any more: {holds}; nothing was changed",
        {"token": present or None},
    )


def settle(transaction: Transaction, name: bytes, lock: Lock) -> Lock | None:
    """Apply to a lock all deadlines that have passed, and return the lock afterwards; None: it is free."""
    now_it_is, told = settled(lock, transaction.cluster_time, transaction.next_number)
    if now_it_is is not lock:
        transaction.put_lock(name, now_it_is)
    transaction.tell_waiters(told)
    return now_it_is


def _held(transaction: Transaction, name: bytes, token: int) -> Lock | None:
    """Return a lock if it is held with a token."""
    lock = transaction.lock(name)
    return None if lock is None or lock.token != token or lock.deadline <= transaction.cluster_time else lock


class AcquireLock(Mutation, frozen=True, gc=False, array_like=True, tag=14):
    """Takes a lock, or a place in its queue. Its result is `Granted` or `Queued`.

    An owner that is named and asks again keeps the lock and its token, or its place in the queue.
    """

    LEVEL: ClassVar[int] = 3

    name: bytes
    ttl_us: Ttl
    wait_us: _Count
    """0: the request does not wait."""
    owner: bytes

    @property
    @override
    def size(self) -> int:
        return len(self.name) + len(self.owner) + 3 * INTEGER_BYTES + ARGUMENTS_BYTES

    @override
    def apply(self, transaction: Transaction) -> Result:
        lock = transaction.lock(self.name)
        if lock is not None:
            lock = settle(transaction, self.name, lock)
        if lock is None:
            ticket = transaction.next_number()
            self._hold(transaction, Lock(ticket, self.owner, 0, 0, ticket))
            return Granted(ticket, self.ttl_us, ticket)
        if self.owner and lock.owner == self.owner:  # a new ticket: the withdrawal of an earlier one frees nothing
            self._hold(transaction, msgspec.structs.replace(lock, ticket=transaction.next_number()))
            return Granted(lock.token, self.ttl_us)
        return self._wait(transaction, lock)

    def _hold(self, transaction: Transaction, lock: Lock) -> None:
        deadline = transaction.cluster_time + self.ttl_us
        transaction.put_lock(self.name, msgspec.structs.replace(lock, ttl_us=self.ttl_us, deadline=deadline))

    def _wait(self, transaction: Transaction, lock: Lock) -> Queued | Failure:
        if not self.wait_us:
            text = f"the lock is held with token {lock.token}; wait for it, or try again"
            return Failure("LOCK_HELD", text, {"token": lock.token})
        waiter = Waiter(transaction.next_number(), self.owner, self.ttl_us, transaction.cluster_time + self.wait_us)
        queue = [*lock.waiters]
        places = [place for place, other in enumerate(queue) if self.owner and other.owner == self.owner]
        if places:
            (place,) = places
            transaction.tell_waiters([Told(queue[place].ticket, SUPERSEDED)])
            queue[place] = waiter
        elif len(queue) >= LOCK_WAITERS_MAX:
            return Failure("TOO_MANY_WAITERS", f"{LOCK_WAITERS_MAX} wait for the lock already, and no more can")
        else:
            queue.append(waiter)
        transaction.put_lock(self.name, msgspec.structs.replace(lock, waiters=tuple(queue)))
        return Queued(waiter.ticket)


class ReleaseLock(Mutation, frozen=True, gc=False, array_like=True, tag=15):
    """Releases a lock, which is granted to the first waiter at once. Its result is 1."""

    LEVEL: ClassVar[int] = 3

    name: bytes
    token: _Count

    @property
    @override
    def size(self) -> int:
        return len(self.name) + INTEGER_BYTES + ARGUMENTS_BYTES

    @override
    def apply(self, transaction: Transaction) -> Result:
        lock = _held(transaction, self.name, self.token)
        if lock is None:
            return stale_token(transaction.token_of(self.name))
        settle(transaction, self.name, msgspec.structs.replace(lock, deadline=0))
        return 1


class RenewLock(Mutation, frozen=True, gc=False, array_like=True, tag=16):
    """Restarts the time to live of a lock that is held. Its result is `Granted`."""

    LEVEL: ClassVar[int] = 3

    name: bytes
    token: _Count
    ttl_us: Ttl
    """0: the same time to live as before."""

    @property
    @override
    def size(self) -> int:
        return len(self.name) + 2 * INTEGER_BYTES + ARGUMENTS_BYTES

    @override
    def apply(self, transaction: Transaction) -> Result:
        lock = _held(transaction, self.name, self.token)
        if lock is None:
            return stale_token(transaction.token_of(self.name))
        ttl_us = self.ttl_us or lock.ttl_us
        deadline = transaction.cluster_time + ttl_us
        transaction.put_lock(self.name, msgspec.structs.replace(lock, ttl_us=ttl_us, deadline=deadline))
        return Granted(lock.token, ttl_us)


class WithdrawRequest(Mutation, frozen=True, gc=False, array_like=True, tag=17):
    """Withdraws a request for a lock whose client left before it was answered. Its result is 1; 0: no such request.

    Only a leader proposes it. If this request was granted the lock, the lock is released.
    """

    LEVEL: ClassVar[int] = 3

    name: bytes
    ticket: _Count

    @property
    @override
    def size(self) -> int:
        return len(self.name) + INTEGER_BYTES + ARGUMENTS_BYTES

    @override
    def apply(self, transaction: Transaction) -> Result:
        lock = transaction.lock(self.name)
        if lock is None:
            return 0
        if lock.ticket == self.ticket:
            settle(transaction, self.name, msgspec.structs.replace(lock, deadline=0))
            return 1
        waiters = tuple(waiter for waiter in lock.waiters if waiter.ticket != self.ticket)
        if len(waiters) == len(lock.waiters):
            return 0
        transaction.put_lock(self.name, msgspec.structs.replace(lock, waiters=waiters))
        return 1


class Guarded(Mutation, frozen=True, gc=False, array_like=True, tag=18):
    """Applies a command if a lock is held with a token. Its result is that of the command."""

    LEVEL: ClassVar[int] = 3

    name: bytes
    token: _Count
    command: Transact | Expire

    @property
    @override
    def size(self) -> int:
        return len(self.name) + INTEGER_BYTES + ARGUMENTS_BYTES + self.command.size

    @override
    def apply(self, transaction: Transaction) -> Result:
        if _held(transaction, self.name, self.token) is None:
            raise CommandFailed(stale_token(transaction.token_of(self.name)))
        return self.command.apply(transaction)


class SetLockLimit(Mutation, frozen=True, gc=False, array_like=True, tag=13):
    """Sets the maximum number of locks that are held. Its result is 0.

    Locks that are held already stay. The bound is replicated through the log so that all members decide alike.
    """

    LEVEL: ClassVar[int] = 3

    locks_max: _Count

    @property
    @override
    def size(self) -> int:
        return INTEGER_BYTES + ARGUMENTS_BYTES

    @override
    def apply(self, transaction: Transaction) -> Result:
        transaction.set_lock_limit(self.locks_max)
        return 0


class DescribeLock(msgspec.Struct, frozen=True, gc=False):
    """Reads the holder of a lock. Its result is a `LockState`; None: the lock is not held."""

    name: bytes

    def run(self, view: View) -> LockState | None:
        """Return the state of the lock; None: it is not held."""
        return view.holder(self.name)


def acquire_lock(name: bytes, ttl_us: int, wait_us: int = 0, owner: bytes = b"") -> AcquireLock:
    """Return an `AcquireLock` that may be proposed.

    Raises:
        InvalidCommand: the name, the owner or a time is not allowed.
    """
    check_lock(name)
    check_ttl(ttl_us)
    if not 0 <= wait_us <= WAIT_US_MAX:
        raise InvalidCommand(f"a wait is at most {WAIT_US_MAX // SECOND_US} seconds")
    if len(owner) > OWNER_BYTES_MAX:
        raise InvalidCommand(f"the owner has {len(owner)} bytes; at most {OWNER_BYTES_MAX} are allowed")
    return AcquireLock(name, ttl_us, wait_us, owner)


def release_lock(name: bytes, token: int) -> ReleaseLock:
    """Return a `ReleaseLock` that may be proposed.

    Raises:
        InvalidCommand: the name or the token is not allowed.
    """
    check_lock(name)
    check_token(token)
    return ReleaseLock(name, token)


def renew_lock(name: bytes, token: int, ttl_us: int = 0) -> RenewLock:
    """Return a `RenewLock` that may be proposed.

    Raises:
        InvalidCommand: the name, the token or the time is not allowed.
    """
    check_lock(name)
    check_token(token)
    if ttl_us:
        check_ttl(ttl_us)
    return RenewLock(name, token, ttl_us)


def guarded(name: bytes, token: int, command: Transact | Expire) -> Guarded:
    """Return a `Guarded` that may be proposed.

    Raises:
        InvalidCommand: the name or the token is not allowed.
    """
    check_lock(name)
    check_token(token)
    return Guarded(name, token, command)


def describe_lock(name: bytes) -> DescribeLock:
    """Return a `DescribeLock` that may be run.

    Raises:
        InvalidCommand: the name is not allowed.
    """
    check_lock(name)
    return DescribeLock(name)


def check_lock(name: bytes) -> None:
    """Raise for a name that no lock may have.

    Raises:
        InvalidCommand: it is empty or too long.
    """
    if not 1 <= len(name) <= LOCK_NAME_BYTES_MAX:
        raise InvalidCommand(f"the name of a lock has 1 to {LOCK_NAME_BYTES_MAX} bytes, and not {len(name)}")


def check_token(token: int) -> None:
    """Raise for a number that cannot be a token.

    Raises:
        InvalidCommand: it cannot.
    """
    if not 1 <= token < 2**63:
        raise InvalidCommand(f"{token} is no token")
