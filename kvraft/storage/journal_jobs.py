"""The journal behind Deferreds, so that a `Worker` can wait for the disk in its own thread."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from operator import attrgetter
from typing import Final

import attrs
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from kvraft.metrics import Histogram
from kvraft.raft.types import Entry, HardState
from kvraft.storage.errors import JournalFailed, JournalFull, SaveRefused
from kvraft.storage.journal import Journal
from kvraft.storage.worker import Jobs

FULL_RETRY_S: Final = 1.0
"""Interval at which a journal without room tries again, seconds."""


class JournalJobs:
    """A `Journal` behind Deferreds: each method is a job, and jobs are done one at a time in the order of the calls.

    Every method is called on the reactor's thread, and every Deferred fires there. A job that finds no room waits, and
    so does every job after it, until there is room. Only a compaction among them is tried before the oldest job: it
    deletes segments, and the log itself may be what fills the disk. Its entries are durable and committed already, so
    no save that waits replaces them.
    """

    def __init__(self, journal: Journal, jobs: Jobs, clock: IReactorTime) -> None:
        self.journal = journal
        self._worker = jobs
        self._clock = clock
        self._number = 0
        """The number of the newest job."""
        self._held: list[_Held] = []
        """Jobs that wait for room; never empty while `_full` is set."""
        self._full: JournalFull | None = journal.full
        self._full_since: float | None = None
        self._retry: IDelayedCall | None = None
        if self._full is not None:
            self._full_since = clock.seconds()
            self._hold(_Held(0, lambda: None))

    @property
    def full(self) -> JournalFull | None:
        """See `Storage.full`."""
        return self._full

    @property
    def pending_since(self) -> float | None:
        """The reactor's time in seconds of the call for the oldest unfinished save or close; None without one."""
        return self._worker.pending_since if self._full_since is None else self._full_since

    @property
    def syncs(self) -> int:
        """See `Journal.syncs`."""
        return self.journal.syncs

    @property
    def sync_times(self) -> Histogram:
        """See `Journal.sync_times`."""
        return self.journal.sync_times

    @property
    def bytes_written(self) -> int:
        """See `Journal.bytes_written`."""
        return self.journal.bytes_written

    @property
    def segments(self) -> int:
        """See `Journal.segments`."""
        return self.journal.segments

    @property
    def file_bytes(self) -> int:
        """See `Journal.file_bytes`."""
        return self.journal.file_bytes

    def save(self, hard_state: HardState | None, entries: Sequence[Entry]) -> Deferred[None]:
        """Make both durable together; the Deferred fires when they are, in the order of the saves.

        On a quick disk it has fired when this returns. It fails with the errors of `Journal.save`: after one
        `JournalFailed` every later save fails with the same error. `entries` must not be changed afterwards.
        """
        if self.pending_since is None:  # no other thread uses the journal now
            try:
                prepared = self.journal.prepare_save(hard_state, entries)
            except (SaveRefused, JournalFailed):
                pass  # the job itself fails with it when it is done
            else:
                again = partial(self.journal.save, hard_state, entries)  # other jobs may come before it then
                return self._do(again, lambda _: self._worker.do_soon(prepared))
        return self._do(partial(self.journal.save, hard_state, entries))

    def compact(self, index: int, term: int) -> Deferred[None]:
        """Let the log begin after `index`; see `Journal.compact`. Ordered with the saves."""
        return self._do(_Compaction(self.journal, index, term))

    def reset_to(self, index: int, term: int, hard_state: HardState | None = None) -> Deferred[None]:
        """Empty the log; see `Journal.reset_to`. Ordered with the saves."""
        return self._do(_Reset(self.journal, index, term, hard_state))

    def close(self) -> Deferred[None]:
        """Finish all pending saves, close the journal, and end the thread.

        Saves that still find no room fail with `JournalFull`. The Deferred never fires when the disk hangs; a caller
        may stop waiting for it.
        """
        if not self._worker.is_closing and self._retry is not None and self._retry.active():
            self._retry.cancel()
            self._try_again()
        return self._worker.close()

    def _do(
        self, job: Callable[[], None], do: Callable[[Callable[[], None]], Deferred[None]] | None = None
    ) -> Deferred[None]:
        if self._worker.is_closing:
            return fail(SaveRefused("the journal is closed"))
        self._number += 1
        if self._full is not None:
            return self._hold(_Held(self._number, job))
        return (do or self._worker.do)(job).addErrback(self._found_no_room, self._number, job)

    def _found_no_room(self, failure: Failure, number: int, job: Callable[[], None]) -> Deferred[None]:
        failure.trap(JournalFull)
        self._note_full(failure)
        return self._hold(_Held(number, job))

    def _note_full(self, failure: Failure) -> None:
        if self._full is None:
            self._full_since = self._clock.seconds()
        assert isinstance(failure.value, JournalFull)
        self._full = failure.value

    def _hold(self, held: "_Held") -> Deferred[None]:
        self._held.append(held)
        if self._retry is None:
            self._retry = self._clock.callLater(FULL_RETRY_S, self._try_again)
        return held.done

    def _try_again(self) -> None:
        """Retry the oldest job that waits for room, and then the others."""
        if self._worker.is_closing:
            return
        self._held.sort(key=_number_of)
        oldest = self._held[0]
        jobs = [held.job for held in self._held]
        self._worker.do(partial(_try_again, self.journal, jobs)).addCallbacks(
            self._found_room, self._failed_again, errbackArgs=(oldest,)
        )

    def _found_room(self, _: None) -> None:
        (oldest, *others), self._held = self._held, []
        self._full = self._full_since = self._retry = None
        for held in others:
            again = self._worker.do(held.job).addErrback(self._found_no_room, held.number, held.job)
            again.addCallbacks(held.done.callback, held.done.errback)
        oldest.done.callback(None)

    def _failed_again(self, failure: Failure, oldest: "_Held") -> None:
        if failure.check(JournalFull) is not None and not self._worker.is_closing:
            self._note_full(failure)
            self._retry = self._clock.callLater(FULL_RETRY_S, self._try_again)
            return
        held, self._held = self._held, []
        for each in held:  # the journal is dead or closed; each job fails with the same error
            each.done.errback(failure)


@attrs.frozen
class _Held:
    """A job that waits for room."""

    number: int
    """Its position in the order of the calls."""
    job: Callable[[], None]
    done: Deferred[None] = attrs.field(factory=Deferred)


_number_of: Final = attrgetter("number")


@attrs.define
class _Compaction:
    """A compaction, which is done once."""

    journal: Journal
    index: int
    term: int
    is_done: bool = False

    def __call__(self) -> None:
        """Do it, unless it is done."""
        if not self.is_done:
            self.journal.compact(self.index, self.term)
            self.is_done = True


@attrs.frozen
class _Reset:
    """A reset; no compaction after it is done before it."""

    journal: Journal
    index: int
    term: int
    hard_state: HardState | None

    def __call__(self) -> None:
        """Do it."""
        self.journal.reset_to(self.index, self.term, self.hard_state)


def _try_again(journal: Journal, jobs: Sequence[Callable[[], None]]) -> None:
    """Do the compactions among the jobs, up to a reset, and then the first job."""
    journal.try_again()
    for job in jobs:
        if isinstance(job, _Reset):
            break
        if isinstance(job, _Compaction):
            with suppress(SaveRefused):  # the entry is in a save that waits, or it is a defect: its turn will tell
                job()
    jobs[0]()
