"""What keeps a cluster calm: PreVote (thesis §9.6), stickiness (§4.2.3), CheckQuorum (§6.2); row 24."""

import pytest

from kvraft.raft import HardState, RaftOptions, Ready, Role, SoftState
from kvraft.raft.messages import (
    AppendEntries,
    Heartbeat,
    HeartbeatReply,
    PreVote,
    PreVoteReply,
    RequestVote,
    RequestVoteReply,
)
from tests.raft.network import Network
from tests.raft.single import (
    acknowledge,
    campaign,
    leader_role,
    make_leader,
    make_node,
    pre_campaign,
    role_of,
    settle,
    take,
)

OPTIONS = RaftOptions()

# PreVote.


def test_a_timeout_asks_for_pre_votes_and_changes_nothing_that_lasts() -> None:
    """Before it raises its term a node asks whether it could win in the next one (thesis §9.6)."""
    node = make_node(1, 3, term=3, vote=2)
    pre_campaign(node)
    request = PreVote(4, last_index=2, last_term=3)
    assert take(node) == Ready(messages=((1, request), (2, request)), soft_state=SoftState(Role.PRE_CANDIDATE, 3, None))
    assert node.hard_state == HardState(3, 2, 0)


def test_the_term_is_raised_only_when_a_majority_would_vote() -> None:
    """Pre-votes are counted like votes; its own counts at once, since it promises nothing (thesis §9.6)."""
    node = make_node(members=5)
    pre_campaign(node)
    node.step(1, PreVoteReply(1, granted=True), 1.0)
    node.step(1, PreVoteReply(1, granted=True), 1.0)
    node.step(2, PreVoteReply(0, granted=False), 1.0)
    assert (role_of(node), node.term) == (Role.PRE_CANDIDATE, 0)
    node.step(3, PreVoteReply(1, granted=True), 1.0)
    assert (role_of(node), node.term) == (Role.CANDIDATE, 1)


def test_a_grant_for_another_term_is_not_counted() -> None:
    """A pre-vote that was given in an earlier attempt, for another term, is stale."""
    node = make_node(term=3)
    pre_campaign(node)
    node.step(1, PreVoteReply(3, granted=True), 1.0)
    assert role_of(node) is Role.PRE_CANDIDATE


def test_a_refusal_tells_of_a_later_term() -> None:
    """A candidate with an older term gets the term with the refusal and follows in it."""
    node = make_node(term=3)
    pre_campaign(node)
    node.step(1, PreVoteReply(8, granted=False), 1.0)
    assert node.soft_state == SoftState(Role.FOLLOWER, 8, None)


@pytest.mark.parametrize(
    ("term", "last_index", "last_term", "granted"),
    [(4, 2, 3, True), (9, 2, 3, True), (3, 9, 3, False), (2, 9, 3, False), (4, 1, 3, False), (4, 9, 2, False)],
)
def test_a_pre_vote_is_granted_as_a_vote_would_be_and_binds_to_nothing(
    term: int, last_index: int, last_term: int, granted: bool
) -> None:
    """A grant needs a later term and a log that is as up to date; no state changes by it (thesis §9.6)."""
    node = make_node(1, 3, term=3, vote=2)
    deadline = node.deadline
    node.step(1, PreVote(term, last_index, last_term), 0.1)
    answer = PreVoteReply(term, granted=True) if granted else PreVoteReply(3, granted=False)
    assert take(node) == Ready(messages=((1, answer),))
    assert (node.hard_state, node.deadline) == (HardState(3, 2, 0), deadline)


def test_a_follower_of_a_living_leader_does_not_answer_a_pre_vote() -> None:
    """A node with a message of a leader within the minimum timeout takes part in no election (thesis §4.2.3, §9.6)."""
    node = make_node(1, term=1)
    node.step(2, Heartbeat(1, 0, 0), 0.1)
    settle(node)
    node.step(1, PreVote(2, 9, 1), 0.1 + OPTIONS.election_timeout_min - 0.001)
    assert not node.has_ready()
    node.step(1, PreVote(2, 9, 1), 0.1 + OPTIONS.election_timeout_min + 0.001)
    assert take(node).messages == ((1, PreVoteReply(2, granted=True)),)


def test_row_24_a_candidate_whose_time_is_up_asks_again_before_it_raises_its_term() -> None:
    """The term of a candidate that cannot win does not grow: each timeout goes back to the pre-vote (row 24)."""
    node = make_node()
    campaign(node)
    settle(node)
    for _timeout in range(5):
        node.wake(node.deadline)
        assert (role_of(node), node.term) == (Role.PRE_CANDIDATE, 1)
        assert settle(node) == ((1, PreVote(2, 0, 0)), (2, PreVote(2, 0, 0)))


def test_row_24_a_member_that_was_cut_off_does_not_disturb_the_others() -> None:
    """After any time alone a member comes back with its old term, and the leader stays (row 24; thesis §9.6)."""
    network = Network(3)
    leader = network.elect()
    term = network.node(leader).term
    lonely = (leader + 1) % 3
    network.isolate(lonely)
    network.run(10.0)
    assert network.node(lonely).term == term
    network.heal()
    network.run(2.0)
    assert (network.leader, network.node(leader).term) == (leader, term)
    assert network.node(lonely).leader == leader


# Stickiness.


def test_row_24_a_request_of_a_later_term_does_not_move_a_follower_of_a_living_leader() -> None:
    """Not even the term is taken over, or a removed server could depose a healthy leader (thesis §4.2.3; row 24)."""
    node = make_node(1, term=1)
    node.step(2, Heartbeat(1, 0, 0), 0.1)
    settle(node)
    node.step(1, RequestVote(50, 9, 49), 0.1 + OPTIONS.election_timeout_min - 0.001)
    assert not node.has_ready()
    assert node.hard_state == HardState(1)
    node.step(1, RequestVote(50, 9, 49), 0.1 + OPTIONS.election_timeout_min + 0.001)
    assert take(node).replies == ((1, RequestVoteReply(50, granted=True)),)


def test_row_24_a_leader_takes_no_part_in_elections_against_itself() -> None:
    """A leader ignores requests of later terms; only a quorum that left it makes it step down (thesis §4.2.3)."""
    node = make_leader()
    node.step(1, RequestVote(50, 9, 49), node.now)
    node.step(1, PreVote(50, 9, 49), node.now)
    assert not node.has_ready()
    assert role_of(node) is Role.LEADER


def test_a_member_of_a_later_term_is_not_locked_out() -> None:
    """A leader that gets a later term from a member steps down, so that the member can be led again."""
    network = Network(3)
    leader = network.elect()
    member = (leader + 1) % 3
    network.isolate(member)
    network.run(0.6)
    node = network.node(member)
    for other in {0, 1, 2} - {member}:  # it would have won, had the votes not been lost
        node.step(other, PreVoteReply(node.term + 1, granted=True), network.now)
    network.run(2.0)
    assert network.node(member).term == network.node(leader).term + 1
    network.heal()
    network.run_until(network.agrees, at_most=3.0)


# CheckQuorum.


def test_a_leader_without_a_quorum_steps_down_after_an_election_timeout() -> None:
    """A leader steps down when an election timeout passes without a round to a majority (thesis §6.2)."""
    node = make_leader()
    begin = node.now
    while role_of(node) is Role.LEADER:
        node.wake(node.deadline)
        assert node.now < begin + 1.0
    assert OPTIONS.election_timeout_max < node.now - begin <= OPTIONS.election_timeout_max + 0.11
    assert node.soft_state == SoftState(Role.FOLLOWER, 1, None)
    assert node.deadline >= node.now + OPTIONS.election_timeout_min


@pytest.mark.parametrize(("answering", "stays"), [((), False), ((1,), False), ((1, 3), True)])
def test_a_leader_stays_while_a_quorum_answers(answering: tuple[int, ...], stays: bool) -> None:
    """In a cluster of five the leader needs two others, by heartbeats or by acknowledgements."""
    node = make_leader(members=5)
    for _heartbeat in range(20):
        node.wake(node.deadline)
        for member in answering:
            if role_of(node) is Role.LEADER and member % 2:
                acknowledge(node, member, 1)
            else:
                node.step(member, HeartbeatReply(1, 0), node.now)
    assert (role_of(node) is Role.LEADER) is stays


def test_votes_do_not_count_as_contact_with_the_leader_that_was_elected() -> None:
    """A new leader has an election timeout for the answers of a majority, counted from its election."""
    node = make_leader()
    assert leader_role(node).progress[1].last_contact == node.now


def test_a_leader_heartbeats_at_its_interval() -> None:
    """Repeated during idle periods to prevent election timeouts (Figure 2, Leaders 1)."""
    node = make_leader()
    assert node.deadline == pytest.approx(node.now + OPTIONS.heartbeat_interval)
    node.wake(node.deadline - 0.001)
    assert not node.has_ready()
    node.wake(node.deadline)
    assert take(node) == Ready(messages=((1, Heartbeat(1, 0, 0)), (2, Heartbeat(1, 0, 0))))
    assert node.deadline == pytest.approx(node.now + OPTIONS.heartbeat_interval)


def test_a_cluster_of_one_never_loses_its_quorum() -> None:
    """A leader is its own contact."""
    node = make_node(members=1)
    pre_campaign(node)
    settle(node)
    for _heartbeat in range(20):
        node.wake(node.deadline)
    assert role_of(node) is Role.LEADER


def test_a_leader_that_resigns_leaves_the_others_time() -> None:
    """It follows, and stands for election again only when two timeouts have passed."""
    node = make_leader()
    node.resign(node.now)
    assert node.soft_state == SoftState(Role.FOLLOWER, 1, None)
    assert node.deadline == node.now + 2 * OPTIONS.election_timeout_max
    follower = make_node()
    deadline = follower.deadline
    follower.resign(0.0)
    assert (role_of(follower), follower.deadline) == (Role.FOLLOWER, deadline)


def test_row_26_a_leader_with_a_hung_disk_can_resign_and_the_others_go_on() -> None:
    """The others' disks commit without the leader's; when it gives up another leads in time (row 26)."""
    network = Network(3)
    leader = network.elect()
    network.set_disk_delay(leader, 1e6)
    _, index = network.propose(leader, b"x")
    network.run_until(lambda: index in network.acknowledged, at_most=0.1)
    assert network.node(leader).log.durable < index
    network.node(leader).resign(network.now)
    network.pump()
    network.run_until(lambda: network.leader not in (None, leader), at_most=2.0)


def test_append_entries_with_a_cut_return_path_do_not_keep_a_leader() -> None:
    """One broken direction is a broken link: a leader that gets no answers steps down, and another leads."""
    network = Network(3)
    leader = network.elect()
    for other in {0, 1, 2} - {leader}:
        network.cut(other, leader, one_way=True)
    network.run(0.8)
    assert role_of(network.node(leader)) is not Role.LEADER
    network.run_until(lambda: network.leader not in (None, leader), at_most=3.0)


def test_a_message_of_the_leader_counts_as_its_word_in_the_middle_of_a_pre_campaign() -> None:
    """A node that suspected a leader wrongly follows it again, in the same term."""
    node = make_node(1, term=1)
    pre_campaign(node)
    node.step(1, AppendEntries(1, 1, 1, commit=0), node.now)
    assert node.soft_state == SoftState(Role.FOLLOWER, 1, 1)
    node.step(2, PreVoteReply(2, granted=True), node.now)
    assert node.soft_state == SoftState(Role.FOLLOWER, 1, 1)
