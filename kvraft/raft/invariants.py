"""The invariants of a node and of a cluster, which the tests and the simulator check after every step.

`check` checks one node at one point in time, `NodeHistory` the changes of a node from one step to the next, and
`ClusterHistory` the properties of Figure 3 over all nodes. Each raises `InvariantViolated`, which names the rule.
"""

from collections.abc import Iterable

import attrs

from kvraft.raft.errors import InvariantViolated
from kvraft.raft.node import Node
from kvraft.raft.progress import State
from kvraft.raft.roles import Candidate, Leader
from kvraft.raft.types import Entry


def _demand(node: Node, rule: str, *, holds: bool) -> None:
    if not holds:
        raise _broken(node, rule)


def _broken(node: Node, rule: str) -> InvariantViolated:
    """Return the error to raise. Checks that run at every step call it only after they fail: the text is costly."""
    return InvariantViolated(f"node {node.id}, term {node.term}: {rule}")


def check(node: Node) -> None:
    """Check what must hold of one node at any time."""
    log, role, last_index = node.log, node.role, node.log.last_index
    if not log.snapshot_index <= log.durable <= log.handed_over <= last_index:
        marks = f"durable {log.durable} <= handed over {log.handed_over} <= {last_index}"
        raise _broken(node, f"the log's marks are in order: {marks}")
    if not node.applying <= node.commit <= last_index:
        raise _broken(
            node, f"what is applied is committed and in the log: {node.applying} <= {node.commit} <= {last_index}"
        )
    if node.term < log.last_term:
        raise _broken(node, "the node's term is no older than its log")
    if node.durable_hard_state.term > node.term:
        raise _broken(node, "what is durable is no newer than what is")
    if node.is_leader is not isinstance(role, Leader):
        raise _broken(node, f"is_leader is {node.is_leader}, and the role is {type(role).__name__}")
    if isinstance(role, Leader):
        _check_leader(node, role)
        _check_peers(node, role)
    elif isinstance(role, Candidate) and node.vote != node.id:
        raise _broken(node, "a candidate votes for itself (§5.2)")


def check_memberships(node: Node) -> None:
    """Check that the configurations are those in the log; `NodeHistory` does it when they change."""
    begins = node.memberships[0][0]
    _demand(node, "the first configuration is committed", holds=begins <= node.commit)
    for index, membership in node.memberships[1:]:
        _demand(node, f"the configurations are in the log's order: {index} follows {begins}", holds=index > begins)
        is_in_log = node.log.snapshot_index < index <= node.log.last_index
        _demand(
            node,
            f"the configuration of entry {index} is the one in the log (§6)",
            holds=is_in_log and node.log[index].payload == membership.encode(),
        )
        begins = index


def _check_leader(node: Node, leader: Leader) -> None:
    log, hard_state, membership = node.log, node.durable_hard_state, node.membership
    if node.vote != node.id:
        raise _broken(node, "a leader has voted for itself")
    if hard_state.term != node.term or hard_state.vote != node.id:
        raise _broken(node, "a leader's own vote is durable (§5.2)")
    if leader.term_start > log.snapshot_index and log.term_at(leader.term_start) != node.term:
        raise _broken(node, "a leader's term opens with an entry of its own")
    others = membership.members - {node.id}
    if not leader.progress.keys() >= others:
        raise _broken(node, "a leader has the progress of every other member")
    if node.commit >= max(leader.term_start, node.membership_index):
        if membership.outgoing:
            raise _broken(node, "a leader leaves a joint configuration that is committed (§6)")
        if leader.progress.keys() != others:
            raise _broken(node, "a leader keeps no progress of members that have left")
        if not membership.decides(node.id):
            raise _broken(node, "a leader that was removed steps down (thesis §4.2.2)")
    first = max(node.commit + 1, leader.term_start)
    unsettled = log.slice(first, log.last_index) if first <= log.last_index else ()
    if leader.uncommitted_bytes != sum([len(entry.record) for entry in unsettled]):
        raise _broken(node, "the uncommitted bytes add up")


def _check_peers(node: Node, leader: Leader) -> None:
    last_index = node.log.last_index
    for peer, progress in leader.progress.items():
        if not progress.match < progress.next <= last_index + 1:
            raise _broken(node, f"node {peer}: match {progress.match} < next {progress.next} <= {last_index + 1}")
        if progress.inflight_bytes != sum([size for _, size in progress.inflight]):
            raise _broken(node, f"node {peer}: the window's bytes add up")
        if progress.inflight and progress.state is State.PROBE:
            raise _broken(node, f"node {peer}: nothing is in flight to a member whose log is probed")


class NodeHistory:
    """Checks the changes of one running node. A restarted node gets a new history, since only durable state is kept."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._match: dict[int, int] = {}
        self._memberships = node.memberships.copy()
        self._remember()
        check_memberships(node)

    def observe(self) -> None:
        """Check the node, and what has changed since the last look."""
        node = self._node
        check(node)
        if node.memberships != self._memberships:
            check_memberships(node)
            self._memberships = node.memberships.copy()
        if node.term < self._term:
            raise _broken(node, f"the term never goes back from {self._term} (Figure 2)")
        if node.commit < self._commit:
            raise _broken(node, f"the commit index never goes back from {self._commit} (Figure 2, row 38)")
        if node.applying < self._applying:
            raise _broken(node, "nothing is applied twice (Figure 2)")
        if node.term == self._term:
            if self._vote not in (None, node.vote):
                raise _broken(node, f"the vote for {self._vote} in this term stands (§5.2)")
            if self._was_leader and isinstance(node.role, Leader):
                self._check_leader(node, node.role)
        self._remember()

    def peer_forgot(self, peer: int) -> None:
        """Allow the match index of a member to go back: it has restarted without the data that it acknowledged."""
        self._match.pop(peer, None)

    def _check_leader(self, node: Node, leader: Leader) -> None:
        if node.log.last_index < self._last_index:
            raise _broken(node, "a leader only appends (Figure 3)")
        if leader.round < self._round:
            raise _broken(node, "a read round never comes again (row 6)")
        for peer, progress in leader.progress.items():
            match = self._match.get(peer, 0)
            if progress.match < match:
                raise _broken(node, f"node {peer}: the match index never goes back from {match} (row 38)")

    def _remember(self) -> None:
        node, role = self._node, self._node.role
        self._term, self._vote = node.term, node.vote
        self._commit, self._applying, self._last_index = node.commit, node.applying, node.log.last_index
        self._was_leader = isinstance(role, Leader)
        if isinstance(role, Leader):
            self._round = role.round
            self._match = {peer: progress.match for peer, progress in role.progress.items()}


@attrs.define
class ClusterHistory:
    """Checks Figure 3 over the whole history of a cluster. Call `observe` after each step."""

    leaders: dict[int, int] = attrs.field(factory=dict)
    """By term: the id of its leader."""
    committed: dict[int, Entry] = attrs.field(factory=dict)
    """By index: every entry that any node's commit index has covered."""
    _committed_in: dict[int, int] = attrs.field(factory=dict)
    """By index: the term of the first node that was observed with the entry committed, its leader's or a later one."""
    _compared: dict[int, tuple[Node, int]] = attrs.field(factory=dict)
    """By id: the node observed last, and the index up to which its committed entries were compared."""

    def observe(self, nodes: Iterable[Node]) -> None:
        """Check the five properties of Figure 3; leader append-only is `NodeHistory`'s."""
        for node in nodes:
            self.look_at(node)

    def look_at(self, node: Node) -> None:
        """Do that for one node."""
        self._check_state_machine_safety(node)
        if isinstance(node.role, Leader):
            if node.term not in self.leaders:
                self._check_completeness(node)
            first = self.leaders.setdefault(node.term, node.id)
            if first != node.id:
                raise _broken(node, f"election safety: node {first} leads this term already")

    def check_log_matching(self, nodes: Iterable[Node]) -> None:
        """Check the log matching property; it reads whole logs, so it is for the end of a run, or for short ones."""
        known: dict[tuple[int, int], tuple[Entry, int]] = {}
        for node in nodes:
            log, term_before = node.log, node.log.snapshot_term
            for entry in log.slice(log.snapshot_index + 1, log.last_index):
                twin, twin_before = known.setdefault((entry.index, entry.term), (entry, term_before))
                _demand(
                    node,
                    f"log matching: entry {entry.index} of term {entry.term} and the one before are alike everywhere",
                    holds=twin == entry and twin_before == term_before,
                )
                term_before = entry.term

    def _check_state_machine_safety(self, node: Node) -> None:
        known, compared = self._compared.get(node.id, (node, 0))
        if known is not node:  # restarted: all its committed entries are compared again
            compared = 0
        log, commit = node.log, node.commit
        last_covered = self.committed.get(log.snapshot_index)
        if last_covered is not None and log.snapshot_term != last_covered.term:
            raise _broken(
                node,
                f"state machine safety: the log begins after another entry {last_covered.index} than was committed",
            )
        if compared == commit and known is node:
            return
        for index in range(max(compared, log.snapshot_index) + 1, commit + 1):
            entry = log[index]
            first = self.committed.get(index)
            if first is None:
                self.committed[index] = entry
                self._committed_in[index] = node.term
            elif first != entry:
                raise _broken(node, f"state machine safety: another entry {index} was committed")
        self._compared[node.id] = (node, commit)

    def _check_completeness(self, node: Node) -> None:
        """Check that a new leader's log has all entries committed in earlier terms; from then on it only appends.

        Entries that a later leader has committed already do not count: a candidate may receive its votes late.
        """
        for index, entry in self.committed.items():
            if self._committed_in[index] < node.term and index > node.log.snapshot_index:
                _demand(
                    node,
                    f"leader completeness: committed entry {index} of term {entry.term} is in the leader's log",
                    holds=node.log.term_at(index) == entry.term,
                )
