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
from kvraft.client.blocking_held import Lease, Lock
from kvraft.client.errors import ClientError, Compacted
from kvraft.client.holding import Leader
from kvraft.client.recipes import policy
from kvraft.client.recipes.policy import TTL_S, Changed, Course, Step, Steps, TimedOut
from kvraft.client.transactions import Operation
from kvraft.client.values import Outcome, Text, to_bytes

T = TypeVar("T")


def run(client: Client, steps: Steps[T], wait: float | None = None) -> T:
    """Carry out the steps of a recipe; `wait`: seconds to wait for changes, in all; None: as long as it takes.

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
        except Compacted:  # there were so many changes that the first is not kept any more
            return None
    if event is None:
        raise TimedOut("it did not happen in time")
    return None


class Counter:
    """A whole number of 64 bits that many clients add to.

    Guarantee: every `add` counts once, also when the leader is killed meanwhile, and returns the sum right after it.
    One that ends with OutcomeUnknown has counted once or not at all.
    """

    def __init__(self, client: Client, key: Text) -> None:
        self._client = client
        self._key = key

    def add(self, by: int = 1) -> int:
        """Add, and return the sum."""
        return self._client.incr(self._key, by)

    @property
    def value(self) -> int:
        """The sum of all that was added."""
        return int(self._client.get(self._key) or 0)


class Barrier:
    """A gate that somebody closes and opens, and others wait at. It is closed while its key is there.

    Guarantee: `wait` returns only if the barrier was open at a moment after the call. A waiting process may miss that
    it was open when it is closed again at once. It survives all clients: a process that closes it and dies leaves it
    closed, unless it closes it with a lease, `client.set(key, "", lease=lease.id)`.
    """

    def __init__(self, client: Client, key: Text) -> None:
        self._client = client
        self._key = to_bytes(key)

    def close(self) -> None:
        """Let those wait who come from now on."""
        self._client.set(self._key, b"")

    def open(self) -> None:
        """Let all of them go on."""
        self._client.delete(self._key)

    def wait(self, wait: float | None = None) -> None:
        """Wait until it is open; raise TimedOut after `wait` seconds."""
        run(self._client, policy.await_absence(self._key), wait)


class _Leased(ABC):
    """Something that lasts from `with` to its end, as long as a lease of its own does."""

    def __init__(self, client: Client, ttl: float, wait: float | None = None) -> None:
        self._client = client
        self._lease: Lease = client.lease(ttl)
        self._wait = wait

    @property
    def lost(self) -> threading.Event:
        """Set as soon as the lease may have ended."""
        return self._lease.lost

    @property
    def is_held(self) -> bool:
        """Whether the lease certainly lasts."""
        return self._lease.is_held

    @abstractmethod
    def _begin(self) -> Steps[None]:
        """Return what is done once the lease is granted."""

    def _end(self) -> None:  # noqa: B027 - most have nothing to do
        """Do what comes before the lease is given back."""

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
    """Lets a number of participants begin together, and end together, round after round.

    ::

        with DoubleBarrier(client, "step", 3):
            ...  # all three are here

    Guarantee: a `with` block begins only after `count` participants had entered and were all there at one moment. It
    ends after every participant of the round has left, or its lease has ended. Who comes while a round is open waits
    for the next one. A participant that is lost during the round (`lost`) counts as having left.
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
    """Who is there. A process is a member from `with` to its end, or until its lease ends.

    ::

        with Party(client, "workers", "10.0.0.7:80") as party:
            print(party.members())

    Guarantee: a process that dies is a member for at most `ttl` seconds more, and about one second. A living one is a
    member unless its renewals fail for that long; `lost` says so, and it does not join again by itself. Reads are
    linearizable: a process that has entered is in every list that is read after that.
    """

    def __init__(self, client: Client, name: Text, identity: Text, *, ttl: float = TTL_S) -> None:
        super().__init__(client, ttl)
        self._name = name
        self._membership = policy.Membership(name, identity)

    def _begin(self) -> Steps[None]:
        return self._membership.begin(self._lease.id)

    def members(self) -> list[bytes]:
        """Return what each member says of itself, in the order in which they came."""
        return run(self._client, policy.members(self._name))


class Taken(_Leased):
    """An item of a queue that one consumer has, see `Queue.take`."""

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
            LeaseLost: this consumer does not have it any more; nothing was changed.
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

    Guarantee: an item that was put is there until it is finished. It has one consumer at a time, as long as the lease
    of that one lasts. When the consumer raises, dies or loses its lease, the item has its place in the queue again. So
    the work for an item is done at least once; what `finish(...)` writes is written exactly once. Items are taken in
    the order of their puts; of puts that overlap the order is open.
    """

    def __init__(self, client: Client, name: Text) -> None:
        self._client = client
        self._name = name

    def put(self, *values: Text) -> None:
        """Add items at the end: all of them or none, 128 at most."""
        run(self._client, policy.put(self._name, values))

    def take(self, *, ttl: float = TTL_S, wait: float | None = None) -> Taken:
        """Return what is the first item that nobody has, once it is entered.

        Args:
            ttl: seconds after which another consumer may have it when this one has died.
            wait: seconds to wait for an item, after which TimedOut is raised; None: as long as it takes.
        """
        return Taken(self._client, self._name, ttl, wait)

    def __len__(self) -> int:
        """Count the items, those included that consumers have and have not finished."""
        return run(self._client, policy.length(self._name))


class Election:
    """One of many leads.

    ::

        election = Election(client, "master", identity="10.0.0.7:80")
        election.run(lead)  # waits, then calls lead(lock), and gives the lead back

    Guarantee: that of a lock. Tokens only grow, and a write through `lock.guard(...)` is refused once another leads.
    Without the guard two may take themselves for the leader: one that was stopped for longer than `ttl` goes on until
    it looks at `lock.is_held` or `lock.lost`. Who waits leads in the order of coming, also after a change of the nodes'
    leader.
    """

    def __init__(self, client: Client, name: Text, identity: Text = b"", *, ttl: float = TTL_S) -> None:
        self._client = client
        self._name = name
        self._identity = identity
        self._ttl = ttl

    def lead(self, wait: float | None = None) -> Lock:
        """Return a lock: who enters it leads until its end; raises LockHeld after `wait` seconds."""
        return self._client.lock(self._name, self._ttl, wait=wait, identity=self._identity)

    def run(self, lead: Callable[[Lock], T], wait: float | None = None) -> T:
        """Wait until it leads, call `lead` with the lock, and return its result."""
        with self.lead(wait) as lock:
            return lead(lock)

    def leader(self) -> Leader | None:
        """Return who leads, None for nobody."""
        return self._client.execute(holding.leads(self._name))
