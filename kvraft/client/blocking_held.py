"""Locks and leases for the blocking client, which renew themselves and signal when they are lost."""

import contextlib
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from kvraft.client import holding
from kvraft.client.blocking_driver import renew_at_fork
from kvraft.client.errors import ClientError
from kvraft.client.holding import Held
from kvraft.client.requests import Request
from kvraft.client.values import Text

if TYPE_CHECKING:
    from kvraft.client.blocking import Client

T = TypeVar("T")


class _Kept(ABC):
    """A lease or lock that a `with` block holds, unless it is lost."""

    def __init__(self, client: "Client", held: Held) -> None:
        self._client = client
        self._held = held
        self._keeping: threading.Thread | None = None
        self._is_over = threading.Event()
        self.lost = threading.Event()
        """Set as soon as another client may hold it: its renewals have failed for too long, or a node answered so."""
        renew_at_fork(self)

    def forked(self) -> None:
        """This is a child process: the parent holds it, and renews and releases it."""
        self._held.is_gone = True
        self.lost = threading.Event()
        self.lost.set()

    @abstractmethod
    def _begin(self) -> None:
        """Acquire it."""

    @abstractmethod
    def _renewal(self) -> Request[Any]:
        """Return the request that renews it."""

    @abstractmethod
    def _end(self) -> None:
        """Release it."""

    @property
    def is_held(self) -> bool:
        """Whether it is certainly held now."""
        return self._held.is_held(time.monotonic())

    def __enter__(self) -> Self:
        self._held.begin()
        self._begin()
        self._keeping = threading.Thread(target=self._keep, daemon=True, name="kvraft renewals")
        self._keeping.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        if self._keeping is not None:
            self._keeping.join()
        was_held = self.is_held
        self._held.is_gone = True
        if was_held:
            # If the release fails, it ends when its time to live is over.
            with contextlib.suppress(ClientError):
                self._end()

    def _keep(self) -> None:
        now = time.monotonic
        while self._held.is_held(now()):
            if self._is_over.wait(self._held.pause_s(now())):
                return
            if self._held.is_held(now()):
                self._renew(now)
        self.lost.set()

    def _renew(self, now: Callable[[], float]) -> None:
        asked_at = now()
        try:
            self._client.execute(self._renewal(), timeout=self._held.deadline - asked_at)
        except ClientError as error:
            self._held.failed(error, now())
        else:
            self._held.granted(asked_at)


class Lease(_Kept):
    """A time to live that keys share; see `Client.lease`."""

    def __init__(self, client: "Client", held: Held) -> None:
        super().__init__(client, held)
        self.id = 0
        """Its number, for `set(…, lease=lease.id)`."""

    def _begin(self) -> None:
        asked_at = time.monotonic()
        self.id = self._client.execute(holding.grant(self._held.ttl_s))
        self._held.granted(asked_at)

    def _renewal(self) -> Request[Any]:
        return holding.keep_alive(self.id)

    def _end(self) -> None:
        self._client.execute(holding.revoke(self.id))


class Lock(_Kept):
    """A lock with its token; see `Client.lock`."""

    def __init__(
        self, client: "Client", own: "Client", held: Held, name: Text, wait_s: float | None, identity: Text
    ) -> None:
        super().__init__(client, held)
        self._own = own
        self._owner = holding.new_owner(identity)
        self._name = name
        self._wait_s = wait_s
        self.token = 0
        """Higher than the token of every earlier holder."""

    def guard(self, request: Request[T]) -> Request[T]:
        """Return a write that is applied only while the lock is held with this token; else it raises StaleToken."""
        return holding.guarded(self._name, self.token, request)

    def _begin(self) -> None:
        now = time.monotonic
        until = None if self._wait_s is None else now() + self._wait_s
        try:
            while True:
                wait_s = holding.what_is_waited_for(None if until is None else until - now())
                asked_at = now()
                request = holding.acquire(self._name, self._held.ttl_s, wait_s, self._owner)
                try:
                    self.token = self._own.execute(request, timeout=wait_s + holding.ANSWER_S)
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
            self._renew(now)

    def _renewal(self) -> Request[Any]:
        return holding.renew(self._name, self.token)

    def _end(self) -> None:
        self._client.execute(holding.release(self._name, self.token))
