"""The journal in a thread of its own, so that a slow disk blocks no heartbeat and a hung one can be noticed.

It is a dedicated daemon thread and not one of the reactor's pool: the pool is joined when the reactor stops, and a sync
that never returns would keep the process from ending.
"""

from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Thread
from typing import Protocol

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from kvraft.raft.types import Entry, HardState
from kvraft.storage.errors import SaveRefused
from kvraft.storage.journal import Journal

_Job = Callable[[], None]


class ThreadReactor(Protocol):
    """What of the reactor is needed: Twisted's `IReactorTime.seconds` and `IReactorFromThreads.callFromThread`."""

    def seconds(self) -> float:
        """Return the reactor's time."""
        ...

    def callFromThread(self, callable: Callable[..., object], *args: object) -> object:  # noqa: A002 - Twisted's name
        """Call `callable` on the reactor's thread, in the order of these calls."""
        ...


class JournalThread:
    """A `Journal` behind Deferreds. Every method is called on the reactor's thread, and every Deferred fires there.

    The journal belongs to the thread from here on. Jobs are done one at a time in the order they were given.
    """

    def __init__(self, journal: Journal, reactor: ThreadReactor) -> None:
        self._journal = journal
        self._reactor = reactor
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._unfinished: deque[tuple[float, Deferred[None]]] = deque()
        self._closing: list[Deferred[None]] = []
        self._is_closing = False
        self._is_closed = False
        self._thread = Thread(target=self._work, name="kvraft-journal", daemon=True)
        self._thread.start()

    @property
    def pending_since(self) -> float | None:
        """The reactor's time in seconds when the oldest unfinished save (or close) was asked for, None without one."""
        return self._unfinished[0][0] if self._unfinished else None

    @property
    def syncs(self) -> int:
        """See `Journal.syncs`."""
        return self._journal.syncs

    @property
    def bytes_written(self) -> int:
        """See `Journal.bytes_written`."""
        return self._journal.bytes_written

    @property
    def segments(self) -> int:
        """See `Journal.segments`."""
        return self._journal.segments

    def save(self, hard_state: HardState | None, entries: Sequence[Entry]) -> Deferred[None]:
        """Have both made durable together; the Deferred fires when they are, in the order of the saves.

        It fails with what `Journal.save` raises: after one `JournalFailed` every later save fails with the same error.
        `entries` must not be changed afterwards.
        """
        if self._is_closing:
            return fail(SaveRefused("the journal is closed"))
        return self._enqueue(lambda: self._journal.save(hard_state, entries))

    def close(self) -> Deferred[None]:
        """Finish the saves that were asked for, close the journal, end the thread.

        The Deferred never fires when the disk hangs; a caller that wants to leave all the same just does.
        """
        if self._is_closed:
            return succeed(None)
        waiter: Deferred[None] = Deferred()
        self._closing.append(waiter)
        if not self._is_closing:
            self._is_closing = True
            self._enqueue(self._journal.close).addBoth(self._closed)
            self._jobs.put(None)
        return waiter

    def _enqueue(self, job: _Job) -> Deferred[None]:
        finished: Deferred[None] = Deferred()
        self._unfinished.append((self._reactor.seconds(), finished))
        self._jobs.put(job)
        return finished

    def _work(self) -> None:
        """Do the jobs. This alone runs in the thread."""
        while (job := self._jobs.get()) is not None:
            failure: Failure | None = None
            try:
                job()
            except BaseException:  # noqa: BLE001 - whatever it is belongs to whoever waits for the job
                failure = Failure()
            self._reactor.callFromThread(self._finish, failure)

    def _finish(self, failure: Failure | None) -> None:
        _since, finished = self._unfinished.popleft()
        if failure is None:
            finished.callback(None)
        else:
            finished.errback(failure)

    def _closed(self, result: Failure | None) -> None:
        self._is_closed = True
        waiters, self._closing = self._closing, []
        for waiter in waiters:
            waiter.callback(result)
