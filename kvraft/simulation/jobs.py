"""The disk's jobs on virtual time: each takes some time, as in a thread of production, and may never finish."""

from collections import deque
from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from kvraft.simulation.machine import Machine, Reactor

_T = TypeVar("_T")


class DiskJobs:
    """Executes jobs one at a time, in order, each with a delay: `Worker` on virtual time.

    A job happens in one go at the end of its delay, unless the process ends before one of the job's effects.

    Args:
        reactor: the reactor of the process; the jobs end with the process.
        last: the job that `close` executes after all others.
        draw_delay: returns how long the next job takes, seconds; None: the disk hangs, until `resume`.
        patience: seconds; a job that would take less than half of this, and is the only one, is done when `do_soon`
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
        """Begin the next job, if there is one, no other is in progress, and the disk does not hang."""
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
        except Exception:  # noqa: BLE001 - any error is the result of the job, and goes to its caller
            result = Failure()
        machine = self._machine
        if machine.held_until > machine.world.now:  # an effect of the job has paused it
            machine.world.at(machine.held_until, machine, self._report, finished, result)
        else:
            self._report(finished, result)

    def _report(self, finished: Deferred[object], result: object) -> None:
        self._jobs.popleft()
        self.pending_since = self._jobs[0][0] if self._jobs else None
        self._is_busy = False
        self.resume()
        finished.callback(result)
