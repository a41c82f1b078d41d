"""The journal behind Deferreds, so that a `Worker` can wait for the disk in a thread of its own."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from twisted.internet.defer import Deferred, fail

from kvraft.raft.types import Entry, HardState
from kvraft.storage.errors import JournalFailed, SaveRefused
from kvraft.storage.journal import Journal
from kvraft.storage.worker import Jobs


class JournalJobs:
    """A `Journal` behind Deferreds: each method is a job, done one at a time in the order they were given.

    Every method is called on the reactor's thread, and every Deferred fires there.
    """

    def __init__(self, journal: Journal, jobs: Jobs) -> None:
        self.journal = journal
        self._worker = jobs

    @property
    def pending_since(self) -> float | None:
        """The reactor's time in seconds when the oldest unfinished save (or close) was asked for, None without one."""
        return self._worker.pending_since

    @property
    def syncs(self) -> int:
        """See `Journal.syncs`."""
        return self.journal.syncs

    @property
    def bytes_written(self) -> int:
        """See `Journal.bytes_written`."""
        return self.journal.bytes_written

    @property
    def segments(self) -> int:
        """See `Journal.segments`."""
        return self.journal.segments

    def save(self, hard_state: HardState | None, entries: Sequence[Entry]) -> Deferred[None]:
        """Have both made durable together; the Deferred fires when they are, in the order of the saves.

        It fails with what `Journal.save` raises: after one `JournalFailed` every later save fails with the same error.
        `entries` must not be changed afterwards.
        """
        if self._worker.pending_since is None:  # the journal is nobody else's now
            with suppress(SaveRefused, JournalFailed):  # the job itself says so when it is its turn
                return self._do(self.journal.prepare_save(hard_state, entries))
        return self._do(partial(self.journal.save, hard_state, entries))

    def compact(self, index: int, term: int) -> Deferred[None]:
        """Have the log begin behind `index`; see `Journal.compact`. Takes its turn among the saves."""
        return self._do(lambda: self.journal.compact(index, term))

    def reset_to(self, index: int, term: int, hard_state: HardState | None = None) -> Deferred[None]:
        """Have the log emptied; see `Journal.reset_to`. Takes its turn among the saves."""
        return self._do(lambda: self.journal.reset_to(index, term, hard_state))

    def close(self) -> Deferred[None]:
        """Finish the saves that were asked for, close the journal, end the thread.

        The Deferred never fires when the disk hangs; a caller that wants to leave all the same just does.
        """
        return self._worker.close()

    def _do(self, job: Callable[[], None]) -> Deferred[None]:
        if self._worker.is_closing:
            return fail(SaveRefused("the journal is closed"))
        return self._worker.do(job)
