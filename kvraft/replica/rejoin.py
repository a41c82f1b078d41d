"""How a node that keeps nothing on disk takes part again after a restart (`"durability": "memory"`).

Raft requires that a node keeps its term, its vote and its log (Figure 2). A node that was restarted without them could
vote twice in a term (row 2), help to elect a leader that lacks an entry which the node has acknowledged (row 1), or,
back in term 0, confirm the writes and reads of an old leader although it has followed a later one. So a node that has
started without its data ignores every message, until one of two things is certain.

* **It has promised nothing that still counts.** Every other member's hello has said, since this process began, that it
  too has started without data and is empty, and no hello has said that a member holds any data. That is the birth of a
  cluster, or its restart without data after all members were down together. The node votes at once.
* **The bounds of its promises are known.** Every other member's hello has named, since this process began and while the
  member had all its data, its term and the last index of its log. Every promise of this node was made to one of them,
  in a term no higher than the one that this member names. So from now on the node *follows*: it takes messages of the
  highest of those terms and later ones, and acknowledges what it stores. It *votes* again when its log matches that of
  a leader L up to an entry of L's own term and, if L's hello was in this same term, up to the last index in that hello.
  Reason: an entry that the node has acknowledged in an earlier term, and that was or may yet be committed, is in L's
  log before the first one of L's term (leader completeness, Figure 3). An entry that it has acknowledged to L itself
  was in L's log before L's hello. In its present term, in which it may have voted before, it does not vote.

Both hold however late a hello is used: it bounds promises that were made before this process began. A later hello in
which a member says that it has lost its data does not invalidate its earlier one. But a member that has sent only such
hellos gives no bound. So when two members lose their data together, neither takes part while the other does not, and a
cluster of three stops, on purpose. The log then says to stop all members and to start them again. Acknowledged writes
are lost by that: this mode accepts that risk.

This assumes that all members run in this mode, and that nothing sent by an earlier process of a member is delivered
after a hello of its next one.
"""

from collections.abc import Collection, Sequence

from msgspec.structs import replace
from twisted.logger import Logger

from kvraft.peers import Facts, Hello
from kvraft.raft import Message, Node


class Rejoin:
    """Decides when a node that has started without its data may take messages, and when it may vote."""

    _log = Logger(namespace="kvraft.replica")

    def __init__(self, node: Node, others: Collection[int]) -> None:
        self._node = node
        self._others = frozenset(others)
        self._newborn: set[int] = set()
        """Members whose hellos said that they have started without data and are empty."""
        self._remembered: dict[int, tuple[int, int]] = {}
        """By member: (term, last index) in its first hello with all its data."""
        self._has_complained = False

    def add_to(self, facts: Facts) -> Facts:
        """Return the facts of a hello with this node's term and last index, and whether it has started without data."""
        node = self._node
        return replace(facts, fresh=not node.voting, term=node.term, last_index=node.log.last_index)

    def hello(self, hello: Hello) -> None:
        """Take a peer's hello."""
        if hello.fresh is None or hello.term is None or hello.last_index is None:
            return
        if hello.fresh:
            self._node.peer_forgot(hello.sender, self._node.now)
            if hello.term == 0 and hello.last_index == 0:
                self._newborn.add(hello.sender)
        else:
            self._remembered.setdefault(hello.sender, (hello.term, hello.last_index))

    def admit(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Return those of `messages` that the node may take; the others are dropped, as any message may be."""
        if self._node.voting:
            return messages
        if not self._knows_its_promises:
            return ()
        return [message for message in messages if message.term >= self._last_term]

    def look(self) -> None:
        """Give the node its vote when that is safe; called in every turn."""
        if self._node.voting:
            return
        if self._newborn >= self._others and not self._is_anything_remembered:
            self._log.info("node {id}: all members begin anew and empty, so it may vote", id=self._node.id)
            self._node.regain_vote()
        elif self._knows_its_promises and self._has_caught_up:
            self._log.info("node {id}: caught up with all it may have promised, so it may vote", id=self._node.id)
            self._node.regain_vote()
        elif not self._has_complained and self._cannot_tell:
            self._has_complained = True
            self._log.warn(
                "node {id} has restarted without its data, and so have nodes {others}: the votes and acknowledgements "
                "that it gave are lost, and it takes no part until they are back with all their data; if that never "
                "happens, stop all members and start them again, which gives up all data",
                id=self._node.id,
                others=", ".join(map(str, sorted(self._newborn - self._remembered.keys()))),
            )

    @property
    def _knows_its_promises(self) -> bool:
        return self._remembered.keys() >= self._others

    @property
    def _is_anything_remembered(self) -> bool:
        return any(term > 0 or last_index > 0 for term, last_index in self._remembered.values())

    @property
    def _cannot_tell(self) -> bool:
        """Whether every member has sent a hello, some with data and some without."""
        has_heard_all = self._newborn | self._remembered.keys() >= self._others
        return has_heard_all and self._is_anything_remembered and not self._knows_its_promises

    @property
    def _last_term(self) -> int:
        """The highest term in which this node can have promised anything."""
        return max(term for term, _ in self._remembered.values())

    @property
    def _has_caught_up(self) -> bool:
        """Whether the log holds everything that this node can have acknowledged; see the module's docstring."""
        node = self._node
        leader = node.leader
        if leader is None or leader == node.id or node.term < self._last_term:
            return False
        if leader not in self._remembered:  # a member that was added later, and had no data when it sent its hello
            return False
        term, last_index = self._remembered[leader]
        has_its_own_entry = node.log.term_at(node.match_index) == node.term
        return has_its_own_entry and (term < node.term or node.match_index >= last_index)
