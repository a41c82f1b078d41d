"""The blocking client: a call returns with its result. It needs only the standard library's sockets."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from random import Random
from threading import RLock
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

from kvraft.client import requests
from kvraft.client.blocking_driver import Driver, renew_at_fork
from kvraft.client.blocking_held import Lease, Lock
from kvraft.client.channel import TIMEOUT_S, Channel, lost_answer
from kvraft.client.errors import ClientError, InvalidRequest
from kvraft.client.following import Following, watch_key, watch_prefix
from kvraft.client.holding import TTL_S, WAIT_S, Held
from kvraft.client.link import SILENCE_S
from kvraft.client.nodes import find_nodes
from kvraft.client.requests import Answer, If, Pages, Request, Span
from kvraft.client.transactions import Transaction
from kvraft.client.values import Event, Item, KeyItem, Outcome, Text

T = TypeVar("T")


class Pending(Generic[T]):
    """A result that may not have arrived yet."""

    __slots__ = ("_error", "_is_done", "_run", "_value", "channel", "request")

    def __init__(self, request: Request[T], channel: Channel, run: "Callable[[Pending[Any]], object]") -> None:
        self.request: Final = request
        self.channel: Final = channel
        """Where the request was submitted."""
        self._run = run
        self._is_done = False
        self._value: Any = None
        self._error: ClientError | None = None

    def is_done(self) -> bool:
        """Whether the request has ended."""
        return self._is_done

    def result(self) -> T:
        """Wait for the result, and return it.

        Raises:
            ClientError: the request failed.
        """
        if not self._is_done:
            self._run(self)
        if self._error is not None:
            raise self._error
        value: T = self._value
        return value

    def finish(self, value: Any, error: ClientError | None) -> None:
        """Store the result or the error."""
        self._value, self._error, self._is_done = value, error, True


class Watch(Iterator[Event]):
    """The events of a watch, in order. It continues after failures of nodes; see `Client.watch`.

    It reads only while a caller waits for an event. More events wait at the node, which ends a watch that is not read
    for long; the client then starts another one from the next event on.
    """

    def __init__(self, following: Following) -> None:
        self._following = following
        self._driver = Driver(following)
        renew_at_fork(self)

    def forked(self) -> None:
        """This is a child process: continue on a connection of its own."""
        self._driver.is_between_steps = False
        self._resume()

    def _resume(self) -> None:
        """Continue on another connection if an exception, as that of Ctrl-C, has interrupted an earlier call."""
        if not self._driver.is_between_steps:
            self._driver.close()
            self._following.interrupted(time.monotonic())
            self._driver.is_between_steps = True

    @property
    def revision(self) -> int:
        """The revision of the store when the watch began: all later changes are delivered."""
        self._resume()
        self._driver.run(lambda: self._following.revision is not None or self._following.error is not None)
        if self._following.revision is None:
            assert self._following.error is not None, "a watch that does not stand has failed"
            raise self._following.error
        return self._following.revision

    def __next__(self) -> Event:
        event = self.take()
        assert event is not None, "it waits for as long as it takes"
        return event

    def take(self, timeout_s: float | None = None) -> Event | None:
        """Return the next event; None if none comes within `timeout_s` seconds.

        Raises:
            Compacted: the next changes are not kept any more.
        """
        self._resume()
        events = self._following.events
        until = None if timeout_s is None else time.monotonic() + timeout_s
        if not events:
            self._following.resumed(time.monotonic())
            self._driver.run(lambda: bool(events) or self._following.error is not None, until)
        if events:
            return events.popleft()
        if self._following.error is not None:
            raise self._following.error
        return None

    def close(self) -> None:
        """End the watch."""
        self._following.close()
        self._driver.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Batch:
    """Requests that are sent together, in their order; each call returns a `Pending`. See `Client.batch`."""

    def __init__(self, start: Callable[[Request[Any]], Pending[Any]]) -> None:
        self._start = start
        self.pending: list[Pending[Any]] = []

    def add(self, request: Request[T]) -> Pending[T]:
        """Add a request of `kvraft.client.requests`."""
        pending: Pending[T] = self._start(request)
        self.pending.append(pending)
        return pending

    def get(self, key: Text, *, at: int | None = None) -> Pending[bytes | None]:
        """Read a value, None if the key does not exist; with `at`, the value at that revision."""
        return self.add(requests.get(key, at))

    def get_item(self, key: Text, *, at: int | None = None) -> Pending[Item | None]:
        """Read a value with its revisions, None if the key does not exist; with `at`, as of that revision."""
        return self.add(requests.get_item(key, at))

    def set(self, key: Text, value: Text, *, ttl: float | None = None, lease: int | None = None) -> Pending[None]:
        """Write a value. It expires after `ttl` seconds, or when its lease ends; with neither, never."""
        return self.add(requests.set_(key, value, ttl, lease))

    def delete(self, key: Text, condition: If | None = None) -> Pending[None]:
        """Remove a key, if it exists; raise ConditionFailed if a given condition does not hold."""
        return self.add(requests.delete(key, condition))

    def cas(
        self, key: Text, condition: If, value: Text, *, ttl: float | None = None, lease: int | None = None
    ) -> Pending[int]:
        """Write a value if a condition holds, and return its revision; else raise ConditionFailed."""
        return self.add(requests.cas(key, condition, value, ttl, lease))

    def incr(self, key: Text, by: int = 1) -> Pending[int]:
        """Add to a counter, and return the sum; raise NotACounter if either is no 64-bit integer."""
        return self.add(requests.incr(key, by))

    def append(self, key: Text, value: Text) -> Pending[int]:
        """Append to a value, and return its new length in bytes."""
        return self.add(requests.append(key, value))

    def expire(self, key: Text, seconds: float) -> Pending[None]:
        """Let a key expire after `seconds`; raise NoSuchKey if it does not exist."""
        return self.add(requests.expire(key, seconds))

    def persist(self, key: Text) -> Pending[None]:
        """Remove the time to live of a key; raise NoSuchKey if it does not exist."""
        return self.add(requests.persist(key))

    def ttl(self, key: Text) -> Pending[float | None]:
        """Read the time to live of a key, seconds; None if it does not expire. Raise NoSuchKey if it does not exist."""
        return self.add(requests.ttl(key))

    def transact(self, transaction: Transaction) -> Pending[Outcome]:
        """Carry out a transaction atomically."""
        return self.add(requests.transact(transaction))

    def count(self, start: Text, end: Text | None) -> Pending[int]:
        """Count the keys from `start` up to but not `end`; None: no end."""
        return self.add(requests.count(Span.between(start, end)))

    def count_prefix(self, start: Text) -> Pending[int]:
        """Count the keys with a prefix."""
        return self.add(requests.count(Span.prefix(start)))

    def ask(self, line: Text, *, reads: bool = False) -> Pending[Answer]:
        """Send a line of the protocol unchanged; one that only `reads` is sent again if its answer is lost."""
        return self.add(requests.raw_text(line, reads=reads))


class Client:
    """A blocking client: each method returns the result, or raises a `ClientError`.

    It may be shared by threads, whose calls then take turns; for concurrent calls each thread needs its own client.

    Args:
        nodes: "host:port", several separated by commas, or a list of them; None: KVRAFT_NODES, or config.json here.
        timeout: seconds that a request may take, with all attempts.
        exactly_once: whether writes use a session, so that a write whose answer is lost is sent again and applied
            once. It costs a round trip at the first write, and limits a client to 128 writes in flight.
        silence: seconds after which a node that owes an answer and sends nothing is given up.
    """

    def __init__(
        self,
        nodes: str | Iterable[str] | None = None,
        *,
        timeout: float = TIMEOUT_S,
        exactly_once: bool = True,
        silence: float = SILENCE_S,
    ) -> None:
        self._nodes = find_nodes(nodes)
        self._timeout_s = timeout
        self._exactly_once = exactly_once
        self._silence_s = silence
        self._is_closed = False
        self._lock = RLock()
        self._calls = 0
        """Calls under way: more than one if the handler of a signal has called within another call."""
        self._begin()
        renew_at_fork(self)

    def _begin(self) -> None:
        """Begin, or begin anew, with a connection and a session of its own."""
        self._random = Random()
        self._channel = Channel(self._nodes, self._random, exactly_once=self._exactly_once)
        self._channel.silence_s = self._silence_s
        self._driver = Driver(self._channel)
        if self._is_closed:
            self._channel.close()

    def forked(self) -> None:
        """This is a child process: the connection and the session are the parent's."""
        self._lock = RLock()  # a thread that the child does not have may hold the parent's
        self._calls = 0
        self._driver.close()
        self._begin()

    def _in_turn(self, do: Callable[[], T]) -> T:
        """Do something while no other thread does; before that, begin anew if an earlier call was interrupted.

        Raises:
            InvalidRequest: the handler of a signal has interrupted another call in the middle, and calls itself.
        """
        with self._lock:
            calls = self._calls
            try:
                self._calls = calls + 1
                if not self._driver.is_between_steps:
                    if calls:
                        raise InvalidRequest(
                            "a signal has interrupted a call of this client: its handler needs its own"
                        )
                    self._driver.close()
                    self._begin()
                return do()
            finally:
                self._calls = calls

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._is_closed = True
            self._channel.close()
            self._driver.close()
            _hand_out(self._channel)

    # --- requests ----------------------------------------------------------------------------------------------------

    def execute(self, request: Request[T], timeout: float | None = None) -> T:
        """Carry out a request of `kvraft.client.requests`; `timeout`, in seconds, replaces the client's."""
        return self._start(request, timeout).result()

    @contextlib.contextmanager
    def batch(self) -> Iterator[Batch]:
        """Send several requests together. After the `with` block all have ended; `result()` returns or raises.

        ::

            with client.batch() as batch:
                pending = [batch.get(key) for key in keys]
            values = [each.result() for each in pending]

        It is no transaction: another client's requests may be executed in between, and some requests may fail.
        """
        batch = Batch(self._start)
        yield batch
        for pending in batch.pending:
            self._run(pending)

    def _start(self, request: Request[T], timeout: float | None = None) -> Pending[T]:
        return self._in_turn(lambda: self._submit(request, self._timeout_s if timeout is None else timeout))

    def _submit(self, request: Request[T], timeout_s: float) -> Pending[T]:
        driver, channel = self._driver, self._channel
        request.tag = pending = Pending(request, channel, self._run)
        driver.is_between_steps = False
        try:
            channel.submit(request, time.monotonic(), timeout_s)
        except InvalidRequest:
            driver.is_between_steps = True
            raise
        driver.is_between_steps = True
        return pending

    def _run(self, pending: Pending[Any]) -> None:
        self._in_turn(lambda: self._wait(pending))

    def _wait(self, pending: Pending[Any]) -> None:
        channel = self._channel

        def look() -> bool:
            _hand_out(channel)
            return pending.is_done()

        if channel is pending.channel:
            self._driver.run(look)
        elif not pending.is_done():  # the client has begun anew since
            pending.finish(None, lost_answer(pending.request))

    def get(self, key: Text, *, at: int | None = None) -> bytes | None:
        """Read a value, None if the key does not exist; with `at`, the value at that revision."""
        return self.execute(requests.get(key, at))

    def get_item(self, key: Text, *, at: int | None = None) -> Item | None:
        """Read a value with its revisions, None if the key does not exist; with `at`, as of that revision."""
        return self.execute(requests.get_item(key, at))

    def set(self, key: Text, value: Text, *, ttl: float | None = None, lease: int | None = None) -> None:
        """Write a value. It expires after `ttl` seconds, or when its lease ends; with neither, never."""
        return self.execute(requests.set_(key, value, ttl, lease))

    def delete(self, key: Text, condition: If | None = None) -> None:
        """Remove a key, if it exists; raise ConditionFailed if a given condition does not hold."""
        return self.execute(requests.delete(key, condition))

    def cas(self, key: Text, condition: If, value: Text, *, ttl: float | None = None, lease: int | None = None) -> int:
        """Write a value if a condition holds, and return its revision; else raise ConditionFailed."""
        return self.execute(requests.cas(key, condition, value, ttl, lease))

    def incr(self, key: Text, by: int = 1) -> int:
        """Add to a counter, and return the sum; raise NotACounter if either is no 64-bit integer."""
        return self.execute(requests.incr(key, by))

    def append(self, key: Text, value: Text) -> int:
        """Append to a value, and return its new length in bytes."""
        return self.execute(requests.append(key, value))

    def expire(self, key: Text, seconds: float) -> None:
        """Let a key expire after `seconds`; raise NoSuchKey if it does not exist."""
        return self.execute(requests.expire(key, seconds))

    def persist(self, key: Text) -> None:
        """Remove the time to live of a key; raise NoSuchKey if it does not exist."""
        return self.execute(requests.persist(key))

    def ttl(self, key: Text) -> float | None:
        """Read the time to live of a key, seconds; None if it does not expire. Raise NoSuchKey if it does not exist."""
        return self.execute(requests.ttl(key))

    def transact(self, transaction: Transaction) -> Outcome:
        """Carry out a transaction atomically."""
        return self.execute(requests.transact(transaction))

    def count(self, start: Text, end: Text | None) -> int:
        """Count the keys from `start` up to but not `end`; None: no end."""
        return self.execute(requests.count(Span.between(start, end)))

    def count_prefix(self, start: Text) -> int:
        """Count the keys with a prefix."""
        return self.execute(requests.count(Span.prefix(start)))

    def ask(self, line: Text, *, reads: bool = False) -> Answer:
        """Send a line of the protocol unchanged; one that only `reads` is sent again if its answer is lost."""
        return self.execute(requests.raw_text(line, reads=reads))

    # --- leases and locks --------------------------------------------------------------------------------------------

    def lease(self, ttl: float = TTL_S) -> "Lease":
        """Return a lease, which is granted when it is entered, keeps itself alive, and ends with its keys.

        ::

            with client.lease(10) as lease:
                client.set("service/a", "10.0.0.7:80", lease=lease.id)
        """
        return Lease(self, Held(ttl))

    def lock(self, name: Text, ttl: float = TTL_S, *, wait: float | None = None, identity: Text = b"") -> "Lock":
        """Return a lock, or an election: a `with` block holds it, with a `token`, to its end or until it is `lost`.

        `wait`: seconds to wait for it, None for as long as it takes; after that LockHeld is raised. `identity`: what
        LEADER answers about the holder. It becomes free `ttl` seconds after its holder has died. Guard writes that only
        the holder may make with the token::

            with client.lock("job") as lock:
                client.execute(lock.guard(requests.set_("result", "1")))
        """
        return Lock(self, self._of_its_own(), Held(ttl), name, wait, identity)

    def _of_its_own(self) -> "Client":
        """Return a client with a separate connection, on which to wait for a lock."""
        silence_s = SILENCE_S + WAIT_S
        return Client(map(str, self._nodes), timeout=self._timeout_s, exactly_once=False, silence=silence_s)

    # --- ranges ------------------------------------------------------------------------------------------------------

    def range(
        self, start: Text, end: Text | None, *, limit: int | None = None, reverse: bool = False, at: int | None = None
    ) -> Iterator[KeyItem]:
        """Read the keys from `start` up to but not `end`, page by page, all at one revision; `end` None: no end."""
        return self._pages(Pages(Span.between(start, end).shown(reverse=reverse, at=at), limit))

    def prefix(
        self, start: Text, *, limit: int | None = None, reverse: bool = False, at: int | None = None
    ) -> Iterator[KeyItem]:
        """Read the keys with a prefix, page by page, all at one revision."""
        return self._pages(Pages(Span.prefix(start).shown(reverse=reverse, at=at), limit))

    def keys(self, start: Text = b"", *, limit: int | None = None, reverse: bool = False) -> Iterator[bytes]:
        """Read the keys with a prefix, without their values."""
        return (
            item.key for item in self._pages(Pages(Span.prefix(start).shown(reverse=reverse, only_keys=True), limit))
        )

    def _pages(self, pages: Pages) -> Iterator[KeyItem]:
        while (request := pages.next_request()) is not None:
            yield from pages.take(self.execute(request))

    # --- watches -----------------------------------------------------------------------------------------------------

    def watch(self, key: Text, *, first: int | None = None, previous: bool = False) -> Watch:
        """Return every change of a key, from the revision `first` on, or from now on.

        It continues on another node when a node fails, and delivers each event once. With `previous` events hold the
        item before the change. It has its own connection.
        """
        return self._watch(watch_key(key), first, previous=previous)

    def watch_prefix(self, start: Text, *, first: int | None = None, previous: bool = False) -> Watch:
        """Return every change of the keys with a prefix; see `watch`."""
        return self._watch(watch_prefix(start), first, previous=previous)

    def _watch(self, written: bytes, first: int | None, *, previous: bool) -> Watch:
        watch = Watch(Following(written, first, self._nodes, self._random, with_previous=previous))
        if first is None:
            try:
                watch.revision  # noqa: B018 - from here on every change is delivered
            except BaseException:
                watch.close()
                raise
        return watch


def _hand_out(channel: Channel) -> None:
    for request, value, error in channel.take_finished():
        request.tag.finish(value, error)
