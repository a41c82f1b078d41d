"""A leader stops leading over its own slow disk only where another member can do better (row 26)."""

from kvraft.raft import Membership, Node, Role
from kvraft.raft.messages import HeartbeatReply
from tests.raft.single import acknowledge, leader_role, make_leader, role_of, settle


def stall(node: Node) -> int:
    """Let the leader append an entry whose save never ends, and return its index."""
    node.propose([b"x"], node.now)
    node.ready()
    return node.log.last_index


def live(node: Node, seconds: float, *heard: int) -> None:
    """Let time pass, a heartbeat after the other, while these members answer."""
    end = node.now + seconds
    while node.deadline < end:
        node.wake(node.deadline)
        for member in heard:
            node.step(member, HeartbeatReply(node.term, leader_role(node).round), node.now)
    node.observe_time(end)


def test_a_leader_makes_way_when_another_disk_has_been_ahead_for_an_election_timeout() -> None:
    """Another voter holds the entry and the leader's own disk does not; not at once, since disks differ."""
    node = make_leader()
    acknowledge(node, 1, stall(node))
    live(node, 0.3, 1, 2)
    assert not node.make_way(node.now)

    live(node, 0.5, 1, 2)

    assert node.make_way(node.now)
    assert role_of(node) is Role.FOLLOWER
    assert node.deadline - node.now > node.options.election_timeout_max, "the others come first"


def test_a_leader_stays_while_no_disk_is_ahead_of_its_own() -> None:
    """All disks are slow at once, or nothing but a compaction is under way: no other member could do better."""
    node = make_leader()
    acknowledge(node, 1, node.log.last_index)
    stall(node)
    live(node, 5.0, 1, 2)
    assert not node.make_way(node.now)
    assert role_of(node) is Role.LEADER


def test_a_leader_stays_when_its_disk_goes_on() -> None:
    """Each entry that its own disk finishes begins the comparison anew."""
    node = make_leader()
    node.propose([b"x"], node.now)
    ready = node.ready()
    acknowledge(node, 1, node.log.last_index)
    live(node, 0.45, 1, 2)
    stall(node)
    acknowledge(node, 1, node.log.last_index)
    node.advance(ready)
    live(node, 0.45, 1, 2)
    assert not node.make_way(node.now)


def test_a_learner_that_is_ahead_is_no_reason() -> None:
    """It could not lead."""
    node = make_leader(membership=Membership(range(3), learners=[3]))
    acknowledge(node, 3, stall(node))
    live(node, 2.0, 1, 2, 3)
    assert not node.make_way(node.now)


def test_a_leader_of_two_stays() -> None:
    """No other node can be elected without its vote, which its disk would have to keep."""
    node = make_leader(members=2)
    acknowledge(node, 1, stall(node))
    live(node, 2.0, 1)
    assert not node.make_way(node.now)


def test_a_leader_stays_when_no_majority_without_it_is_heard_from() -> None:
    """Of three one is silent: the one that is ahead would not be elected by itself."""
    node = make_leader()
    acknowledge(node, 1, stall(node))
    live(node, 2.0, 1)
    assert not node.make_way(node.now)
    live(node, 0.1, 1, 2)
    assert node.make_way(node.now)


def test_only_a_leader_makes_way() -> None:
    """A follower has nothing to give up."""
    node = make_leader()
    node.resign(node.now)
    settle(node)
    assert not node.make_way(node.now)
