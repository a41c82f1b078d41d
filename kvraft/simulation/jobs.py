"""The disk's jobs on virtual time: what a thread does in production takes its time here, and may never be done."""

from collections import deque
from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from kvraft.simulation.machine import Machine, Reactor

_T = TypeVar("_T")


class DiskJobs:
    """Does jobs one at a time, in order, each some time after it was begun: `Worker` on virtual time.

    A job happens in one go when its time is over, unless the process ends ahead of one of its effects.

    Args:
        reactor: that of the process; its jobs end with it.
        last: the job that ends it.
        draw_delay: returns how long the next job takes, seconds; None when the disk hangs, until `resume`.
        patience: a job that would take less than half of this time, and is the only one, is done when `do_soon`
            returns, as with a `Worker` that waits for it.
    """

    def __init__(
        self, reactor: Reactor, last: Callable[[], None], draw_delay: Callable[[], float | None], patience: float
    ) -> None:
        self._reactor = reactor
        self._machine: Machine = reactor.machine
        self._last = last
        self._draw_delay = draw_delay
        self._patience = patience
        self._jobs: deque[tuple[float, Callable[[], object], Deferred[object]]] = deque()
        self._is_busy = False
        self.is_closing = False
        self.pending_since: float | None = None
        """See `Jobs.pending_since`."""

    def do(self, job: Callable[[], _T]) -> Deferred[_T]:
        """See `Jobs.do`."""
        return self._queue(job, 0.0)

    def do_soon(self, job: Callable[[], _T]) -> Deferred[_T]:
        """See `Jobs.do_soon`."""
        return self._queue(job, self._patience)

    def _queue(self, job: Callable[[], _T], patience: float) -> Deferred[_T]:
        finished: Deferred[_T] = Deferred()
        now = self._reactor.seconds()
        if not self._jobs:
            self.pending_since = now
        self._jobs.append((now, job, finished))  # type: ignore[arg-type]  # fired with its own
        self.resume(patience)
        return finished

    def close(self) -> Deferred[None]:
        """See `Jobs.close`."""
        last = (lambda: None) if self.is_closing else self._last
        self.is_closing = True
        return self.do(last)

    def resume(self, patience: float = 0.0) -> None:
        """Begin the next job, if there is one, none is under way, and the disk does not hang."""
        if self._is_busy or not self._jobs:
            return
        delay = self._draw_delay()
        if delay is None:
            return
        self._is_busy = True
        if delay < patience / 2:
            self._do_oldest()
        else:
            self._machine.world.at(self._machine.now + delay, self._machine, self._do_oldest)

    def _do_oldest(self) -> None:
        _since, job, finished = self._jobs[0]
        result: object
        try:
            result = job()
        except Exception:  # noqa: BLE001 - whatever it is belongs to whoever waits for the job
            result = Failure()
        machine = self._machine
        if machine.held_until > machine.world.now:  # it was held up by an effect of the job
            machine.world.at(machine.held_until, machine, self._report, finished, result)
        else:
            self._report(finished, result)

    def _report(self, finished: Deferred[object], result: object) -> None:
        self._jobs.popleft()
        self.pending_since = self._jobs[0][0] if self._jobs else None
        self._is_busy = False
        self.resume()
        finished.callback(result)
