"""A lock as it stands in the store: who holds it, and who waits for it. What happens to it is decided here alone."""

from collections.abc import Callable

import msgspec


class Waiter(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A place in the queue of a lock."""

    ticket: int
    """Names this request, once and for all."""
    owner: bytes
    """What the client calls itself; may be empty."""
    ttl_us: int
    """How long it is to hold the lock unless it renews it, microseconds."""
    until: int
    """When it waits no more, in cluster time."""


class Lock(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A lock that somebody holds, unless its deadline has passed."""

    token: int
    """The holder's token: no other grant of any lock has had it, and all later ones have higher ones."""
    owner: bytes
    ttl_us: int
    deadline: int
    """When the holder has lost it, in cluster time."""
    ticket: int
    """The request by which it was granted, or that the same owner made last."""
    waiters: tuple[Waiter, ...] = ()
    """In the order in which they are granted it."""

    @property
    def next_deadline(self) -> int:
        """When something happens to it by itself."""
        return min([self.deadline, *(waiter.until for waiter in self.waiters)])


class Told(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What became of a request that waited for a lock."""

    ticket: int
    token: int
    """0: its wait has ended; SUPERSEDED: the same owner has asked again."""


SUPERSEDED = -1


def settled(lock: Lock, now: int, next_number: Callable[[], int]) -> tuple[Lock | None, list[Told]]:
    """Return what a lock is at a time, None when nobody has or wants it, and what its waiters must be told.

    Waiters whose wait has ended are left out before anybody is granted the lock.
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
