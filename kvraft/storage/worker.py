"""A thread that does jobs in order, so that a slow disk blocks no heartbeat and a hung one can be detected.

It is a dedicated daemon thread and not one of the reactor's pool: the pool is joined when the reactor stops, so a sync
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
    """The methods of the reactor that are used: `IReactorTime.seconds` and `IReactorFromThreads.callFromThread`."""

    def seconds(self) -> float:
        """Return the reactor's time."""
        ...

    def callFromThread(self, callable: Callable[..., object], *args: object) -> object:  # noqa: A002 - Twisted's name
        """Call `callable` on the reactor's thread, in the order of these calls."""
        ...


class Jobs(Protocol):
    """Does jobs in order: a `Worker`, or its twin without a thread."""

    @property
    def is_closing(self) -> bool:
        """Whether it accepts no more jobs."""
        ...

    @property
    def pending_since(self) -> float | None:
        """The reactor's time in seconds of the call for the oldest unfinished job; None without one."""
        ...

    def do(self, job: Callable[[], _T]) -> Deferred[_T]:
        """Queue `job`; the Deferred fires with its result or its error, in the order of these calls."""
        ...

    def close(self) -> Deferred[None]:
        """Finish all queued jobs, and accept no more."""
        ...


class Worker:
    """Does jobs one at a time in the order of the calls, in its own thread.

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
        """The reactor's time in seconds of the call for the oldest unfinished job; None without one."""
        return self._unfinished[0][0] if self._unfinished else None

    def do(self, job: Callable[[], _T]) -> Deferred[_T]:
        """Queue `job`; the Deferred fires with its result or its error, in the order of these calls."""
        finished: Deferred[_T] = Deferred()
        self._unfinished.append((self._reactor.seconds(), finished))  # type: ignore[arg-type]  # fired with its own
        self._jobs.put(job)
        return finished

    def close(self) -> Deferred[None]:
        """Finish all queued jobs and the last job, and end the thread.

        The Deferred never fires when the disk hangs; a caller may stop waiting for it.
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
        """Do the jobs. Only this method runs in the thread."""
        while (job := self._jobs.get()) is not None:
            result: object
            try:
                result = job()
            except BaseException:  # noqa: BLE001 - any error goes to the caller that waits for the job
                result = Failure()
            self._reactor.callFromThread(self._finish, result)

    def _finish(self, result: object) -> None:
        _since, finished = self._unfinished.popleft()
        finished.callback(result)  # a Failure starts the errback chain

    def _closed(self, result: Failure | None) -> None:
        self._is_closed = True
        waiters, self._closing = self._closing, []
        for waiter in waiters:
            waiter.callback(result)
