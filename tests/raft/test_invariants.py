"""The checker itself: each rule that it guards is broken once, by hand, and the checker names it (Figure 3)."""

import random
from collections.abc import Callable

import pytest

from kvraft.raft import Entry, EntryKind, HardState, InvariantViolated, Membership, Node
from kvraft.raft.invariants import ClusterHistory, NodeHistory, check
from kvraft.raft.messages import Heartbeat
from kvraft.raft.progress import Progress, State
from tests.raft.single import acknowledge, leader_role, make_entries, make_leader, make_node, make_sure_leader, settle


def put(name: str, value: object) -> Callable[[Node], None]:
    """Return a fault that sets an attribute of the node; "log.", "leader." and "member." reach what belongs to it."""

    def spoil(node: Node) -> None:
        owner, _, attribute = name.rpartition(".")
        target: object = node
        if owner == "log":
            target = node.log
        elif owner:
            target = leader_role(node) if owner == "leader" else leader_role(node).progress[1]
        setattr(target, attribute, value)

    return spoil


def forget_a_member(node: Node) -> None:
    """Drop the leader's Progress of a member."""
    del leader_role(node).progress[1]


def remember_a_stranger(node: Node) -> None:
    """Go on sending to a node that is no member."""
    leader_role(node).progress[9] = Progress(1)


def keep_the_window_of_a_probe(node: Node) -> None:
    """Probe a member's log with messages in flight that count as lost."""
    progress = leader_role(node).progress[1]
    progress.state = State.PROBE
    progress.inflight.append((progress.match, 0))


def go_by(membership: Membership) -> Callable[[Node], None]:
    """Return a fault that puts a configuration in the place of the first one."""

    def spoil(node: Node) -> None:
        node.memberships = [(0, membership)]

    return spoil


NODES: dict[str, Callable[[Node], None]] = {
    "marks": put("log.durable", 9),
    "committed": put("commit", 9),
    "no older than its log": put("term", 0),
    "what is durable is no newer": put("durable_hard_state", HardState(9)),
    "has voted for itself": put("vote", 1),
    "is_leader is False": put("is_leader", False),
    "own vote is durable": put("durable_hard_state", HardState(2, None)),
    "opens with an entry of its own": put("leader.term_start", 1),
    "has the progress of every other member": forget_a_member,
    "match": put("member.match", 9),
    "window": put("member.inflight_bytes", 9),
    "nothing is in flight to a member whose log is probed": keep_the_window_of_a_probe,
    "uncommitted": put("leader.uncommitted_bytes", 9),
    "leaves a joint configuration": go_by(Membership([0, 1], range(3))),
    "keeps no progress of members that have left": remember_a_stranger,
    "that was removed steps down": go_by(Membership([1, 2], learners=[0])),
}


@pytest.mark.parametrize("rule", NODES)
def test_a_broken_rule_of_one_node_is_named(rule: str) -> None:
    """What must hold at any time is checked on the node as it stands."""
    node = make_sure_leader(1)
    check(node)
    NODES[rule](node)
    with pytest.raises(InvariantViolated, match=rule):
        check(node)


def fall_back(node: Node) -> None:
    """Go back to the term before."""
    node.term = 2
    node.durable_hard_state = HardState(2, 0)


def uncommit(node: Node) -> None:
    """Take back a commitment."""
    node.commit = node.applying = 1


def invent_a_configuration(node: Node) -> None:
    """Go by a configuration that is not in the log."""
    node.memberships.append((2, Membership([0])))


def begin_uncommitted(node: Node) -> None:
    """Lose the configuration before the one that is not committed yet."""
    node.memberships = [(3, Membership(range(3)))]


def mix_up_configurations(node: Node) -> None:
    """Hold the same configuration twice."""
    node.memberships = [(2, Membership(range(3))), (2, Membership([0]))]


CHANGES: dict[str, Callable[[Node], None]] = {
    "term never goes back": fall_back,
    "commit index never goes back": uncommit,
    "applied twice": put("applying", 0),
    "vote for 0": put("vote", 1),
    "is the one in the log": invent_a_configuration,
    "first configuration is committed": begin_uncommitted,
    "in the log's order": mix_up_configurations,
}


@pytest.mark.parametrize("rule", CHANGES)
def test_a_broken_rule_of_time_is_named(rule: str) -> None:
    """What may never go back is compared with the last look (Figure 2; row 38)."""
    node = make_node(1, 1, term=3, vote=0, commit=2)
    history = NodeHistory(node)
    history.observe()
    CHANGES[rule](node)
    with pytest.raises(InvariantViolated, match=rule):
        history.observe()


def cut_off(node: Node) -> None:
    """Delete an entry of the leader's own log, and hide it from all other rules."""
    node.log.truncate_from(3)
    leader_role(node).uncommitted_bytes = 0
    for progress in leader_role(node).progress.values():
        progress.become_probe()


LEADERS: dict[str, Callable[[Node], None]] = {
    "match index never goes back": put("member.match", 0),
    "read round never comes again": put("leader.round", 0),
    "a leader only appends": cut_off,
}


@pytest.mark.parametrize("rule", LEADERS)
def test_a_broken_rule_of_a_leader_is_named(rule: str) -> None:
    """A leader only appends, never counts a round anew, and never takes back what a member has (Figure 3; row 38)."""
    node = make_leader(1, term=1)
    acknowledge(node, 1, 2)
    node.read_index("read", node.now)
    settle(node)
    node.propose([b"x"], node.now)
    settle(node)
    history = NodeHistory(node)
    history.observe()
    LEADERS[rule](node)
    with pytest.raises(InvariantViolated, match=rule):
        history.observe()


def test_a_second_leader_of_a_term_is_found() -> None:
    """Election safety: at most one leader can be elected in a term (Figure 3, §5.2)."""
    history = ClusterHistory()
    first, second = make_leader(), make_leader()
    second.id = 1
    history.observe([first])
    with pytest.raises(InvariantViolated, match="election safety: node 0 leads this term already"):
        history.observe([second])


def test_two_different_committed_entries_are_found() -> None:
    """State machine safety: no two nodes apply different entries at one index (Figure 3, §5.4.3)."""
    history = ClusterHistory()
    history.observe([make_node(1, 1, commit=2)])
    with pytest.raises(InvariantViolated, match="state machine safety: another entry 2"):
        history.observe([make_node(1, 2, node_id=1, commit=2)])


def test_a_restarted_node_is_compared_from_the_beginning() -> None:
    """A new life of a member is held against all that was ever committed."""
    history = ClusterHistory()
    history.observe([make_node(1, 1, commit=2)])
    with pytest.raises(InvariantViolated, match="state machine safety: another entry 1"):
        history.observe([make_node(2, 2, commit=1)])


def test_a_log_that_begins_behind_another_entry_is_found() -> None:
    """What is compacted was committed, so the term where a log begins is known (§7)."""
    history = ClusterHistory()
    history.observe([make_node(1, 1, commit=2)])
    other = make_node(1, 2, node_id=1, commit=2)
    other.compact(2)
    with pytest.raises(InvariantViolated, match="state machine safety: the log begins after another entry 2"):
        history.observe([other])


def test_compacted_logs_are_compared_where_they_overlap() -> None:
    """A log that begins later is held against the others from there on (Figure 3, log matching)."""
    history = ClusterHistory()
    compacted, other = make_node(1, 1, 3, commit=2), make_node(1, 2, 3)
    compacted.compact(2)
    history.check_log_matching([compacted, make_node(1, 1, 3)])
    with pytest.raises(InvariantViolated, match="log matching: entry 3"):
        history.check_log_matching([compacted, other])


def test_a_leader_that_lacks_a_committed_entry_is_found() -> None:
    """Leader completeness: what was committed is in the log of every later leader (Figure 3, §5.4)."""
    history = ClusterHistory()
    history.observe([make_node(1, 1, commit=2)])
    with pytest.raises(InvariantViolated, match="leader completeness: committed entry 2"):
        history.observe([make_leader(1, term=3)])


def test_a_leader_that_learns_late_of_its_election_may_lack_what_a_later_one_has_committed() -> None:
    """Leader completeness binds the terms after the one in which an entry, though an older one, was committed."""
    history = ClusterHistory()
    history.observe([make_node(1, 1, commit=1)])
    history.observe([make_node(1, 1, node_id=1, term=4, commit=2)])
    history.observe([make_leader(1, term=3)])
    with pytest.raises(InvariantViolated, match="leader completeness: committed entry 2"):
        history.observe([make_leader(1, term=5)])


def test_logs_that_differ_before_a_common_entry_are_found() -> None:
    """Log matching: logs that share an entry are the same up to it (Figure 3, §5.3)."""
    history = ClusterHistory()
    history.check_log_matching([make_node(1, 1, 3), make_node(1, 1, 3, 3), make_node(1, 2, 2)])
    with pytest.raises(InvariantViolated, match="log matching: entry 3"):
        history.check_log_matching([make_node(1, 1, 3), make_node(1, 2, 3)])
    stored = [*make_entries(1), Entry.create(1, 2, EntryKind.COMMANDS, b"other")]
    other = Node(1, make_node().membership, now=0.0, random=random.Random(0), hard_state=HardState(1), entries=stored)
    with pytest.raises(InvariantViolated, match="log matching: entry 2"):
        history.check_log_matching([make_node(1, 1), other])


def test_an_honest_history_passes() -> None:
    """The checker is silent about what Raft allows: new terms, new votes, longer and shorter logs of followers."""
    node = make_node(1, 1, term=1)
    history = NodeHistory(node)
    node.step(1, Heartbeat(3, 0, 0), 0.1)
    history.observe()
    settle(node)
    history.observe()
