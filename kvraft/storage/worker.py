"""A thread that does jobs in order, so that a slow disk blocks no heartbeat and a hung one can be detected.

It is a dedicated daemon thread and not one of the reactor's pool: the pool is joined when the reactor stops, so a sync
that never returns would keep the process from ending.
"""

from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Final, Protocol, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

_T = TypeVar("_T")

UNAWAITED_MAX: Final = 256
"""After jobs that took too long in a row, the caller does not wait for so many jobs at most, and then tries again."""


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
        """Queue `job`; the Deferred fires with its result or its error later, in the order of these calls."""
        ...

    def do_soon(self, job: Callable[[], _T]) -> Deferred[_T]:
        """Do what `do` does, but the Deferred may have fired when this returns."""
        ...

    def close(self) -> Deferred[None]:
        """Finish all queued jobs, and accept no more."""
        ...


class Worker:
    """Does jobs one at a time in the order of the calls, in its own thread.

    Every method is called on the reactor's thread, and every Deferred fires there.

    With some patience, the reactor's thread waits for a job of `do_soon`. A sync of 0.1 ms takes less time than the way
    of its result through the reactor: a system call to wake it, a poll, a read, and a turn. A job that takes longer
    reports through the reactor, so a hung disk still blocks no heartbeat. Then the next job is not waited for; if the
    one after it takes too long again, the next two are not, then four, and so on.

    Args:
        last: the job that ends it.
        patience: the longest time that `do_soon` waits, seconds. It waits only if the job is the only one.
    """

    def __init__(self, name: str, reactor: ThreadReactor, last: Callable[[], None], *, patience: float = 0.0) -> None:
        self._reactor = reactor
        self._last = last
        self._patience = patience
        self._unawaited = 0
        """How many of the next jobs are not waited for, since jobs before them took too long."""
        self._unawaited_next = 1
        """What `_unawaited` becomes with the next job that takes too long."""
        self._awaited: deque[None] = deque()
        """Holds one element while `do_soon` waits. The thread removes it to hand the result over, `do_soon` removes it
        to wait no more, and only one of them can."""
        self._handed_over = Lock()
        """Released when `_result` is there."""
        self._handed_over.acquire()
        self._result: object = None
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
        """Queue `job`; the Deferred fires with its result or its error later, in the order of these calls."""
        finished: Deferred[_T] = Deferred()
        self._unfinished.append((self._reactor.seconds(), finished))  # type: ignore[arg-type]  # fired with its own
        self._jobs.put(job)
        return finished

    def do_soon(self, job: Callable[[], _T]) -> Deferred[_T]:
        """Do what `do` does, but the Deferred has fired when this returns if the job was done in time."""
        if self._unfinished or not self._patience:
            return self.do(job)
        if self._unawaited:
            self._unawaited -= 1
            return self.do(job)
        self._awaited.append(None)
        finished = self.do(job)
        if self._is_done_in_time():
            result, self._result = self._result, None
            self._finish(result)
        return finished

    def _is_done_in_time(self) -> bool:
        """Wait for the result of the only job; return False if it will come by the reactor."""
        if self._handed_over.acquire(timeout=self._patience):
            self._unawaited_next = 1
            return True
        self._unawaited = self._unawaited_next
        self._unawaited_next = min(2 * self._unawaited_next, UNAWAITED_MAX)
        try:
            self._awaited.pop()
        except IndexError:  # it is handed over at this moment
            self._handed_over.acquire()
            return True
        return False

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
        """Do the jobs. Only this method, and what it calls, runs in the thread."""
        while (job := self._jobs.get()) is not None:
            result: object
            try:
                result = job()
            except BaseException:  # noqa: BLE001 - any error goes to the caller that waits for the job
                result = Failure()
            if not self._hand_over(result):
                self._reactor.callFromThread(self._finish, result)

    def _hand_over(self, result: object) -> bool:
        """Hand a result to the reactor's thread, if that waits for it."""
        try:
            self._awaited.pop()
        except IndexError:
            return False
        self._result = result
        self._handed_over.release()
        return True

    def _finish(self, result: object) -> None:
        _since, finished = self._unfinished.popleft()
        finished.callback(result)  # a Failure starts the errback chain

    def _closed(self, result: Failure | None) -> None:
        self._is_closed = True
        waiters, self._closing = self._closing, []
        for waiter in waiters:
            waiter.callback(result)
