"""The journal's in-memory twin: it keeps the rules and the order of a journal, and none of the data."""

from collections import deque
from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime

from kvraft.metrics import Histogram
from kvraft.raft.types import Entry, HardState
from kvraft.storage.errors import SaveRefused
from kvraft.storage.extent import Extent


class MemoryJournal:
    """Refuses what a `Journal` refuses; every save is "durable" `delay` seconds of the reactor later, in order.

    A save never finishes before it returns, because with a real disk it never does: at `delay` 0 its Deferred fires on
    the next turn of the clock. `delay` may be changed at any time, to play a disk that becomes slow. Without `counts`
    it says, truly, that nothing was synced or written.
    """

    def __init__(self, reactor: IReactorTime, *, delay: float = 0.0, counts: bool = True) -> None:
        self.delay = delay
        self.syncs = 0
        self.bytes_written = 0
        self.sync_times = Histogram()
        self.segments = self.file_bytes = 0
        self._counts = counts
        self._reactor = reactor
        self._extent = Extent()
        self._is_closed = False
        self._unfinished: deque[tuple[float, Deferred[None]]] = deque()

    @property
    def extent(self) -> Extent:
        """What it would hold; see `Journal.extent`."""
        return self._extent

    @property
    def pending_since(self) -> float | None:
        """The reactor's time in seconds when the oldest unfinished save (or close) was asked for, None without one."""
        return self._unfinished[0][0] if self._unfinished else None

    @property
    def full(self) -> None:
        """See `Storage.full`: there is no disk that could be full."""
        return None

    def save(self, hard_state: HardState | None, entries: Sequence[Entry]) -> Deferred[None]:
        """Pretend to make both durable. The Deferred fails with SaveRefused where `Journal.save` would raise it."""

        def note() -> None:
            self._extent.check_save(hard_state, entries)
            self._extent.note_save(self._extent.hard_state if hard_state is None else hard_state, entries)
            if self._counts and (hard_state is not None or entries):
                self.syncs += 1
                self.bytes_written += sum(len(entry.record) for entry in entries)

        return self._take(note)

    def compact(self, index: int, term: int) -> Deferred[None]:
        """Pretend that the log begins after `index`; see `Journal.compact`."""

        def note() -> None:
            self._extent.check_compact(index, term)
            self._extent.note_compact(index, term)

        return self._take(note)

    def reset_to(self, index: int, term: int, hard_state: HardState | None = None) -> Deferred[None]:
        """Pretend to empty the log; see `Journal.reset_to`."""

        def note() -> None:
            self._extent.check_reset(index, term, hard_state)
            self._extent.note_reset(index, term, self._extent.hard_state if hard_state is None else hard_state)
            self.syncs += self._counts

        return self._take(note)

    def close(self) -> Deferred[None]:
        """Take no more saves; the Deferred fires after those that are unfinished."""
        self._is_closed = True
        return self._finish_later()

    def _take(self, note: Callable[[], None]) -> Deferred[None]:
        if self._is_closed:
            return fail(SaveRefused("the journal is closed"))
        try:
            note()
        except SaveRefused:
            return fail()
        return self._finish_later()

    def _finish_later(self) -> Deferred[None]:
        finished: Deferred[None] = Deferred()
        self._unfinished.append((self._reactor.seconds(), finished))
        # Each call finishes the oldest save, not its own: the order holds even when `delay` shrinks.
        self._reactor.callLater(self.delay, self._finish_oldest)
        return finished

    def _finish_oldest(self) -> None:
        _since, finished = self._unfinished.popleft()
        finished.callback(None)
