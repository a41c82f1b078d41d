"""What a node answers about its leadership, in each role (Figure 4)."""

from kvraft.raft import Role
from kvraft.raft.invariants import check
from kvraft.raft.messages import Heartbeat, HeartbeatReply, PreVoteReply
from tests.raft.single import campaign, leader_role, make_leader, make_node, make_sure_leader, pre_campaign, role_of


def test_only_a_leader_says_that_it_leads() -> None:
    """`is_leader` follows the role through an election and out of office."""
    node = make_node(1)
    assert (role_of(node), node.is_leader) == (Role.FOLLOWER, False)
    pre_campaign(node)
    assert (role_of(node), node.is_leader) == (Role.PRE_CANDIDATE, False)
    node.step(1, PreVoteReply(node.term + 1, granted=True), node.now)
    assert (role_of(node), node.is_leader) == (Role.CANDIDATE, False)

    leader = make_leader(1)
    assert leader.is_leader
    check(leader)
    leader.step(1, Heartbeat(leader.term + 1, 0, 1), leader.now)
    assert (role_of(leader), leader.is_leader) == (Role.FOLLOWER, False)
    check(leader)


def test_a_leader_says_what_it_knows_of_each_other_member() -> None:
    """Of itself and of strangers it says nothing."""
    node = make_sure_leader(1)

    assert node.progress_of(1) is leader_role(node).progress[1]
    assert [node.progress_of(each) for each in (node.id, 9)] == [None, None]


def test_a_leader_says_whom_it_has_heard_from() -> None:
    """Members that have sent a message of its term, at the given moment or later."""
    node = make_leader(members=4)
    node.step(2, HeartbeatReply(node.term, 0), 1.0)
    assert node.heard_since(0.0) == {2: node.progress_of(2)}, "the others have granted their votes before its term"

    node.step(3, HeartbeatReply(node.term, 0), 1.1)
    assert node.heard_since(1.0) == {2: node.progress_of(2), 3: node.progress_of(3)}
    assert node.heard_since(1.1) == {3: node.progress_of(3)}
    assert node.heard_since(1.2) == {}


def test_who_does_not_lead_knows_nobody() -> None:
    """Neither a follower nor a candidate has anybody's progress."""
    node = make_node(1)
    for _ in range(2):
        assert node.progress_of(1) is None
        assert node.heard_since(0.0) == {}
        campaign(node)
