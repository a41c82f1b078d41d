"""Locks and leases for asyncio, which renew themselves and say when they are lost."""

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from kvraft.client import holding
from kvraft.client.errors import ClientError
from kvraft.client.holding import Held
from kvraft.client.requests import Request
from kvraft.client.values import Text

if TYPE_CHECKING:
    from kvraft.client.aio import AsyncClient

T = TypeVar("T")


class _Kept(ABC):
    """Something that is held from `async with` to its end, unless it is lost."""

    def __init__(self, client: "AsyncClient", held: Held) -> None:
        self._client = client
        self._held = held
        self._keeping: asyncio.Task[None] | None = None
        self.lost = asyncio.Event()
        """Set as soon as it may be somebody else's: its renewals have failed for too long, or a node says so."""

    @abstractmethod
    async def _begin(self) -> None:
        """Have it granted."""

    @abstractmethod
    def _renewal(self) -> Request[Any]:
        """Return the request that renews it."""

    @abstractmethod
    async def _end(self) -> None:
        """Give it back."""

    @property
    def is_held(self) -> bool:
        """Whether it is certainly held now."""
        return self._held.is_held(asyncio.get_running_loop().time())

    async def __aenter__(self) -> Self:
        await self._begin()
        self._keeping = asyncio.create_task(self._keep())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
        was_held = self.is_held
        self._held.is_gone = True
        if was_held:
            # What cannot be given back ends by itself when its time is over.
            with contextlib.suppress(ClientError):
                await self._end()

    async def _keep(self) -> None:
        now = asyncio.get_running_loop().time
        while self._held.is_held(now()):
            await asyncio.sleep(self._held.pause_s(now()))
            if self._held.is_held(now()):
                await self._renew(now)
        self.lost.set()

    async def _renew(self, now: Callable[[], float]) -> None:
        asked_at = now()
        try:
            await self._client.execute(self._renewal(), timeout=self._held.deadline - asked_at)
        except ClientError as error:
            self._held.failed(error, now())
        else:
            self._held.granted(asked_at)


class Lease(_Kept):
    """A time to live that keys share; see `AsyncClient.lease`."""

    def __init__(self, client: "AsyncClient", held: Held) -> None:
        super().__init__(client, held)
        self.id = 0
        """Its number, for `set(…, lease=lease.id)`."""

    async def _begin(self) -> None:
        asked_at = asyncio.get_running_loop().time()
        self.id = await self._client.execute(holding.grant(self._held.ttl_s))
        self._held.granted(asked_at)

    def _renewal(self) -> Request[Any]:
        return holding.keep_alive(self.id)

    async def _end(self) -> None:
        await self._client.execute(holding.revoke(self.id))


class Lock(_Kept):
    """A lock with its token; see `AsyncClient.lock`."""

    def __init__(self, client: "AsyncClient", own: "AsyncClient", held: Held, name: Text, wait_s: float | None) -> None:
        super().__init__(client, held)
        self._own = own
        self._name = name
        self._wait_s = wait_s
        self.token = 0
        """Higher than that of everybody who has held it before."""

    def guard(self, request: Request[T]) -> Request[T]:
        """Return a write that is carried out only while this token counts; else it raises StaleToken."""
        return holding.guarded(self._name, self.token, request)

    async def _begin(self) -> None:
        now = asyncio.get_running_loop().time
        owner = holding.new_owner()
        until = None if self._wait_s is None else now() + self._wait_s
        try:
            while True:
                wait_s = holding.what_is_waited_for(None if until is None else until - now())
                asked_at = now()
                request = holding.acquire(self._name, self._held.ttl_s, wait_s, owner)
                try:
                    self.token = await self._own.execute(request, timeout=wait_s + holding.ANSWER_S)
                except ClientError as error:
                    if not holding.is_asked_again(error, None if until is None else until - now()):
                        raise
                else:
                    break
        finally:
            self._own.close()  # who waits on a connection that ends is taken out of the queue
        self._held.granted(asked_at)
        if now() >= self._held.renew_at:  # it was waited for: when its time began is not known
            self._held.deadline = now() + self._held.ttl_s
            await self._renew(now)

    def _renewal(self) -> Request[Any]:
        return holding.renew(self._name, self.token)

    async def _end(self) -> None:
        await self._client.execute(holding.release(self._name, self.token))
