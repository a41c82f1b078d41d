"""Installs a received snapshot: it replaces the log and the store (§7)."""

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from kvraft.raft import Membership, Node
from kvraft.replica.lock_waits import LockWaits
from kvraft.replica.persistence import Saver
from kvraft.replica.proposals import Proposals
from kvraft.replica.redirects import Redirects
from kvraft.replica.state import State
from kvraft.replica.turn import Turn
from kvraft.replica.watches import Watches
from kvraft.storage import Snapshot, Storage
from kvraft.store import Store


class StateInstaller:
    """Installs snapshots between two saves.

    Args:
        entries_wait: returns whether committed entries wait to be applied.
    """

    def __init__(
        self,
        turn: Turn,
        node: Node,
        state: State,
        storage: Storage,
        saver: Saver,
        proposals: Proposals,
        redirects: Redirects,
        watches: Watches,
        lock_waits: LockWaits,
        clock: IReactorTime,
        entries_wait: Callable[[], bool],
    ) -> None:
        self._turn = turn
        self._node = node
        self._state = state
        self._storage = storage
        self._saver = saver
        self._proposals = proposals
        self._redirects = redirects
        self._watches = watches
        self._lock_waits = lock_waits
        self._clock = clock
        self._entries_wait = entries_wait

    async def install(self, snapshot: Snapshot, store: Store, membership: Membership) -> Store:
        """Replace the log and the store by a loaded snapshot; see `receive.Installer`."""
        node = self._node
        while not self._turn.is_stopped and (not self._saver.idle or node.has_ready() or self._entries_wait()):
            # Saves of earlier Readys must reach the journal before the snapshot replaces the log, and entries that were
            # handed over must be applied to the store that they belong to.
            await self._saver.when_idle()
            await deferLater(self._clock, 0)  # a turn is scheduled while the node has a Ready or entries wait
        header = snapshot.header
        keeps_tail = node.log.term_at(header.index) == header.term
        if self._turn.is_stopped or node.is_leader:  # a new leader has all these entries in its log
            return store
        if not node.install_snapshot(header.index, header.term, membership):
            return store
        old = self._state.replace(store)
        self._watches.replaced(store)
        self._lock_waits.replaced()
        self._redirects.refuse_covered(self._proposals, header.index)
        if keeps_tail:
            await self._storage.compact(header.index, header.term)
        else:
            await self._storage.reset_to(header.index, header.term)
        self._state.tell_cluster()
        self._turn.schedule()
        return old
