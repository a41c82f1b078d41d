"""How a node that keeps nothing on disk may come back (`"durability": "memory"`).

Raft lets a node vote and count towards majorities because it remembers its term, its vote and its log (Figure 2). A
node that was restarted without them could vote twice in a term (BUGS row 2), or elect a leader that lacks an entry
which it had acknowledged itself (row 1). So a node without memory begins without a vote: it follows and stores the log,
but it neither campaigns nor votes, until one of two things is certain:

* **Nothing was ever promised.** Every other member has said, since this process began, that it too has just begun. That
  is the birth of a cluster, or its rebirth, empty, after all members were down together.
* **Everything promised is here again.** Every other member that answered has kept its memory, all of them have
  answered since this process began, and under a leader this node's log has grown beyond the last entry that any of
  them held when it answered. An entry that it once acknowledged was held by one of them. It then gives up its vote in
  the current term, which is as late as any in which it can have voted.

A majority that loses its memory while a minority keeps its own can do neither: the cluster stops, on purpose, and the
log says to restart all members. What was acknowledged is then lost: that is what this mode gives up.
"""

from collections.abc import Collection, Mapping

from twisted.logger import Logger

from kvraft.raft import Node
from kvraft.raft.roles import Follower


class Rejoin:
    """Decides when a node without memory may vote."""

    _log = Logger(namespace="kvraft.replica")

    def __init__(self, node: Node, others: Collection[int]) -> None:
        self._node = node
        self._others = frozenset(others)
        self._facts: dict[int, tuple[bool, int, int]] = {}
        """What each member said first: (has just begun, term, last index)."""

    def facts(self) -> dict[str, object]:
        """Say in each hello whether this node has just begun, and how far its log and term are."""
        node = self._node
        return {"fresh": not node.voting, "term": node.term, "last_index": node.log.last_index}

    def hello(self, peer: int, facts: Mapping[str, object]) -> None:
        """Take what `peer` says of itself."""
        match facts:
            case {"fresh": bool(fresh), "term": int(term), "last_index": int(last_index)}:
                pass
            case _:
                return
        if fresh:
            self._node.peer_forgot(peer, self._node.now)
        self._facts[peer] = (fresh, term, last_index)

    def look(self) -> None:
        """Give the node its vote when that is safe; called in every turn."""
        if self._node.voting or self._facts.keys() < self._others:
            return
        heard = [self._facts[peer] for peer in self._others]
        if all(fresh and last_index == 0 for fresh, _, last_index in heard):
            self._log.info("node {id}: all members begin anew and empty, so it may vote", id=self._node.id)
            self._node.regain_vote()
        elif not any(fresh for fresh, _, _ in heard) and self._has_caught_up(heard):
            self._log.info("node {id}: caught up with all it may have promised, so it may vote", id=self._node.id)
            self._node.regain_vote()

    def _has_caught_up(self, heard: list[tuple[bool, int, int]]) -> bool:
        role = self._node.role
        return (
            isinstance(role, Follower)
            and role.leader is not None
            and self._node.term >= max(term for _, term, _ in heard)
            and self._node.matched >= max(last_index for _, _, last_index in heard)
        )
