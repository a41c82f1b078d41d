"""Locks, written for simplicity and not for speed: the part of `kvraft.simulation.twin` that grants them.

It shares only the commands and the types of their results with the production code.
"""

import attrs

from kvraft.commands import (
    AcquireLock,
    Failure,
    Granted,
    Queued,
    ReleaseLock,
    RenewLock,
    Result,
    WithdrawRequest,
)

LockCommand = AcquireLock | ReleaseLock | RenewLock | WithdrawRequest


@attrs.define
class Request:
    """The holder of a lock, or a request that waits for it."""

    ticket: int
    owner: bytes
    ttl_us: int
    until: int
    """The deadline of the holder, the end of the wait of others."""
    token: int = 0


class LockTwin:
    """All locks: the first request of each holds it, the others wait in order."""

    def __init__(self) -> None:
        self.locks: dict[bytes, list[Request]] = {}
        self.last = 0
        self.told: list[tuple[int, int]] = []
        """The outcome of each ticket that waited: the token, 0 for a timeout, -1 for a later request of the owner."""

    def token_of(self, name: bytes, now: int) -> int:
        """Return the token with which a lock is held."""
        requests = self.locks.get(name)
        return requests[0].token if requests and requests[0].until > now else 0

    def apply(self, command: LockCommand, now: int, revision: int) -> Result:
        """Carry out a command."""
        name = command.name
        requests = self.locks.get(name, [])
        match command:
            case AcquireLock():
                self.settle(name, now, revision)
                return self._acquire(command, now, revision)
            case WithdrawRequest():
                found = [each for each in requests if each.ticket == command.ticket]
                if found and found[0] is requests[0]:
                    self._release(name, now, revision)
                elif found:
                    requests.remove(found[0])
                return len(found)
        token = self.token_of(name, now)
        if not token or token != command.token:
            return Failure("STALE_TOKEN", "")
        if isinstance(command, ReleaseLock):
            self._release(name, now, revision)
            return 1
        holder = requests[0]
        holder.ttl_us = command.ttl_us or holder.ttl_us
        holder.until = now + holder.ttl_us
        return Granted(token, holder.ttl_us)

    def settle(self, name: bytes, now: int, revision: int) -> None:
        """Process the deadlines that are over: first waits end, then the first waiting request gets a free lock."""
        requests = self.locks.get(name)
        if requests is None:
            return
        holder, *others = requests
        self.told += [(each.ticket, 0) for each in others if each.until <= now]
        left = [each for each in others if each.until > now]
        if holder.until > now:
            self.locks[name] = [holder, *left]
        elif left:
            left[0].token = self._number(revision)
            left[0].until = now + left[0].ttl_us
            self.told.append((left[0].ticket, left[0].token))
            self.locks[name] = left
        else:
            del self.locks[name]

    def due(self, now: int) -> list[bytes]:
        """Return the locks with a deadline, the earliest first."""
        first = sorted((min(each.until for each in requests), name) for name, requests in self.locks.items())
        return [name for until, name in first if until <= now]

    def _number(self, revision: int) -> int:
        self.last = max(self.last + 1, revision + 1)
        return self.last

    def _release(self, name: bytes, now: int, revision: int) -> None:
        self.locks[name][0].until = 0
        self.settle(name, now, revision)

    def _acquire(self, command: AcquireLock, now: int, revision: int) -> Result:
        requests = self.locks.get(command.name)
        if requests is None:
            number = self._number(revision)
            self.locks[command.name] = [Request(number, command.owner, command.ttl_us, now + command.ttl_us, number)]
            return Granted(number, command.ttl_us, number)
        holder = requests[0]
        if command.owner and holder.owner == command.owner:
            holder.ticket, holder.ttl_us = self._number(revision), command.ttl_us
            holder.until = now + command.ttl_us
            return Granted(holder.token, command.ttl_us)
        if not command.wait_us:
            return Failure("LOCK_HELD", "")
        mine = Request(self._number(revision), command.owner, command.ttl_us, now + command.wait_us)
        for place, other in enumerate(requests):
            if command.owner and other.owner == command.owner:
                self.told.append((other.ticket, -1))
                requests[place] = mine
                return Queued(mine.ticket)
        requests.append(mine)
        return Queued(mine.ticket)
