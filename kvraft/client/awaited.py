"""The code that the clients for asyncio and for Twisted share: coroutines that await the results of `execute`.

A future of asyncio and a Deferred can both be awaited, so ranges, leases and locks are written once. Each client adds
how to wait, and how to run a coroutine concurrently with the caller's.
"""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from kvraft.client import holding
from kvraft.client.errors import ClientError
from kvraft.client.holding import Held
from kvraft.client.requests import Pages, Request, Span
from kvraft.client.values import KeyItem, Text

T = TypeVar("T")


class Executor(Protocol):
    """The methods of a client that this module calls."""

    def execute(self, request: Request[T], timeout: float | None = None) -> Awaitable[T]:
        """Carry out a request; `timeout`, in seconds, replaces the client's."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class Ranges(ABC):
    """Reads of many keys, page by page."""

    @abstractmethod
    def execute(self, request: Request[T], timeout: float | None = None) -> Awaitable[T]:
        """Carry out a request."""

    def range(
        self, start: Text, end: Text | None, *, limit: int | None = None, reverse: bool = False, at: int | None = None
    ) -> AsyncIterator[KeyItem]:
        """Read the keys from `start` up to but not `end`, page by page, all at one revision; `end` None: no end."""
        return self._pages(Pages(Span.between(start, end).shown(reverse=reverse, at=at), limit))

    def prefix(
        self, start: Text, *, limit: int | None = None, reverse: bool = False, at: int | None = None
    ) -> AsyncIterator[KeyItem]:
        """Read the keys with a prefix, page by page, all at one revision."""
        return self._pages(Pages(Span.prefix(start).shown(reverse=reverse, at=at), limit))

    async def keys(self, start: Text = b"", *, limit: int | None = None, reverse: bool = False) -> AsyncIterator[bytes]:
        """Read the keys with a prefix, without their values."""
        async for item in self._pages(Pages(Span.prefix(start).shown(reverse=reverse, only_keys=True), limit)):
            yield item.key

    async def _pages(self, pages: Pages) -> AsyncIterator[KeyItem]:
        while (request := pages.next_request()) is not None:
            for item in pages.take(await self.execute(request)):
                yield item


Signal = TypeVar("Signal")


class Loop(Protocol[Signal]):
    """The functions of an event loop that this module calls."""

    def now(self) -> float:
        """Return the time, seconds."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for a time."""
        ...

    def start(self, coroutine: Coroutine[Any, Any, None]) -> Callable[[], object]:
        """Run a coroutine concurrently with the caller's; return a function that cancels it."""
        ...

    def make_signal(self) -> Signal:
        """Return a signal for which a caller can wait."""
        ...

    def give(self, signal: Signal) -> None:
        """Resume the callers that wait for the signal."""
        ...


class Kept(ABC, Generic[Signal]):
    """A lease or lock that an `async with` block holds, unless it is lost."""

    def __init__(self, client: Executor, loop: Loop[Signal], held: Held) -> None:
        self._client = client
        self._loop = loop
        self._held = held
        self._stop_keeping: Callable[[], object] | None = None
        self.lost = loop.make_signal()
        """Given as soon as another client may hold it: its renewals have failed for too long, or a node answered so."""

    @abstractmethod
    async def _begin(self) -> None:
        """Acquire it."""

    @abstractmethod
    def _renewal(self) -> Request[Any]:
        """Return the request that renews it."""

    @abstractmethod
    async def _end(self) -> None:
        """Release it."""

    @property
    def is_held(self) -> bool:
        """Whether it is certainly held now."""
        return self._held.is_held(self._loop.now())

    async def __aenter__(self) -> Self:
        self._held.begin()
        await self._begin()
        self._stop_keeping = self._loop.start(self._keep())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stop_keeping is not None:
            self._stop_keeping()
        was_held = self.is_held
        self._held.is_gone = True
        if was_held:
            # If the release fails, it ends when its time to live is over.
            with contextlib.suppress(ClientError):
                await self._end()

    async def _keep(self) -> None:
        while self.is_held:
            await self._loop.sleep(self._held.pause_s(self._loop.now()))
            if self.is_held:
                await self._renew()
        self._loop.give(self.lost)

    async def _renew(self) -> None:
        asked_at = self._loop.now()
        try:
            await self._client.execute(self._renewal(), timeout=self._held.deadline - asked_at)
        except ClientError as error:
            self._held.failed(error, self._loop.now())
        else:
            self._held.granted(asked_at)


class Lease(Kept[Signal]):
    """A time to live that keys share; see `lease` of the client."""

    def __init__(self, client: Executor, loop: Loop[Signal], held: Held) -> None:
        super().__init__(client, loop, held)
        self.id = 0
        """Its number, for `set(…, lease=lease.id)`."""

    async def _begin(self) -> None:
        asked_at = self._loop.now()
        self.id = await self._client.execute(holding.grant(self._held.ttl_s))
        self._held.granted(asked_at)

    def _renewal(self) -> Request[Any]:
        return holding.keep_alive(self.id)

    async def _end(self) -> None:
        await self._client.execute(holding.revoke(self.id))


class Lock(Kept[Signal]):
    """A lock with its token; see `lock` of the client.

    Args:
        own: a client with a separate connection, on which to wait for the lock.
    """

    def __init__(
        self,
        client: Executor,
        own: Executor,
        loop: Loop[Signal],
        held: Held,
        name: Text,
        wait_s: float | None,
        identity: Text,
    ) -> None:
        super().__init__(client, loop, held)
        self._own = own
        self._owner = holding.new_owner(identity)
        self._name = name
        self._wait_s = wait_s
        self.token = 0
        """Higher than the token of every earlier holder."""

    def guard(self, request: Request[T]) -> Request[T]:
        """Return a write that is applied only while the lock is held with this token; else it raises StaleToken."""
        return holding.guarded(self._name, self.token, request)

    async def _begin(self) -> None:
        now = self._loop.now
        until = None if self._wait_s is None else now() + self._wait_s
        try:
            while True:
                wait_s = holding.what_is_waited_for(None if until is None else until - now())
                asked_at = now()
                request = holding.acquire(self._name, self._held.ttl_s, wait_s, self._owner)
                try:
                    self.token = await self._own.execute(request, timeout=wait_s + holding.ANSWER_S)
                except ClientError as error:
                    if not holding.is_asked_again(error, None if until is None else until - now()):
                        raise
                else:
                    break
        finally:
            self._own.close()  # a request that still waits leaves the queue with its connection
        self._held.granted(asked_at)
        if now() >= self._held.renew_at:  # it waited in the queue: when its time to live began is unknown
            self._held.deadline = now() + self._held.ttl_s
            await self._renew()

    def _renewal(self) -> Request[Any]:
        return holding.renew(self._name, self.token)

    async def _end(self) -> None:
        await self._client.execute(holding.release(self._name, self.token))
