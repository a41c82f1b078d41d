"""How a node that keeps nothing on disk may come back (`"durability": "memory"`).

Raft lets a node take part because it remembers its term, its vote and its log (Figure 2). A node that was restarted
without them could vote twice in a term (row 2), help to elect a leader that lacks an entry which it had
acknowledged itself (row 1), or, back in term 0, confirm the writes and reads of an old leader whose successor it had
followed before. So a node without memory begins *deaf*: it takes no message, until one of two things is certain.

* **There is nothing to remember.** Every other member has said, since this process began, that it too is without
  memory and empty, and none has said that it remembers anything. That is the birth of a cluster, or its rebirth, empty,
  after all members were down together. The node votes at once.
* **It knows how much it may have promised.** Every other member has said, since this process began and at a time when
  it had all its memory, what its term and the last index of its log were. Whatever this node promised before, it
  promised to one of them, and in a term that is no higher than what that one says. So from now on the node *follows*:
  it takes messages of the highest of those terms and later ones, and acknowledges what it stores. It *votes* again when
  its log matches that of a leader L as far as an entry of L's own term, and, if L spoke in this very term, as far as
  L's log reached when it spoke. For an entry that the node once acknowledged in an earlier term, and that was or may
  yet be committed, stands in L's log before the first one of L's term (leader completeness, Figure 3), and one that it
  acknowledged to L itself was in L's log before L spoke. In its present term, in which it may have voted, it gives its
  vote up.

Both hold however late a member's word is looked at: what was said bounds promises that were made before this process
began. A member that says it has forgotten does not take back what it said before; and one that has said nothing
else tells nothing about what it may have heard from us. So when two members lose their memory together, neither
returns while the other has not, and a cluster of three stops, on purpose; the log says to stop all members and to start
them again. What was acknowledged is then lost: that is what this mode gives up.

What this rests on: all members run in this mode, and nothing that an earlier process of a member sent is delivered
after a hello of its next one.
"""

from collections.abc import Collection, Sequence

from msgspec.structs import replace
from twisted.logger import Logger

from kvraft.peers import Facts, Hello
from kvraft.raft import Message, Node


class Rejoin:
    """Decides when a node without memory may listen, and when it may vote."""

    _log = Logger(namespace="kvraft.replica")

    def __init__(self, node: Node, others: Collection[int]) -> None:
        self._node = node
        self._others = frozenset(others)
        self._newborn: set[int] = set()
        """Who has said that it is without memory and empty."""
        self._remembered: dict[int, tuple[int, int]] = {}
        """(term, last index) of each member when it first spoke with all its memory."""
        self._has_complained = False

    def add_to(self, facts: Facts) -> Facts:
        """Say in a hello also whether this node is without memory, and how far its log and term are."""
        node = self._node
        return replace(facts, fresh=not node.voting, term=node.term, last_index=node.log.last_index)

    def hello(self, hello: Hello) -> None:
        """Take what a peer says of itself."""
        if hello.fresh is None or hello.term is None or hello.last_index is None:
            return
        if hello.fresh:
            self._node.peer_forgot(hello.sender, self._node.now)
            if hello.term == 0 and hello.last_index == 0:
                self._newborn.add(hello.sender)
        else:
            self._remembered.setdefault(hello.sender, (hello.term, hello.last_index))

    def admit(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Return those of `messages` that the node may listen to; the others are lost, as any message may be."""
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
                "node {id} has lost its memory, and so have nodes {others}: it cannot tell what it has promised and "
                "takes no part until they are back with all their data; if that never happens, stop all members and "
                "start them again, which gives up all data",
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
        """Whether all have spoken, some with memory and some without."""
        has_heard_all = self._newborn | self._remembered.keys() >= self._others
        return has_heard_all and self._is_anything_remembered and not self._knows_its_promises

    @property
    def _last_term(self) -> int:
        """The highest term in which this node can have promised anything."""
        return max(term for term, _ in self._remembered.values())

    @property
    def _has_caught_up(self) -> bool:
        """Whether the log holds all that this node can have acknowledged; see above."""
        node = self._node
        leader = node.leader
        if leader is None or leader == node.id or node.term < self._last_term:
            return False
        term, last_index = self._remembered[leader]
        has_its_own_entry = node.log.term_at(node.match_index) == node.term
        return has_its_own_entry and (term < node.term or node.match_index >= last_index)
