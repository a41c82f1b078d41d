"""Saves Readys, which is their entries and hard states (term and vote).

There is one save at a time; the Readys that arrive meanwhile share the next one (group commit).
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from kvraft.events import Note, ignore
from kvraft.raft import Entry, HardState, Node, Ready
from kvraft.storage import JournalFull, Storage

_log = Logger(namespace="kvraft.replica")

WAITING_MAX: Final = 1000
"""While so many Readys wait for the disk, further ones with only replies are dropped: a disk may be full for days."""


class Saver:
    """Saves Readys in order, and reports each as durable, in order, when all before it are.

    Args:
        storage: the journal.
        durable: called with the Readys that became durable together.
        failed: called when the journal fails; nothing is reported as durable after that.
        seconds: returns the time.
        took: called with the seconds that each save has taken.
    """

    def __init__(
        self,
        storage: Storage,
        durable: Callable[[list[Ready]], None],
        failed: Callable[[Failure], None],
        seconds: Callable[[], float] = lambda: 0.0,
        took: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._storage = storage
        self._durable = durable
        self._failed = failed
        self._seconds = seconds
        self._took = took
        self._began: float | None = None
        """When the save under way was requested; None while none is."""
        self._waiting: deque[Ready] = deque()
        self._saving: list[Ready] = []
        self._idlers: list[Deferred[None]] = []
        if storage.pending_since is not None:  # what was read at the start is durable only after this save
            self._saving = [Ready()]
            self._storage.save(None, ()).addCallbacks(self._saved, failed).addErrback(failed)

    def save(self, ready: Ready) -> None:
        """Save `ready` with the next save; if it needs no save, it only waits for those before it."""
        if not (self._saving or self._waiting or ready.needs_save or self._storage.full):
            self._durable([ready])
            return
        if len(self._waiting) >= WAITING_MAX and not ready.needs_save:
            return  # its replies are lost, as any message may be
        self._waiting.append(ready)
        if not self._saving:
            self._begin()

    @property
    def idle(self) -> bool:
        """Whether everything is durable."""
        return not self._saving

    def when_idle(self) -> Deferred[None]:
        """Return a Deferred that fires when everything is durable, or when the node is stopped."""
        if self.idle:
            return succeed(None)
        self._idlers.append(Deferred())
        return self._idlers[-1]

    def end_waits(self) -> None:
        """Fire every Deferred of `when_idle`: the disk may never answer."""
        idlers, self._idlers = self._idlers, []
        for idler in idlers:
            idler.callback(None)

    def _begin(self) -> None:
        self._saving = list(self._waiting)
        self._waiting.clear()
        hard_state, entries = merge(self._saving)
        if hard_state is None and not entries and self._storage.full is None:  # there are only replies
            self._saved(None)
            return
        self._began = self._seconds()
        saved: Deferred[None] = self._storage.save(hard_state, entries)
        saved.addCallbacks(self._saved, self._failed)
        saved.addErrback(self._failed)

    def _saved(self, _: None) -> None:
        durable, self._saving = self._saving, []
        if self._began is not None:
            self._took(self._seconds() - self._began)
            self._began = None
        self._durable(durable)
        if self._waiting and not self._saving:
            self._begin()
        if self._idlers and not self._saving:
            self.end_waits()


def merge(readys: list[Ready]) -> tuple[HardState | None, list[Entry]]:
    """Return the last hard state and the entries after all of `readys`; a later Ready's entries replace the tail."""
    hard_state: HardState | None = None
    entries: list[Entry] = []
    for ready in readys:
        hard_state = ready.hard_state or hard_state
        if ready.entries:
            while entries and entries[-1].index >= ready.entries[0].index:
                entries.pop()
            entries += ready.entries
    return hard_state, entries


class DiskWatch:
    """Makes a leader step down when its disk takes no saves, so that the others can elect one whose disk works.

    Args:
        stall_max: longest time of a save, seconds, after which a leader makes way if another node can do better
            (row 26).
        note: takes what happens.
    """

    def __init__(self, node: Node, storage: Storage, stall_max: float, note: Note = ignore) -> None:
        self._node = node
        self._storage = storage
        self._stall_max = stall_max
        self._note = note
        self._full: JournalFull | None = None
        """The state of `Storage.full` that was logged last."""

    def look(self, now: float) -> None:
        """Look whether the disk works."""
        node, since, full = self._node, self._storage.pending_since, self._storage.full
        if (full is None) is not (self._full is None):
            self._tell(full)
            self._full = full
        if full is not None:
            node.stand_back(now)
        elif since is not None and now - since >= self._stall_max and node.make_way(now):
            _log.error(
                "node {id} stops leading: its disk has not finished a save for {seconds:.1f} s, and another node's has",
                id=node.id,
                seconds=now - since,
            )
            self._note("makes_way", term=node.term, seconds=round(now - since, 2))

    def _tell(self, full: JournalFull | None) -> None:
        if full is None:
            lacked_files = self._full is not None and self._full.lacks_files
            what = "may open files" if lacked_files else "has room on its disk"
            _log.warn("node {id} {what} again and goes on", id=self._node.id, what=what)
            self._note("disk_ok")
            return
        self._note("disk_full", reason=str(full))
        _log.error(
            "node {id} cannot save anything and confirms nothing until it can; it does not lead meanwhile: {why}",
            id=self._node.id,
            why=str(full),
        )
