"""Detects members whose state machines differ: the leader compares checksums at each heartbeat, at equal indexes.

A follower reports in its heartbeat replies its applied index and its store's checksum there. The leader compares that
with its own checksum at the same index. A flipped bit in memory, or code that is not deterministic, makes the two
differ from the next entry that touches the damage, and for ever.

The majority decides which state is wrong. A leader that differs from a majority of the others stops itself; otherwise
each member that differs from the leader receives that in a heartbeat, and stops. While members that have not reported
could still show that the leader is wrong, it waits for them, but no longer than `DOUBT_S`. With two members that differ
and no third, the leader's state counts.
"""

from typing import Final

from twisted.logger import Logger

from kvraft.errors import Refused
from kvraft.events import Note, ignore
from kvraft.raft import Node
from kvraft.raft.quorum import majority
from kvraft.replica.submissions import Stopping
from kvraft.store import Store

COMPARED_FROM_LEVEL: Final = 2
"""The feature level from which on the checksum covers what a write replaces, and members report it."""
RECENT: Final = 4096
"""A node keeps so many of its latest checksums: a follower that is so many entries late can still be compared."""
DOUBT_S: Final = 0.5
"""How long a leader waits for members that have not reported before it judges another one wrong, seconds."""


class StateDiffers(Refused):
    """This node's state differs from the others', so it answers nothing but STATUS."""

    code = "STATE_DIFFERS"


class StateChecksums:
    """Compares this node's state with that of the others."""

    _log = Logger(namespace="kvraft.replica")

    def __init__(self, node: Node, note: Note = ignore) -> None:
        self._node = node
        self._note = note
        self.differs_at: int | None = None
        """The index at which this node's state was found to be wrong; from then on it serves nothing."""
        self._recent: list[tuple[int, int]] = [(0, 0)] * RECENT
        """(index, checksum) of the latest applied entries, each at its index modulo RECENT."""
        self._term = 0
        """The term to which the findings below belong."""
        self._agree: dict[int, int] = {}
        """By member: the last index at which its checksum was equal."""
        self._differ: dict[int, int] = {}
        """By member: the first index at which its checksum was different."""
        self._doubted_since = 0.0

    def applied(self, store: Store) -> None:
        """Record the checksum after an entry that was just applied."""
        if store.feature_level >= COMPARED_FROM_LEVEL:
            index = store.applied_index
            self._node.states.mine = self._recent[index % RECENT] = (index, store.checksum)

    def look(self) -> bool:
        """Compare the checksums reported since the last call; return whether this node must stop serving."""
        node = self._node
        wrong_at = node.states.differs_at or None
        if node.states.reports:
            reports, node.states.reports = node.states.reports, {}
            if node.is_leader:
                wrong_at = self._compare(reports)
        if wrong_at is None:
            return False
        self.differs_at = wrong_at
        self._note("differs", peer=node.id, index=wrong_at)
        self._log.error(
            "node {id} has come to another state than the others at entry {index}: it stops serving and leaves its "
            "files as they are; see 'When a node's state differs' in docs/operations.md",
            id=node.id,
            index=wrong_at,
        )
        return True

    def forget(self, peer: int) -> None:
        """Drop the findings about `peer`: a new connection to it may lead to a restarted process."""
        self._agree.pop(peer, None)
        self._differ.pop(peer, None)
        self._node.states.differing.pop(peer, None)

    def why_stopped(self) -> Refused:
        """Return the error that clients receive from a node that has stopped."""
        if self.differs_at is not None:
            return StateDiffers(f"this node's state differs from the others' at entry {self.differs_at}; ask another")
        return Stopping("this node is being stopped; ask another")

    def _compare(self, reports: dict[int, tuple[int, int]]) -> int | None:
        node = self._node
        if self._term != node.term:
            self._term = node.term
            self._agree.clear()
            self._differ.clear()
            node.states.differing.clear()
        for peer, (index, checksum) in reports.items():
            at, ours = self._recent[index % RECENT]
            if at != index:
                continue
            if ours == checksum:
                self._agree[peer] = index
                self._differ.pop(peer, None)
                node.states.differing.pop(peer, None)
            else:
                if not self._differ:
                    self._doubted_since = node.now
                self._agree.pop(peer, None)
                self._differ.setdefault(peer, index)
        return self._judge() if self._differ else None

    def _judge(self) -> int | None:
        node = self._node
        others = node.membership.members - {node.id}
        differ = self._differ.keys() & others
        since = min(self._differ.values())
        silent = others - differ - {peer for peer, index in self._agree.items() if index >= since}
        enough = majority(len(others)) if len(others) > 1 else len(others) + 1  # of two, the leader counts
        if len(differ) >= enough:
            return since
        if len(differ) + len(silent) >= enough and node.now - self._doubted_since < DOUBT_S:
            return None
        for peer in differ - node.states.differing.keys():
            node.state_differs(peer, self._differ[peer], node.now)
            self._note("differs", peer=peer, index=self._differ[peer])
            self._log.error(
                "node {peer} has come to another state than node {id} at entry {index}: it is ordered to stop serving",
                peer=peer,
                id=node.id,
                index=self._differ[peer],
            )
        return None
