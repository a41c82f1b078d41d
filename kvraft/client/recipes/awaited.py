"""The recipes for the clients for asyncio and Twisted. The docstrings in `blocking` state their guarantees."""

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

from kvraft.client import awaited, holding, requests
from kvraft.client.errors import ClientError, Compacted, InvalidRequest
from kvraft.client.holding import Leader
from kvraft.client.recipes import policy
from kvraft.client.recipes.policy import TTL_S, Changed, Course, Step, Steps, TimedOut
from kvraft.client.requests import Request
from kvraft.client.transactions import Operation
from kvraft.client.values import Event, Outcome, Text, to_bytes

T = TypeVar("T")
Signal = TypeVar("Signal")


class Watching(Protocol):
    """The methods of a watch that this module calls."""

    async def take(self, timeout_s: float | None = None) -> Event | None:
        """Return the next event; None if none comes within `timeout_s` seconds."""
        ...

    def close(self) -> None:
        """End the watch."""
        ...


class Caller(Protocol):
    """The methods of a client that requests and watches need."""

    def execute(self, request: Request[T], timeout: float | None = None) -> Awaitable[T]:
        """Carry out a request."""
        ...

    def watch_prefix(self, start: Text, *, first: int | None = None) -> Watching:
        """Watch the keys with a prefix."""
        ...


class Holder(Caller, Protocol[Signal]):
    """A client that also holds leases and locks: `AsyncClient`, or the client for Twisted."""

    def lease(self, ttl: float = TTL_S) -> awaited.Lease[Signal]:
        """Return a lease."""
        ...

    def lock(
        self, name: Text, ttl: float = TTL_S, *, wait: float | None = None, identity: Text = b""
    ) -> awaited.Lock[Signal]:
        """Return a lock."""
        ...


async def run(client: Caller, steps: Steps[T], wait: float | None = None) -> T:
    """Carry out the steps of a recipe; `wait`: seconds to wait for changes in total, None: without limit.

    Raises:
        TimedOut: a change did not come in time.
    """
    until = None if wait is None else time.monotonic() + wait
    course = Course(steps)
    while (step := course.step) is not None:
        try:
            value = await _carried_out(client, step, until)
        except ClientError as error:
            course.failed(error)
        else:
            course.answered(value)
    return course.result


async def _carried_out(client: Caller, step: Step, until: float | None) -> object:
    if not isinstance(step, Changed):
        return await client.execute(step)
    watch = client.watch_prefix(step.prefix, first=step.after + 1)
    try:
        event = await watch.take(None if until is None else max(0.0, until - time.monotonic()))
    except Compacted:  # so many changes that the first is not kept any more: read again
        return None
    finally:
        watch.close()
    if event is None:
        raise TimedOut("it did not happen in time")
    return None


class Counter:
    """A 64-bit integer that many clients add to."""

    def __init__(self, client: Caller, key: Text) -> None:
        self._client = client
        self._key = key

    async def add(self, by: int = 1) -> int:
        """Add to the counter, and return the sum."""
        return await self._client.execute(requests.incr(self._key, by))

    async def value(self) -> int:
        """Return the value, 0 before the first `add`."""
        return int(await self._client.execute(requests.get(self._key)) or 0)


class Barrier:
    """A gate that a process closes and opens, while others wait until it is open. It is closed while its key exists."""

    def __init__(self, client: Caller, key: Text) -> None:
        self._client = client
        self._key = to_bytes(key)

    async def close(self) -> None:
        """Close the barrier: each `wait` from now on blocks until it is open."""
        await self._client.execute(requests.set_(self._key, b""))

    async def open(self) -> None:
        """Open the barrier: every waiting process continues."""
        await self._client.execute(requests.delete(self._key))

    async def wait(self, wait: float | None = None) -> None:
        """Wait until it is open; raise TimedOut after `wait` seconds."""
        await run(self._client, policy.await_absence(self._key), wait)


class _Leased(ABC, Generic[Signal]):
    """A recipe that is held within an `async with` block, by a lease."""

    def __init__(self, client: Holder[Signal], ttl: float, wait: float | None = None) -> None:
        self._client = client
        self._lease = client.lease(ttl)
        self._wait = wait

    @property
    def lost(self) -> Signal:
        """The signal that is given as soon as the lease may have ended."""
        return self._lease.lost

    @property
    def is_held(self) -> bool:
        """Whether the lease is certainly held now."""
        return self._lease.is_held

    @abstractmethod
    def _begin(self) -> Steps[None]:
        """Return the steps that follow the grant of the lease."""

    async def _end(self) -> None:
        """Carry out the steps before the lease is revoked."""

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self._lease)
            await run(self._client, self._begin(), self._wait)
            stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                await self._end()
        finally:
            await self._lease.__aexit__(kind, error, trace)


class DoubleBarrier(_Leased[Signal]):
    """Makes a number of participants begin together and end together, in any number of rounds."""

    def __init__(
        self, client: Holder[Signal], name: Text, count: int, *, ttl: float = TTL_S, wait: float | None = None
    ) -> None:
        super().__init__(client, ttl, wait)
        self._rendezvous = policy.Rendezvous(name, count)

    def _begin(self) -> Steps[None]:
        return self._rendezvous.begin(self._lease.id)

    async def _end(self) -> None:
        await run(self._client, self._rendezvous.leave(), self._wait)


class Party(_Leased[Signal]):
    """The processes that are alive. A process is a member within its `async with` block, or until its lease ends."""

    def __init__(self, client: Holder[Signal], name: Text, identity: Text, *, ttl: float = TTL_S) -> None:
        super().__init__(client, ttl)
        self._name = name
        self._membership = policy.Membership(name, identity)

    def _begin(self) -> Steps[None]:
        return self._membership.begin(self._lease.id)

    async def members(self) -> list[bytes]:
        """Return the identity of each member, in the order in which they joined."""
        return await run(self._client, policy.members(self._name))


class Taken(_Leased[Signal]):
    """An item of a queue that one consumer has taken, see `Queue.take`."""

    def __init__(self, client: Holder[Signal], name: Text, ttl: float, wait: float | None) -> None:
        super().__init__(client, ttl, wait)
        self._taking = policy.Taking(name)

    @property
    def value(self) -> bytes:
        """The item."""
        return self._taking.value

    async def finish(self, *operations: Operation) -> Outcome:
        """Remove the item, and carry out `operations` of a transaction in the same step.

        Raises:
            LeaseLost: the item is not held by this consumer any more; nothing was changed.
        """
        return await run(self._client, self._taking.finish(operations))

    def _begin(self) -> Steps[None]:
        return self._taking.begin(self._lease.id)

    async def _end(self) -> None:
        if not self._taking.is_finished:
            await self.finish()


class Queue(Generic[Signal]):
    """A queue of items, each of which is taken by one consumer at a time and finished once."""

    def __init__(self, client: Holder[Signal], name: Text) -> None:
        self._client = client
        self._name = name

    async def put(self, *values: Text) -> None:
        """Add items at the end: all of them or none, 128 at most."""
        await run(self._client, policy.put(self._name, values))

    def take(self, *, ttl: float = TTL_S, wait: float | None = None) -> Taken[Signal]:
        """Return an object whose `async with` block takes the first item that no other consumer has.

        Args:
            ttl: seconds after which another consumer may take the item, if this one has died.
            wait: seconds to wait for an item, after which TimedOut is raised; None: without limit.
        """
        return Taken(self._client, self._name, ttl, wait)

    async def length(self) -> int:
        """Count the items, with those that are taken and not finished."""
        return await run(self._client, policy.length(self._name))


class Lock(Generic[Signal]):
    """A lock that one client holds at a time. Each `async with` block acquires it, and releases it at its end."""

    def __init__(
        self, client: Holder[Signal], name: Text, identity: Text = b"", *, ttl: float = TTL_S, wait: float | None = None
    ) -> None:
        self._client = client
        self._name = name
        self._identity = identity
        self._ttl = ttl
        self._wait = wait
        self._held: awaited.Lock[Signal] | None = None

    async def __aenter__(self) -> awaited.Lock[Signal]:
        """Acquire it; raise LockHeld after `wait` seconds, without `wait` never."""
        if self._held is not None:
            raise InvalidRequest(policy.ENTERED)
        self._held = self._client.lock(self._name, self._ttl, wait=self._wait, identity=self._identity)
        try:
            return await self._held.__aenter__()
        except BaseException:
            self._held = None
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        held, self._held = self._held, None
        if held is not None:
            await held.__aexit__(kind, error, trace)

    async def holder(self) -> Leader | None:
        """Return who holds it, and how many wait; None if it is free."""
        return await self._client.execute(holding.leads(self._name))


class Election(Generic[Signal]):
    """Elects one of many clients as the leader."""

    def __init__(self, client: Holder[Signal], name: Text, identity: Text = b"", *, ttl: float = TTL_S) -> None:
        self._client = client
        self._name = name
        self._identity = identity
        self._ttl = ttl

    def lead(self, wait: float | None = None) -> awaited.Lock[Signal]:
        """Return a lock: an `async with` block leads, and raises LockHeld after `wait` seconds."""
        return self._client.lock(self._name, self._ttl, wait=wait, identity=self._identity)

    async def run(self, lead: Callable[[awaited.Lock[Signal]], Awaitable[T]], wait: float | None = None) -> T:
        """Wait until this client leads, await `lead` with the lock, and return its result."""
        async with self.lead(wait) as lock:
            return await lead(lock)

    async def leader(self) -> Leader | None:
        """Return the leader; None if there is none."""
        return await self._client.execute(holding.leads(self._name))
