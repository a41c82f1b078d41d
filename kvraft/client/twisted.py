"""The client for Twisted: methods return Deferreds, and requests of one turn of the reactor are sent together."""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from random import Random
from types import TracebackType
from typing import Any, Self, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as OutOfTime
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from typing_extensions import override

from kvraft.client import awaited, requests
from kvraft.client.awaited import Ranges
from kvraft.client.channel import TIMEOUT_S, Channel
from kvraft.client.following import Following, watch_key, watch_prefix
from kvraft.client.holding import TTL_S, WAIT_S, Held
from kvraft.client.link import CONNECT_S, SILENCE_S
from kvraft.client.nodes import find_nodes, parse_address
from kvraft.client.requests import Answer, If, Request, Span
from kvraft.client.transactions import Transaction
from kvraft.client.twisted_driver import Dial, Driver
from kvraft.client.values import Event, Item, Outcome, Text

T = TypeVar("T")


class Watch(AsyncIterator[Event]):
    """The events of a watch, in order. It continues after failures of nodes; see `Client.watch`."""

    def __init__(self, reactor: Any, dial: Dial, following: Following) -> None:
        self._reactor = reactor
        self._dial = dial
        self._following = following
        self._driver: Driver | None = None
        self._waiting: Deferred[None] | None = None

    def _changed(self) -> None:
        following = self._following
        if following.events or following.error is not None or following.revision is not None:
            self._wake()
        if self._driver is not None:
            self._driver.pause(is_full=following.is_full)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def _start(self) -> Driver:
        if self._driver is None:
            self._driver = Driver(self._reactor, self._dial, self._following, self._changed)
            self._following.woken(self._driver.now())
            self._driver.touch()
        return self._driver

    def _wait(self) -> "Deferred[None]":
        assert self._waiting is None, "one at a time waits for the next event of a watch"
        self._waiting = Deferred(lambda _: setattr(self, "_waiting", None))
        return self._waiting

    async def begin(self) -> int:
        """Wait until the watch has begun; return the revision of the store then: all later changes are delivered."""
        self._start()
        while self._following.revision is None:
            await self._wait()
            if self._following.error is not None:
                raise self._following.error
        return self._following.revision

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
        event = Deferred.fromCoroutine(self.__anext__())
        if timeout_s is None:
            return await event
        try:
            return await event.addTimeout(timeout_s, self._reactor)
        except OutOfTime:
            return None

    def close(self) -> None:
        """End the watch."""
        self._following.close()
        if self._driver is not None:
            self._driver.close()
        self._wake()


class _Loop(awaited.Loop["Deferred[None]"]):
    """The reactor's functions that leases and locks need."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    @override
    def now(self) -> float:
        return float(self._reactor.seconds())

    @override
    async def sleep(self, seconds: float) -> None:
        await deferLater(self._reactor, seconds)

    @override
    def start(self, coroutine: Coroutine[Any, Any, None]) -> Callable[[], object]:
        running = Deferred.fromCoroutine(coroutine)
        running.addErrback(lambda failure: failure.trap(CancelledError) and None)
        return running.cancel

    @override
    def make_signal(self) -> "Deferred[None]":
        return Deferred()

    @override
    def give(self, signal: "Deferred[None]") -> None:
        signal.callback(None)


class Client(Ranges):
    """A client for Twisted: each method returns a Deferred of its result, or of a `ClientError`.

    Requests of one turn of the reactor are sent together, and are executed in their order unless the leader changes. To
    be certain of the order, wait for each request before sending the next. Ranges and watches are read with
    `async for`, in a coroutine under `Deferred.fromCoroutine`.

    Args:
        reactor: connects and keeps the time; its clock should not follow the wall clock.
        nodes: "host:port", several separated by commas, or a list of them; None: KVRAFT_NODES, or config.json here.
        timeout: seconds that a request may take, with all attempts.
        exactly_once: whether writes use a session, so that a write whose answer is lost is sent again and applied
            once. It costs a round trip at the first write, and limits a client to 128 writes in flight.
        endpoint: returns the endpoint of a node at "host:port", for other ways to it than TCP; None: TCP.
        random: for the order of the nodes and the back-off; None: a new one.
    """

    def __init__(
        self,
        reactor: Any,
        nodes: str | Iterable[str] | None = None,
        *,
        timeout: float = TIMEOUT_S,
        exactly_once: bool = True,
        endpoint: Dial | None = None,
        random: Random | None = None,
    ) -> None:
        self.reactor = reactor
        self._nodes = find_nodes(nodes)
        self._timeout_s = timeout
        self._random = random or Random()
        self._dial: Dial = endpoint or self._tcp
        self._channel = Channel(self._nodes, self._random, exactly_once=exactly_once, is_cancelled=_is_cancelled)
        self._driver = Driver(reactor, self._dial, self._channel, self._hand_out)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()
        self._driver.close()
        self._hand_out()

    def _tcp(self, address: str) -> IStreamClientEndpoint:
        place = parse_address(address)
        return HostnameEndpoint(self.reactor, place.host, place.port, timeout=CONNECT_S)

    # --- requests ----------------------------------------------------------------------------------------------------

    @override
    def execute(self, request: Request[T], timeout: float | None = None) -> "Deferred[T]":
        """Carry out a request of `kvraft.client.requests`; `timeout`, in seconds, replaces the client's."""
        deferred: Deferred[T] = Deferred(_let_go)
        request.tag = deferred
        self._channel.submit(request, self._driver.now(), self._timeout_s if timeout is None else timeout)
        self._driver.touch()
        return deferred

    def _hand_out(self) -> None:
        for request, value, error in self._channel.take_finished():
            deferred: Deferred[Any] = request.tag
            if deferred.called:  # it was cancelled
                continue
            if error is None:
                deferred.callback(value)
            else:
                deferred.errback(Failure(error))

    def get(self, key: Text, *, at: int | None = None) -> "Deferred[bytes | None]":
        """Read a value, None if the key does not exist; with `at`, the value at that revision."""
        return self.execute(requests.get(key, at))

    def get_item(self, key: Text, *, at: int | None = None) -> "Deferred[Item | None]":
        """Read a value with its revisions, None if the key does not exist; with `at`, as of that revision."""
        return self.execute(requests.get_item(key, at))

    def set(self, key: Text, value: Text, *, ttl: float | None = None, lease: int | None = None) -> "Deferred[None]":
        """Write a value. It expires after `ttl` seconds, or when its lease ends; with neither, never."""
        return self.execute(requests.set_(key, value, ttl, lease))

    def delete(self, key: Text, condition: If | None = None) -> "Deferred[None]":
        """Remove a key, if it exists; raise ConditionFailed if a given condition does not hold."""
        return self.execute(requests.delete(key, condition))

    def cas(
        self, key: Text, condition: If, value: Text, *, ttl: float | None = None, lease: int | None = None
    ) -> "Deferred[int]":
        """Write a value if a condition holds, and return its revision; else raise ConditionFailed."""
        return self.execute(requests.cas(key, condition, value, ttl, lease))

    def incr(self, key: Text, by: int = 1) -> "Deferred[int]":
        """Add to a counter, and return the sum; raise NotACounter if either is no 64-bit integer."""
        return self.execute(requests.incr(key, by))

    def append(self, key: Text, value: Text) -> "Deferred[int]":
        """Append to a value, and return its new length in bytes."""
        return self.execute(requests.append(key, value))

    def expire(self, key: Text, seconds: float) -> "Deferred[None]":
        """Let a key expire after `seconds`; raise NoSuchKey if it does not exist."""
        return self.execute(requests.expire(key, seconds))

    def persist(self, key: Text) -> "Deferred[None]":
        """Remove the time to live of a key; raise NoSuchKey if it does not exist."""
        return self.execute(requests.persist(key))

    def ttl(self, key: Text) -> "Deferred[float | None]":
        """Read the time to live of a key, seconds; None if it does not expire. Raise NoSuchKey if it does not exist."""
        return self.execute(requests.ttl(key))

    def transact(self, transaction: Transaction) -> "Deferred[Outcome]":
        """Carry out a transaction atomically."""
        return self.execute(requests.transact(transaction))

    def count(self, start: Text, end: Text | None) -> "Deferred[int]":
        """Count the keys from `start` up to but not `end`; None: no end."""
        return self.execute(requests.count(Span.between(start, end)))

    def count_prefix(self, start: Text) -> "Deferred[int]":
        """Count the keys with a prefix."""
        return self.execute(requests.count(Span.prefix(start)))

    def ask(self, line: Text, *, reads: bool = False) -> "Deferred[Answer]":
        """Send a line of the protocol unchanged; one that only `reads` is sent again if its answer is lost."""
        return self.execute(requests.raw_text(line, reads=reads))

    # --- leases and locks --------------------------------------------------------------------------------------------

    def lease(self, ttl: float = TTL_S) -> "awaited.Lease[Deferred[None]]":
        """Return a lease, which is granted when it is entered, keeps itself alive, and ends with its keys.

        ::

            async with client.lease(10) as lease:
                await client.set("service/a", "10.0.0.7:80", lease=lease.id)
        """
        return awaited.Lease(self, _Loop(self.reactor), Held(ttl))

    def lock(
        self, name: Text, ttl: float = TTL_S, *, wait: float | None = None, identity: Text = b""
    ) -> "awaited.Lock[Deferred[None]]":
        """Return a lock, or an election: an `async with` block holds it, to its end or until it is `lost`.

        `wait`: seconds to wait for it, None for as long as it takes; after that LockHeld is raised. `identity`: what
        LEADER answers about the holder. It becomes free `ttl` seconds after its holder has died. Guard writes that only
        the holder may make with its `token`::

            async with client.lock("job") as lock:
                await client.execute(lock.guard(requests.set_("result", "1")))
        """
        return awaited.Lock(self, self._of_its_own(), _Loop(self.reactor), Held(ttl), name, wait, identity)

    def _of_its_own(self) -> "Client":
        """Return a client with a separate connection, on which to wait for a lock."""
        own = Client(
            self.reactor,
            map(str, self._nodes),
            timeout=self._timeout_s,
            exactly_once=False,
            endpoint=self._dial,
            random=self._random,
        )
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
        following = Following(written, first, self._nodes, self._random, with_previous=previous)
        return Watch(self.reactor, self._dial, following)


def _let_go(_deferred: "Deferred[Any]") -> None:
    """Cancel a request: Twisted fails its Deferred with CancelledError, and the answer is dropped when it comes."""


def _is_cancelled(request: Request[Any]) -> bool:
    deferred: Deferred[Any] | None = request.tag
    return deferred is not None and bool(deferred.called)
