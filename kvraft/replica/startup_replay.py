"""Logs the progress of a restarted node until it has applied the log from its disk."""

from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from kvraft.raft import Node
from kvraft.store import Store

PROGRESS_S: Final = 1.0
"""Interval of the progress lines, seconds."""


class StartupReplay:
    """Follows a node from its start until its log is applied.

    The log may end with uncommitted entries. They are applied when a leader has committed them, or replaced by others.
    """

    _log = Logger(namespace="kvraft.replica")

    def __init__(self, node: Node, store: Store, clock: IReactorTime) -> None:
        self._node = node
        self._clock = clock
        self._began = self._said = clock.seconds()
        self._first = store.applied_index
        self._goal = node.log.last_index

    def look(self, store: Store) -> bool:
        """Log the progress if that is due; return whether the log is applied."""
        goal = min(self._goal, self._node.log.last_index)
        now = self._clock.seconds()
        if store.applied_index >= goal:
            if goal > self._first:
                self._log.info(
                    "node {id} has applied its log up to entry {goal}, {seconds:.3f} s after it was read",
                    id=self._node.id,
                    goal=goal,
                    seconds=now - self._began,
                )
            return True
        if now - self._said >= PROGRESS_S and self._node.commit > store.applied_index:
            self._said = now
            self._log.info(
                "node {id} has applied {done} of {all} entries of its log",
                id=self._node.id,
                done=store.applied_index - self._first,
                all=goal - self._first,
            )
        return False
