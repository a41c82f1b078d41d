"""A thread that does jobs in order, so that a slow disk blocks no heartbeat and a hung one can be noticed.

It is a dedicated daemon thread and not one of the reactor's pool: the pool is joined when the reactor stops, and a sync
that never returns would keep the process from ending.
"""

from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

_T = TypeVar("_T")


class ThreadReactor(Protocol):
    """What of the reactor is needed: Twisted's `IReactorTime.seconds` and `IReactorFromThreads.callFromThread`."""

    def seconds(self) -> float:
        """Return the reactor's time."""
        ...

    def callFromThread(self, callable: Callable[..., object], *args: object) -> object:  # noqa: A002 - Twisted's name
        """Call `callable` on the reactor's thread, in the order of these calls."""
        ...


class Jobs(Protocol):
    """What does jobs in order: a `Worker`, or its twin without a thread."""

    @property
    def is_closing(self) -> bool:
        """Whether it takes no more jobs."""
        ...

    @property
    def pending_since(self) -> float | None:
        """The reactor's time in seconds when the oldest unfinished job was asked for, None without one."""
        ...

    def do(self, job: Callable[[], _T]) -> Deferred[_T]:
        """Have `job` done; the Deferred fires with what it returns or raises, in the order of these calls."""
        ...

    def close(self) -> Deferred[None]:
        """Do what was asked for, and then no more."""
        ...


class Worker:
    """Does jobs one at a time in the order they were given, in a thread of its own.

    Every method is called on the reactor's thread, and every Deferred fires there. `last` is the job that ends it.
    """

    def __init__(self, name: str, reactor: ThreadReactor, last: Callable[[], None]) -> None:
        self._reactor = reactor
        self._last = last
        self._jobs: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._unfinished: deque[tuple[float, Deferred[object]]] = deque()
        self._closing: list[Deferred[None]] = []
        self._is_closed = False
        self.is_closing = False
        self.thread = Thread(target=self._work, name=name, daemon=True)
        self.thread.start()

    @property
    def pending_since(self) -> float | None:
        """The reactor's time in seconds when the oldest unfinished job was asked for, None without one."""
        return self._unfinished[0][0] if self._unfinished else None

    def do(self, job: Callable[[], _T]) -> Deferred[_T]:
        """Have `job` done; the Deferred fires with what it returns or raises, in the order of these calls."""
        finished: Deferred[_T] = Deferred()
        self._unfinished.append((self._reactor.seconds(), finished))  # type: ignore[arg-type]  # fired with its own
        self._jobs.put(job)
        return finished

    def close(self) -> Deferred[None]:
        """Do what was asked for and the last job, and end the thread.

        The Deferred never fires when the disk hangs; a caller that wants to leave all the same just does.
        """
        if self._is_closed:
            return succeed(None)
        waiter: Deferred[None] = Deferred()
        self._closing.append(waiter)
        if not self.is_closing:
            self.is_closing = True
            self.do(self._last).addBoth(self._closed)
            self._jobs.put(None)
        return waiter

    def _work(self) -> None:
        """Do the jobs. This alone runs in the thread."""
        while (job := self._jobs.get()) is not None:
            result: object
            try:
                result = job()
            except BaseException:  # noqa: BLE001 - whatever it is belongs to whoever waits for the job
                result = Failure()
            self._reactor.callFromThread(self._finish, result)

    def _finish(self, result: object) -> None:
        _since, finished = self._unfinished.popleft()
        finished.callback(result)  # a Failure takes the path of errors

    def _closed(self, result: Failure | None) -> None:
        self._is_closed = True
        waiters, self._closing = self._closing, []
        for waiter in waiters:
            waiter.callback(result)
