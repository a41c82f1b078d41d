"""The recipes for the blocking client."""

import contextlib
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

from kvraft.client import holding
from kvraft.client.blocking import Client
from kvraft.client.blocking_held import Lease
from kvraft.client.blocking_held import Lock as Held
from kvraft.client.errors import ClientError, Compacted, InvalidRequest
from kvraft.client.holding import Leader
from kvraft.client.recipes import policy
from kvraft.client.recipes.policy import TTL_S, Changed, Course, Step, Steps, TimedOut
from kvraft.client.transactions import Operation
from kvraft.client.values import Outcome, Text, to_bytes

T = TypeVar("T")


def run(client: Client, steps: Steps[T], wait: float | None = None) -> T:
    """Carry out the steps of a recipe; `wait`: seconds to wait for changes in total, None: without limit.

    Raises:
        TimedOut: a change did not come in time.
    """
    until = None if wait is None else time.monotonic() + wait
    course = Course(steps)
    while (step := course.step) is not None:
        try:
            value = _carried_out(client, step, until)
        except ClientError as error:
            course.failed(error)
        else:
            course.answered(value)
    return course.result


def _carried_out(client: Client, step: Step, until: float | None) -> object:
    if not isinstance(step, Changed):
        return client.execute(step)
    with client.watch_prefix(step.prefix, first=step.after + 1) as watch:
        try:
            event = watch.take(None if until is None else until - time.monotonic())
        except Compacted:  # so many changes that the first is not kept any more: read again
            return None
    if event is None:
        raise TimedOut("it did not happen in time")
    return None


class Counter:
    """A 64-bit integer that many clients add to.

    Guarantee: every `add` is applied once, even if the leader is killed during it, and returns the sum right after it.
    An `add` that ends with OutcomeUnknown was applied once or not at all.
    """

    def __init__(self, client: Client, key: Text) -> None:
        self._client = client
        self._key = key

    def add(self, by: int = 1) -> int:
        """Add to the counter, and return the sum."""
        return self._client.incr(self._key, by)

    @property
    def value(self) -> int:
        """The value, 0 before the first `add`."""
        return int(self._client.get(self._key) or 0)


class Barrier:
    """A gate that a process closes and opens, while others wait until it is open. It is closed while its key exists.

    Guarantee: `wait` returns only if the barrier was open at a moment after the call. If the barrier is opened and
    closed again at once, a waiting process may miss it. The barrier outlives its clients: a process that closes it and
    dies leaves it closed, unless it closed it with a lease, `client.set(key, "", lease=lease.id)`.
    """

    def __init__(self, client: Client, key: Text) -> None:
        self._client = client
        self._key = to_bytes(key)

    def close(self) -> None:
        """Close the barrier: each `wait` from now on blocks until it is open."""
        self._client.set(self._key, b"")

    def open(self) -> None:
        """Open the barrier: every waiting process continues."""
        self._client.delete(self._key)

    def wait(self, wait: float | None = None) -> None:
        """Wait until it is open; raise TimedOut after `wait` seconds."""
        run(self._client, policy.await_absence(self._key), wait)


class _Leased(ABC):
    """A recipe that is held within a `with` block, by a lease."""

    def __init__(self, client: Client, ttl: float, wait: float | None = None) -> None:
        self._client = client
        self._lease: Lease = client.lease(ttl)
        self._wait = wait

    @property
    def lost(self) -> threading.Event:
        """The event that is set as soon as the lease may have ended."""
        return self._lease.lost

    @property
    def is_held(self) -> bool:
        """Whether the lease is certainly held now."""
        return self._lease.is_held

    @abstractmethod
    def _begin(self) -> Steps[None]:
        """Return the steps that follow the grant of the lease."""

    def _end(self) -> None:  # noqa: B027 - most have nothing to do
        """Carry out the steps before the lease is revoked."""

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._lease)
            run(self._client, self._begin(), self._wait)
            stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._end()
        finally:
            self._lease.__exit__(kind, error, trace)


class DoubleBarrier(_Leased):
    """Makes a number of participants begin together and end together, in any number of rounds.

    ::

        with DoubleBarrier(client, "step", 3):
            ...  # all three are here

    Guarantee: a `with` block begins only after `count` participants have entered and all were present at one moment. It
    ends after every participant of the round has left, or its lease has ended. A participant that comes while a round
    is open waits for the next one. A participant whose lease ends during the round (`lost`) counts as having left.
    """

    def __init__(
        self, client: Client, name: Text, count: int, *, ttl: float = TTL_S, wait: float | None = None
    ) -> None:
        super().__init__(client, ttl, wait)
        self._rendezvous = policy.Rendezvous(name, count)

    def _begin(self) -> Steps[None]:
        return self._rendezvous.begin(self._lease.id)

    def _end(self) -> None:
        run(self._client, self._rendezvous.leave(), self._wait)


class Party(_Leased):
    """The processes that are alive. A process is a member within its `with` block, or until its lease ends.

    ::

        with Party(client, "workers", "10.0.0.7:80") as party:
            print(party.members())

    Guarantee: a process that dies remains a member for at most `ttl` and about one more second. A live process is a
    member unless its renewals fail for that long; then `lost` is set, and it does not join again by itself. Reads are
    linearizable: a process that has entered is in every list that is read after that.
    """

    def __init__(self, client: Client, name: Text, identity: Text, *, ttl: float = TTL_S) -> None:
        super().__init__(client, ttl)
        self._name = name
        self._membership = policy.Membership(name, identity)

    def _begin(self) -> Steps[None]:
        return self._membership.begin(self._lease.id)

    def members(self) -> list[bytes]:
        """Return the identity of each member, in the order in which they joined."""
        return run(self._client, policy.members(self._name))


class Taken(_Leased):
    """An item of a queue that one consumer has taken, see `Queue.take`."""

    def __init__(self, client: Client, name: Text, ttl: float, wait: float | None) -> None:
        super().__init__(client, ttl, wait)
        self._taking = policy.Taking(name)

    @property
    def value(self) -> bytes:
        """The item."""
        return self._taking.value

    def finish(self, *operations: Operation) -> Outcome:
        """Remove the item, and carry out `operations` of a transaction in the same step.

        Raises:
            LeaseLost: the item is not held by this consumer any more; nothing was changed.
        """
        return run(self._client, self._taking.finish(operations))

    def _begin(self) -> Steps[None]:
        return self._taking.begin(self._lease.id)

    def _end(self) -> None:
        if not self._taking.is_finished:
            self.finish()


class Queue:
    """A queue of items, each of which is taken by one consumer at a time and finished once.

    ::

        queue = Queue(client, "jobs")
        queue.put("resize 1.png")
        with queue.take() as job:
            resize(job.value)  # removed at the end; given back when this raises

    Guarantee: an item stays in the queue until it is finished. It has one consumer at a time, for as long as that
    consumer's lease lasts. If the consumer raises, dies or loses its lease, the item is back at its place in the queue.
    So the work for an item is done at least once, and the operations of `finish(...)` are applied exactly once. Items
    are taken in the order of their puts; the order of concurrent puts is not defined.
    """

    def __init__(self, client: Client, name: Text) -> None:
        self._client = client
        self._name = name

    def put(self, *values: Text) -> None:
        """Add items at the end: all of them or none, 128 at most."""
        run(self._client, policy.put(self._name, values))

    def take(self, *, ttl: float = TTL_S, wait: float | None = None) -> Taken:
        """Return an object whose `with` block takes the first item that no other consumer has.

        Args:
            ttl: seconds after which another consumer may take the item, if this one has died.
            wait: seconds to wait for an item, after which TimedOut is raised; None: without limit.
        """
        return Taken(self._client, self._name, ttl, wait)

    def __len__(self) -> int:
        """Count the items, with those that are taken and not finished."""
        return run(self._client, policy.length(self._name))


class Lock:
    """A lock that one client holds at a time. Each `with` block acquires it, and releases it at its end.

    ::

        with Lock(client, "job") as held:
            client.execute(held.guard(requests.set_("result", "1")))

    Guarantee: it has one holder at a time, and waiting clients get it in the order in which they came, also after a
    change of the Raft leader. Tokens only grow, and a write through `held.guard(...)` is refused once the lock is lost.
    Without the guard two clients may act as holder at the same time: one that was paused for longer than `ttl`
    continues until it checks `held.is_held` or `held.lost`. It is free `ttl` seconds after its holder has died.
    """

    def __init__(
        self, client: Client, name: Text, identity: Text = b"", *, ttl: float = TTL_S, wait: float | None = None
    ) -> None:
        self._client = client
        self._name = name
        self._identity = identity
        self._ttl = ttl
        self._wait = wait
        self._held: Held | None = None

    def __enter__(self) -> Held:
        """Acquire it; raise LockHeld after `wait` seconds, without `wait` never."""
        if self._held is not None:
            raise InvalidRequest(policy.ENTERED)
        self._held = self._client.lock(self._name, self._ttl, wait=self._wait, identity=self._identity)
        try:
            return self._held.__enter__()
        except BaseException:
            self._held = None
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        held, self._held = self._held, None
        if held is not None:
            held.__exit__(kind, error, trace)

    def holder(self) -> Leader | None:
        """Return who holds it, and how many wait; None if it is free."""
        return self._client.execute(holding.leads(self._name))


class Election:
    """Elects one of many clients as the leader.

    ::

        election = Election(client, "master", identity="10.0.0.7:80")
        election.run(lead)  # waits, then calls lead(lock), and releases the lock

    Guarantee: that of a lock. Tokens only grow, and a write through `lock.guard(...)` is refused once another client
    leads. Without the guard two clients may act as leader at the same time: one that was paused for longer than `ttl`
    continues until it checks `lock.is_held` or `lock.lost`. Waiting clients lead in the order in which they came, also
    after a change of the Raft leader.
    """

    def __init__(self, client: Client, name: Text, identity: Text = b"", *, ttl: float = TTL_S) -> None:
        self._client = client
        self._name = name
        self._identity = identity
        self._ttl = ttl

    def lead(self, wait: float | None = None) -> Held:
        """Return a lock: a `with` block leads, and raises LockHeld after `wait` seconds."""
        return self._client.lock(self._name, self._ttl, wait=wait, identity=self._identity)

    def run(self, lead: Callable[[Held], T], wait: float | None = None) -> T:
        """Wait until this client leads, call `lead` with the lock, and return its result."""
        with self.lead(wait) as lock:
            return lead(lock)

    def leader(self) -> Leader | None:
        """Return the leader; None if there is none."""
        return self._client.execute(holding.leads(self._name))
