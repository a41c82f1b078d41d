"""Applies committed entries to the store, in order, and answers their submissions.

Most entries are cheap, and the core bounds how many bytes of them one Ready holds. A few are not: a short entry may
remove hundreds of expired keys, or copy a long value. So a turn applies no further entry when those before it have done
enough work, and the next turn continues. The work of an entry is counted, not timed (`Store.work`), so that a test can
tell what a turn does. How much one turn applies is no part of the state.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final

from kvraft.raft import Entry, Node
from kvraft.replica.first_proposals import BEGINS, FirstProposals
from kvraft.replica.instruments import Instruments
from kvraft.replica.lock_waits import LockWaits
from kvraft.replica.persistence import Saver
from kvraft.replica.proposals import Proposals
from kvraft.replica.snapshots.snapshotter import Snapshotter
from kvraft.replica.state import State
from kvraft.replica.state_checksums import StateChecksums
from kvraft.replica.watches import Watches

WORK_A_TURN_MAX: Final = 200
"""A turn in which entries have done so much work (`Store.work`) applies no further one. As many changes of keys take
two milliseconds (measured)."""


class Applier:
    """Applies entries, and answers the batch that this node has proposed as each."""

    def __init__(
        self,
        node: Node,
        state: State,
        saver: Saver,
        proposals: Proposals,
        first_proposals: FirstProposals,
        checksums: StateChecksums,
        snapshotter: Snapshotter,
        watches: Watches,
        lock_waits: LockWaits,
        instruments: Instruments,
    ) -> None:
        self._node = node
        self._state = state
        self._saver = saver
        self._proposals = proposals
        self._first_proposals = first_proposals
        self._checksums = checksums
        self._snapshotter = snapshotter
        self._watches = watches
        self._lock_waits = lock_waits
        self._instruments = instruments
        self.waiting: deque[Entry] = deque()
        """Committed entries that are not applied yet: a save is under way, or the turn has done enough work."""
        self.is_behind = False
        """Whether entries wait because the turn has done enough work; another turn is needed then."""
        self._work = 0
        """What the entries of this turn have done."""

    def turn_ended(self) -> None:
        """Let the next turn work as much again. What runs between two turns counts towards the later one."""
        self._work = 0

    def apply(self, entries: Sequence[Entry]) -> None:
        """Apply committed entries; a follower does so after the save that is under way.

        A leader waits for the acknowledgement, and so for the follower's disk, but not for the follower's store. To
        apply during a save would slow the save down: the disk's thread needs the interpreter lock.
        """
        waiting = self.waiting
        while waiting and self._work < WORK_A_TURN_MAX:
            self._apply(waiting.popleft())
        if waiting or (not self._saver.idle and not self._node.is_leader):
            waiting.extend(entries)
        else:
            for done, entry in enumerate(entries):
                if self._work >= WORK_A_TURN_MAX:
                    waiting.extend(entries[done:])
                    break
                self._apply(entry)
        self.is_behind = bool(waiting) and self._work >= WORK_A_TURN_MAX
        if self._watches.is_needed:
            self._watches.tell()

    def _apply(self, entry: Entry) -> None:
        state = self._state
        batch = self._proposals.take(entry.index)
        assert batch is None or batch.term == entry.term, f"entry {entry.index} took the place of a batch unnoticed"
        results = state.store.apply(entry) if batch is None else batch.apply(state.store, entry)
        self._work += state.store.work
        self._checksums.applied(state.store)
        self._snapshotter.creator.applied(entry)
        if self._watches.is_needed:
            self._watches.applied(state.store, None if batch is None else batch.content[1])
        if batch is not None:
            batch.answer(results)
            self._instruments.answered(batch)
        if state.store.locks.told:
            self._lock_waits.settle(state.store.locks.told)
        if entry.kind in BEGINS and self._node.is_leader and entry.term == self._node.term:
            self._first_proposals.begin(entry.kind, state.store)
        state.tell_cluster()
