"""A lock as the store holds it: its holder and the requests that wait for it. Only this module decides its changes."""

from collections.abc import Callable

import msgspec


class Waiter(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A request in the queue of a lock."""

    ticket: int
    """Identifies this request; never used again."""
    owner: bytes
    """The name that the client gave; may be empty."""
    ttl_us: int
    """How long the client is to hold the lock unless it renews it, microseconds."""
    until: int
    """When its wait ends, in cluster time."""


class Lock(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A lock that is held, unless its deadline has passed."""

    token: int
    """The holder's token: unique among all grants of all locks, and lower than that of every later grant."""
    owner: bytes
    ttl_us: int
    deadline: int
    """When the holder loses the lock, in cluster time."""
    ticket: int
    """The request by which it was granted, or the latest request of the same owner."""
    waiters: tuple[Waiter, ...] = ()
    """In the order in which they will be granted the lock."""

    @property
    def next_deadline(self) -> int:
        """The earliest deadline of its holder and its waiters, in cluster time."""
        return min([self.deadline, *(waiter.until for waiter in self.waiters)])


class Told(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The outcome of a request that waited for a lock."""

    ticket: int
    token: int
    """The token that it was granted; 0: its wait has ended; SUPERSEDED: the same owner has asked again."""


SUPERSEDED = -1


def settled(lock: Lock, now: int, next_number: Callable[[], int]) -> tuple[Lock | None, list[Told]]:
    """Return the lock at a time, None when it is neither held nor waited for, and the outcomes of its waiters.

    Waiters whose wait has ended are removed before the lock is granted to the next one.
    """
    told = [Told(waiter.ticket, 0) for waiter in lock.waiters if waiter.until <= now]
    waiters = tuple(waiter for waiter in lock.waiters if waiter.until > now) if told else lock.waiters
    if lock.deadline > now:
        return msgspec.structs.replace(lock, waiters=waiters) if told else lock, told
    if not waiters:
        return None, told
    first = waiters[0]
    token = next_number()
    told.append(Told(first.ticket, token))
    return Lock(token, first.owner, first.ttl_us, now + first.ttl_us, first.ticket, waiters[1:]), told
