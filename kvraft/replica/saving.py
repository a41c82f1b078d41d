"""Saving: one save at a time, and everything that came up meanwhile shares the next (group commit)."""

from collections import deque
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from kvraft.raft import Entry, HardState, Node, Ready
from kvraft.raft.roles import Leader
from kvraft.storage import Storage

_log = Logger(namespace="kvraft.replica")


class Saver:
    """Has Readys saved in order and reports each as durable, in order, when all before it are.

    Args:
        storage: the journal.
        durable: called with the Readys that became durable together.
        failed: called when the journal refuses; nothing is reported as durable after that.
    """

    def __init__(
        self, storage: Storage, durable: Callable[[list[Ready]], None], failed: Callable[[Failure], None]
    ) -> None:
        self._storage = storage
        self._durable = durable
        self._failed = failed
        self._waiting: deque[Ready] = deque()
        self._saving: list[Ready] = []

    def save(self, ready: Ready) -> None:
        """Save what `ready` wants saved, with the next save; one without a wish only waits for those before it."""
        if not (ready.needs_save or self._saving or self._waiting):
            self._durable([ready])
            return
        self._waiting.append(ready)
        if not self._saving:
            self._begin()

    @property
    def idle(self) -> bool:
        """Whether everything is durable."""
        return not self._saving

    def _begin(self) -> None:
        self._saving = list(self._waiting)
        self._waiting.clear()
        if not any(ready.needs_save for ready in self._saving):
            self._saved(None)
            return
        hard_state, entries = merge(self._saving)
        saved: Deferred[None] = self._storage.save(hard_state, entries)
        saved.addCallbacks(self._saved, self._failed)
        saved.addErrback(self._failed)

    def _saved(self, _: None) -> None:
        durable, self._saving = self._saving, []
        self._durable(durable)
        if self._waiting and not self._saving:
            self._begin()


def merge(readys: list[Ready]) -> tuple[HardState | None, list[Entry]]:
    """Return the last hard state and the entries that stand after all of `readys`: a later one replaces the tail."""
    hard_state: HardState | None = None
    entries: list[Entry] = []
    for ready in readys:
        hard_state = ready.hard_state or hard_state
        if ready.entries:
            while entries and entries[-1].index >= ready.entries[0].index:
                entries.pop()
            entries += ready.entries
    return hard_state, entries


def make_way_when_stalled(node: Node, storage: Storage, stall_max: float, now: float) -> None:
    """End the office of a leader whose disk hangs, so that the others can elect one whose disk works (BUGS row 26).

    It does when a save has taken `stall_max` seconds.
    """
    since = storage.pending_since
    if since is None or now - since < stall_max or not isinstance(node.role, Leader):
        return
    _log.error(
        "node {id} stops leading: its disk has not finished a save for {seconds:.1f} s", id=node.id, seconds=now - since
    )
    node.resign(now)
