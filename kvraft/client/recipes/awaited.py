"""The recipes for the clients of asyncio and of Twisted. Their guarantees stand in `blocking`."""

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

from kvraft.client import awaited, holding, requests
from kvraft.client.errors import ClientError, Compacted
from kvraft.client.holding import Leader
from kvraft.client.recipes import policy
from kvraft.client.recipes.policy import TTL_S, Changed, Course, Step, Steps, TimedOut
from kvraft.client.requests import Request
from kvraft.client.transactions import Operation
from kvraft.client.values import Event, Outcome, Text, to_bytes

T = TypeVar("T")
Signal = TypeVar("Signal")


class Watching(Protocol):
    """A watch, as far as it is needed here."""

    async def take(self, timeout_s: float | None = None) -> Event | None:
        """Return the next event, None when there is none in time."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class Caller(Protocol):
    """A client that carries out requests and watches keys."""

    def execute(self, request: Request[T], timeout: float | None = None) -> Awaitable[T]:
        """Carry out a request."""
        ...

    def watch_prefix(self, start: Text, *, first: int | None = None) -> Watching:
        """Watch the keys that begin so."""
        ...


class Holder(Caller, Protocol[Signal]):
    """A client that holds leases and locks too: AsyncClient, or that of Twisted."""

    def lease(self, ttl: float = TTL_S) -> awaited.Lease[Signal]:
        """Return a lease."""
        ...

    def lock(
        self, name: Text, ttl: float = TTL_S, *, wait: float | None = None, identity: Text = b""
    ) -> awaited.Lock[Signal]:
        """Return a lock."""
        ...


async def run(client: Caller, steps: Steps[T], wait: float | None = None) -> T:
    """Carry out the steps of a recipe; `wait`: seconds to wait for changes, in all; None: as long as it takes.

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
    except Compacted:  # there were so many changes that the first is not kept any more
        return None
    finally:
        watch.close()
    if event is None:
        raise TimedOut("it did not happen in time")
    return None


class Counter:
    """A whole number of 64 bits that many clients add to."""

    def __init__(self, client: Caller, key: Text) -> None:
        self._client = client
        self._key = key

    async def add(self, by: int = 1) -> int:
        """Add, and return the sum."""
        return await self._client.execute(requests.incr(self._key, by))

    async def value(self) -> int:
        """Return the sum of all that was added."""
        return int(await self._client.execute(requests.get(self._key)) or 0)


class Barrier:
    """A gate that somebody closes and opens, and others wait at. It is closed while its key is there."""

    def __init__(self, client: Caller, key: Text) -> None:
        self._client = client
        self._key = to_bytes(key)

    async def close(self) -> None:
        """Let those wait who come from now on."""
        await self._client.execute(requests.set_(self._key, b""))

    async def open(self) -> None:
        """Let all of them go on."""
        await self._client.execute(requests.delete(self._key))

    async def wait(self, wait: float | None = None) -> None:
        """Wait until it is open; raise TimedOut after `wait` seconds."""
        await run(self._client, policy.await_absence(self._key), wait)


class _Leased(ABC, Generic[Signal]):
    """Something that lasts from `async with` to its end, as long as a lease of its own does."""

    def __init__(self, client: Holder[Signal], ttl: float, wait: float | None = None) -> None:
        self._client = client
        self._lease = client.lease(ttl)
        self._wait = wait

    @property
    def lost(self) -> Signal:
        """Given as soon as the lease may have ended."""
        return self._lease.lost

    @property
    def is_held(self) -> bool:
        """Whether the lease certainly lasts."""
        return self._lease.is_held

    @abstractmethod
    def _begin(self) -> Steps[None]:
        """Return what is done once the lease is granted."""

    async def _end(self) -> None:
        """Do what comes before the lease is given back."""

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
    """Lets a number of participants begin together, and end together, round after round."""

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
    """Who is there. A process is a member from `async with` to its end, or until its lease ends."""

    def __init__(self, client: Holder[Signal], name: Text, identity: Text, *, ttl: float = TTL_S) -> None:
        super().__init__(client, ttl)
        self._name = name
        self._membership = policy.Membership(name, identity)

    def _begin(self) -> Steps[None]:
        return self._membership.begin(self._lease.id)

    async def members(self) -> list[bytes]:
        """Return what each member says of itself, in the order in which they came."""
        return await run(self._client, policy.members(self._name))


class Taken(_Leased[Signal]):
    """An item of a queue that one consumer has, see `Queue.take`."""

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
            LeaseLost: this consumer does not have it any more; nothing was changed.
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
        """Return what is the first item that nobody has, once it is entered.

        Args:
            ttl: seconds after which another consumer may have it when this one has died.
            wait: seconds to wait for an item, after which TimedOut is raised; None: as long as it takes.
        """
        return Taken(self._client, self._name, ttl, wait)

    async def length(self) -> int:
        """Count the items, those included that consumers have and have not finished."""
        return await run(self._client, policy.length(self._name))


class Election(Generic[Signal]):
    """One of many leads."""

    def __init__(self, client: Holder[Signal], name: Text, identity: Text = b"", *, ttl: float = TTL_S) -> None:
        self._client = client
        self._name = name
        self._identity = identity
        self._ttl = ttl

    def lead(self, wait: float | None = None) -> awaited.Lock[Signal]:
        """Return a lock: who enters it leads until its end; raises LockHeld after `wait` seconds."""
        return self._client.lock(self._name, self._ttl, wait=wait, identity=self._identity)

    async def run(self, lead: Callable[[awaited.Lock[Signal]], Awaitable[T]], wait: float | None = None) -> T:
        """Wait until it leads, await `lead` with the lock, and return its result."""
        async with self.lead(wait) as lock:
            return await lead(lock)

    async def leader(self) -> Leader | None:
        """Return who leads, None for nobody."""
        return await self._client.execute(holding.leads(self._name))
