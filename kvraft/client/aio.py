"""The asyncio client: methods return futures, and requests of one turn of the loop are sent together."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from random import Random
from types import TracebackType
from typing import Any, Self, TypeVar

from kvraft.client import awaited, requests
from kvraft.client.aio_driver import Driver
from kvraft.client.awaited import Ranges
from kvraft.client.channel import TIMEOUT_S, Channel
from kvraft.client.following import Following, watch_key, watch_prefix
from kvraft.client.holding import TTL_S, WAIT_S, Held
from kvraft.client.link import SILENCE_S
from kvraft.client.nodes import find_nodes
from kvraft.client.requests import Answer, If, Request, Span
from kvraft.client.transactions import Transaction
from kvraft.client.values import Event, Item, Outcome, Text

T = TypeVar("T")


class Watch(AsyncIterator[Event]):
    """The events of a watch, in order. It continues after failures of nodes; see `AsyncClient.watch`."""

    def __init__(self, following: Following) -> None:
        self._following = following
        self._driver: Driver | None = None
        self._arrived = asyncio.Event()

    def _changed(self) -> None:
        if self._following.events or self._following.error is not None or self._following.revision is not None:
            self._arrived.set()
        if self._driver is not None:
            self._driver.pause(is_full=self._following.is_full)

    def _start(self) -> Driver:
        if self._driver is None:
            self._driver = Driver(self._following, self._changed)
            self._following.woken(self._driver.now())
            self._driver.touch()
        return self._driver

    async def begin(self) -> int:
        """Wait until the watch has begun; return the revision of the store then: all later changes are delivered."""
        self._start()
        while self._following.revision is None:
            await self._wait()
            if self._following.error is not None:
                raise self._following.error
        return self._following.revision

    async def _wait(self) -> None:
        self._arrived.clear()
        await self._arrived.wait()

    async def __aenter__(self) -> Self:
        try:
            await self.begin()
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __anext__(self) -> Event:
        driver, following = self._start(), self._following
        while not following.events:
            if following.error is not None:
                raise following.error
            await self._wait()
        event = following.events.popleft()
        if not following.events:
            following.resumed(driver.now())
            driver.pause(is_full=False)
            driver.set_timer()
        return event

    async def take(self, timeout_s: float | None = None) -> Event | None:
        """Return the next event; None if none comes within `timeout_s` seconds.

        Raises:
            Compacted: the next changes are not kept any more.
        """
        if self._following.events:  # with 0 seconds wait_for would give up before it looks
            return await self.__anext__()
        try:
            return await asyncio.wait_for(self.__anext__(), timeout_s)
        except TimeoutError:
            return None

    def close(self) -> None:
        """End the watch."""
        self._following.close()
        self._arrived.set()
        if self._driver is not None:
            self._driver.close()


def _is_cancelled(request: Request[Any]) -> bool:
    future: asyncio.Future[Any] | None = request.tag
    return future is not None and future.cancelled()


class _Loop(awaited.Loop[asyncio.Event]):
    """The functions of the running loop that leases and locks need."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def start(self, coroutine: Coroutine[Any, Any, None]) -> Callable[[], object]:
        return asyncio.create_task(coroutine).cancel

    def make_signal(self) -> asyncio.Event:
        return asyncio.Event()

    def give(self, signal: asyncio.Event) -> None:
        signal.set()


class AsyncClient(Ranges):
    """A client for asyncio: each method returns a future of its result, or of a `ClientError`.

    A request is submitted when the method returns, so many can be in flight without tasks::

        await asyncio.gather(*[client.set(key, value) for key, value in items])

    Requests of one turn of the loop are sent together, and are executed in their order unless the leader changes. To be
    certain of the order, wait for each request before sending the next.

    Args:
        nodes: "host:port", several separated by commas, or a list of them; None: KVRAFT_NODES, or config.json here.
        timeout: seconds that a request may take, with all attempts.
        exactly_once: whether writes use a session, so that a write whose answer is lost is sent again and applied
            once. It costs a round trip at the first write, and limits a client to 128 writes in flight.
    """

    def __init__(
        self, nodes: str | Iterable[str] | None = None, *, timeout: float = TIMEOUT_S, exactly_once: bool = True
    ) -> None:
        self._nodes = find_nodes(nodes)
        self._timeout_s = timeout
        self._random = Random()
        self._channel = Channel(self._nodes, self._random, exactly_once=exactly_once, is_cancelled=_is_cancelled)
        self._driver: Driver | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()
        self._hand_out()
        if self._driver is not None:
            self._driver.close()

    # --- requests ----------------------------------------------------------------------------------------------------

    def execute(self, request: Request[T], timeout: float | None = None) -> "asyncio.Future[T]":
        """Carry out a request of `kvraft.client.requests`; `timeout`, in seconds, replaces the client's."""
        driver = self._driver
        if driver is None:
            driver = self._driver = Driver(self._channel, self._hand_out)
        future: asyncio.Future[T] = driver.loop.create_future()
        request.tag = future
        self._channel.submit(request, driver.now(), self._timeout_s if timeout is None else timeout)
        driver.touch()
        return future

    def _hand_out(self) -> None:
        for request, value, error in self._channel.take_finished():
            future: asyncio.Future[Any] = request.tag
            if future.done():  # the caller has cancelled it
                continue
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)

    def get(self, key: Text, *, at: int | None = None) -> "asyncio.Future[bytes | None]":
        """Read a value, None if the key does not exist; with `at`, the value at that revision."""
        return self.execute(requests.get(key, at))

    def get_item(self, key: Text, *, at: int | None = None) -> "asyncio.Future[Item | None]":
        """Read a value with its revisions, None if the key does not exist; with `at`, as of that revision."""
        return self.execute(requests.get_item(key, at))

    def set(
        self, key: Text, value: Text, *, ttl: float | None = None, lease: int | None = None
    ) -> "asyncio.Future[None]":
        """Write a value. It expires after `ttl` seconds, or when its lease ends; with neither, never."""
        return self.execute(requests.set_(key, value, ttl, lease))

    def delete(self, key: Text, condition: If | None = None) -> "asyncio.Future[None]":
        """Remove a key, if it exists; raise ConditionFailed if a given condition does not hold."""
        return self.execute(requests.delete(key, condition))

    def cas(
        self, key: Text, condition: If, value: Text, *, ttl: float | None = None, lease: int | None = None
    ) -> "asyncio.Future[int]":
        """Write a value if a condition holds, and return its revision; else raise ConditionFailed."""
        return self.execute(requests.cas(key, condition, value, ttl, lease))

    def incr(self, key: Text, by: int = 1) -> "asyncio.Future[int]":
        """Add to a counter, and return the sum; raise NotACounter if either is no 64-bit integer."""
        return self.execute(requests.incr(key, by))

    def append(self, key: Text, value: Text) -> "asyncio.Future[int]":
        """Append to a value, and return its new length in bytes."""
        return self.execute(requests.append(key, value))

    def expire(self, key: Text, seconds: float) -> "asyncio.Future[None]":
        """Let a key expire after `seconds`; raise NoSuchKey if it does not exist."""
        return self.execute(requests.expire(key, seconds))

    def persist(self, key: Text) -> "asyncio.Future[None]":
        """Remove the time to live of a key; raise NoSuchKey if it does not exist."""
        return self.execute(requests.persist(key))

    def ttl(self, key: Text) -> "asyncio.Future[float | None]":
        """Read the time to live of a key, seconds; None if it does not expire. Raise NoSuchKey if it does not exist."""
        return self.execute(requests.ttl(key))

    def transact(self, transaction: Transaction) -> "asyncio.Future[Outcome]":
        """Carry out a transaction atomically."""
        return self.execute(requests.transact(transaction))

    def count(self, start: Text, end: Text | None) -> "asyncio.Future[int]":
        """Count the keys from `start` up to but not `end`; None: no end."""
        return self.execute(requests.count(Span.between(start, end)))

    def count_prefix(self, start: Text) -> "asyncio.Future[int]":
        """Count the keys with a prefix."""
        return self.execute(requests.count(Span.prefix(start)))

    def ask(self, line: Text, *, reads: bool = False) -> "asyncio.Future[Answer]":
        """Send a line of the protocol unchanged; one that only `reads` is sent again if its answer is lost."""
        return self.execute(requests.raw_text(line, reads=reads))

    # --- leases and locks --------------------------------------------------------------------------------------------

    def lease(self, ttl: float = TTL_S) -> awaited.Lease[asyncio.Event]:
        """Return a lease, which is granted when it is entered, keeps itself alive, and ends with its keys.

        ::

            async with client.lease(10) as lease:
                await client.set("service/a", "10.0.0.7:80", lease=lease.id)
        """
        return awaited.Lease(self, _Loop(), Held(ttl))

    def lock(
        self, name: Text, ttl: float = TTL_S, *, wait: float | None = None, identity: Text = b""
    ) -> awaited.Lock[asyncio.Event]:
        """Return a lock, or an election: an `async with` block holds it, to its end or until it is `lost`.

        `wait`: seconds to wait for it, None for as long as it takes; after that LockHeld is raised. `identity`: what
        LEADER answers about the holder. It becomes free `ttl` seconds after its holder has died. Guard writes that only
        the holder may make with its `token`::

            async with client.lock("job") as lock:
                await client.execute(lock.guard(requests.set_("result", "1")))
        """
        return awaited.Lock(self, self._of_its_own(), _Loop(), Held(ttl), name, wait, identity)

    def _of_its_own(self) -> "AsyncClient":
        """Return a client with a separate connection, on which to wait for a lock."""
        own = AsyncClient(map(str, self._nodes), timeout=self._timeout_s, exactly_once=False)
        own._channel.silence_s = SILENCE_S + WAIT_S
        return own

    # --- watches -----------------------------------------------------------------------------------------------------

    def watch(self, key: Text, *, first: int | None = None, previous: bool = False) -> Watch:
        """Return every change of a key, from the revision `first` on, or from the start of the `async with` block.

        ::

            async with client.watch("key") as events:
                async for event in events:
                    ...

        It continues on another node when a node fails, and delivers each event once. With `previous` events hold the
        item before the change. It has its own connection.
        """
        return self._watch(watch_key(key), first, previous=previous)

    def watch_prefix(self, start: Text, *, first: int | None = None, previous: bool = False) -> Watch:
        """Return every change of the keys with a prefix; see `watch`."""
        return self._watch(watch_prefix(start), first, previous=previous)

    def _watch(self, written: bytes, first: int | None, *, previous: bool) -> Watch:
        return Watch(Following(written, first, self._nodes, self._random, with_previous=previous))
