"""Leadership transfer (thesis §3.10; rows 23 and 43)."""

import pytest

from kvraft.raft import HardState, Membership, NotLeader, ProposalRefused, Ready, Role, SoftState
from kvraft.raft.election import ELECTION_WAIT_FACTOR_MAX
from kvraft.raft.messages import AppendEntries, Heartbeat, HeartbeatReply, RequestVote, RequestVoteReply, TimeoutNow
from kvraft.raft.transfer import TRANSFER_S_MAX
from tests.raft.network import Network
from tests.raft.single import (
    acknowledge,
    campaign,
    leader_role,
    make_entries,
    make_leader,
    make_node,
    role_of,
    settle,
    take,
)


def test_a_target_that_has_everything_is_ordered_to_stand_at_once() -> None:
    """When the logs match the leader sends TimeoutNow (thesis §3.10, step 3)."""
    node = make_leader()
    acknowledge(node, 1, 1)
    settle(node)
    node.transfer_leadership(1, node.now)
    assert take(node) == Ready(messages=((1, TimeoutNow(1)),))
    acknowledge(node, 1, 1)
    assert not node.has_ready()


def test_a_target_that_is_behind_catches_up_first() -> None:
    """The target must be able to win, so it gets the whole log before the order (thesis §3.10, step 2)."""
    node = make_leader(1, 1)
    node.transfer_leadership(1, node.now)
    assert settle(node) == ()
    acknowledge(node, 1, 2)
    acknowledge(node, 2, 3)
    assert TimeoutNow(2) not in [message for _to, message in settle(node)]
    acknowledge(node, 1, 3)
    assert (1, TimeoutNow(2)) in settle(node)


def test_the_order_is_given_once() -> None:
    """A target that has to catch up anew after it was ordered is not ordered a second time."""
    node = make_leader()
    acknowledge(node, 1, 1)
    node.transfer_leadership(1, node.now)
    settle(node)
    node.peer_forgot(1, node.now)
    acknowledge(node, 1, 1)
    assert TimeoutNow(1) not in [message for _to, message in settle(node)]


def test_row_43_proposals_are_refused_while_leadership_is_handed_over() -> None:
    """The leader stops taking requests: what it took is on the target, what it refused certainly is not (row 43)."""
    node = make_leader()
    acknowledge(node, 1, 1)
    node.transfer_leadership(1, node.now)
    last = node.log.last_index
    with pytest.raises(ProposalRefused):
        node.propose([b"x"], node.now)
    assert node.log.last_index == last


def test_a_transfer_is_given_up_after_an_election_timeout() -> None:
    """A target that does not take over must not stop the cluster for long (thesis §3.10)."""
    node = make_leader()
    node.transfer_leadership(1, node.now)
    end = node.now + node.options.election_timeout_max
    while node.deadline < end:
        node.wake(node.deadline)
        node.step(2, HeartbeatReply(1, 0), node.now)
    with pytest.raises(ProposalRefused):
        node.propose([b"x"], node.now)
    node.wake(node.deadline)
    assert node.propose([b"x"], node.now) == (1, 2)
    settle(node)
    acknowledge(node, 1, 2)
    assert TimeoutNow(1) not in [message for _to, message in settle(node)]


@pytest.mark.parametrize("target", [0, 3, 9])
def test_leadership_goes_to_another_voter_only(target: int) -> None:
    """Neither the leader itself nor a learner nor a stranger can be the target."""
    node = make_node(membership=Membership(range(3), learners=[3]))
    campaign(node)
    settle(node)
    node.step(1, RequestVoteReply(1, granted=True), node.now)
    with pytest.raises(ProposalRefused):
        node.transfer_leadership(target, node.now)
    node.propose([b"x"], node.now)


def test_one_transfer_at_a_time() -> None:
    """A second transfer is refused until the first is done or given up."""
    node = make_leader()
    node.transfer_leadership(1, node.now)
    with pytest.raises(ProposalRefused):
        node.transfer_leadership(2, node.now)


def test_only_a_leader_hands_over() -> None:
    """A follower cannot transfer what it does not have."""
    with pytest.raises(NotLeader):
        make_node().transfer_leadership(1, 0.0)


def test_row_23_a_transfer_does_not_survive_a_step_down() -> None:
    """A leader that lost its term and won another takes proposals: the flag belongs to one term (row 23)."""
    node = make_leader()
    node.transfer_leadership(1, node.now)
    settle(node)
    node.step(2, HeartbeatReply(5, 0), node.now)
    assert role_of(node) is Role.FOLLOWER
    campaign(node)
    settle(node)
    node.step(2, RequestVoteReply(6, granted=True), node.now)
    assert leader_role(node).transfer is None
    assert node.propose([b"x"], node.now) == (6, 3)
    settle(node)
    acknowledge(node, 1, 3)
    assert TimeoutNow(6) not in [message for _to, message in settle(node)]


def test_the_ordered_member_stands_without_asking_first() -> None:
    """TimeoutNow has the effect of the election timeout, without a pre-vote and with the leader's word (§3.10)."""
    node = make_node(1, term=1)
    node.step(1, Heartbeat(1, 0, 0), 0.1)
    settle(node)
    node.step(1, TimeoutNow(1), 0.1)
    request = RequestVote(2, 1, 1, transfer=True)
    assert take(node) == Ready(
        hard_state=HardState(2, 0, 0),
        replies=((1, request), (2, request)),
        soft_state=SoftState(Role.CANDIDATE, 2, None),
    )


@pytest.mark.parametrize(("sender", "term"), [(2, 1), (1, 0)])
def test_only_the_leader_of_this_term_can_order_an_election(sender: int, term: int) -> None:
    """An order of an older term, or of a member that does not lead, is ignored."""
    node = make_node(1, term=1)
    node.step(1, Heartbeat(1, 0, 0), 0.1)
    settle(node)
    node.step(sender, TimeoutNow(term), 0.1)
    assert not node.has_ready()


def test_a_request_that_the_leader_ordered_is_answered_in_spite_of_a_living_leader() -> None:
    """The transfer flag says that the leader has ordered this election: stickiness does not apply (thesis §4.2.3)."""
    node = make_node(1, term=1)
    node.step(2, Heartbeat(1, 0, 0), 0.1)
    settle(node)
    node.step(1, RequestVote(2, 1, 1), 0.15)
    assert not node.has_ready()
    node.step(1, RequestVote(2, 1, 1, transfer=True), 0.15)
    assert take(node).replies == ((1, RequestVoteReply(2, granted=True)),)


def test_a_leader_votes_for_the_successor_it_has_chosen() -> None:
    """The old leader steps down on the ordered request, and gives its vote."""
    node = make_leader()
    acknowledge(node, 1, 1)
    node.transfer_leadership(1, node.now)
    settle(node)
    node.step(1, RequestVote(2, 1, 1, transfer=True), node.now)
    assert role_of(node) is Role.FOLLOWER
    assert take(node).replies == ((1, RequestVoteReply(2, granted=True)),)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_row_43_a_transfer_under_load_loses_nothing(size: int) -> None:
    """Leadership goes to the target in a few round trips, and everything acknowledged is there (row 43)."""
    network = Network(size)
    leader = network.elect()
    target = (leader + 1) % size
    for number in range(20):
        network.propose(leader, b"%d" % number)
    network.node(leader).transfer_leadership(target, network.now)
    network.pump()
    assert network.run_until(lambda: network.leader == target) < 0.03
    network.run_until(network.agrees)
    assert len(network.acknowledged) == 20
    network.propose(target, b"last")
    network.run_until(lambda: len(network.acknowledged) == 21)


@pytest.mark.parametrize(("noticed", "at_most"), [(True, 0.7), (False, TRANSFER_S_MAX + 0.2)])
def test_a_transfer_to_a_dead_member_costs_some_time_and_no_leader(noticed: bool, at_most: float) -> None:
    """If the target is gone the leader goes on leading (thesis §3.10), sooner if its connection is seen to break."""
    network = Network(3)
    leader = network.elect()
    network.node(leader).transfer_leadership((leader + 1) % 3, network.now)
    network.crash((leader + 1) % 3, noticed=noticed)
    network.run(at_most)
    assert network.leader == leader
    network.propose(leader, b"x")
    network.run_until(lambda: len(network.acknowledged) == 1, at_most=0.1)


def test_the_order_itself_does_not_come_before_the_entries() -> None:
    """A follower that is ordered to stand holds all that it acknowledged in its request."""
    node = make_node(1, term=1)
    node.step(1, AppendEntries(1, 1, 1, commit=1, entries=make_entries(1, 1, first=2)), 0.1)
    node.step(1, TimeoutNow(1), 0.1)
    ready = take(node)
    assert ready.entries == make_entries(1, 1, first=2)
    assert (1, RequestVote(2, 3, 1, transfer=True)) in ready.replies


def test_a_target_that_falls_silent_after_the_order_gets_more_time() -> None:
    """It may be saving its vote for itself: what the leader took meanwhile would make the target's log the shorter."""
    node = make_leader()
    acknowledge(node, 1, 1)
    node.transfer_leadership(1, node.now)
    settle(node)
    begin = node.now
    while node.deadline < begin + TRANSFER_S_MAX:
        node.wake(node.deadline)
        node.step(2, HeartbeatReply(1, 0), node.now)
        with pytest.raises(ProposalRefused):
            node.propose([b"x"], node.now)
    node.wake(node.deadline)
    assert node.propose([b"x"], node.now) == (1, 2)


@pytest.mark.parametrize("lost_first", [True, False])
def test_a_target_whose_connection_is_broken_gets_no_more_time(*, lost_first: bool) -> None:
    """Whether it broke before the order or after it: the target may have died, so the leader leads on soon."""
    node = make_leader()
    acknowledge(node, 1, 1)
    if lost_first:
        node.peer_lost(1, node.now)
    node.transfer_leadership(1, node.now)
    settle(node)
    if not lost_first:
        node.peer_lost(1, node.now)
    end = node.now + node.options.election_timeout_max
    while node.now < end:
        with pytest.raises(ProposalRefused):
            node.propose([b"x"], node.now)
        node.wake(node.deadline)
        node.step(2, HeartbeatReply(1, 0), node.now)
    assert node.propose([b"x"], node.now) == (1, 2)


def test_a_target_that_answers_after_the_order_is_not_standing() -> None:
    """The order got lost, or the target may not lead: it is given up after an election timeout."""
    node = make_leader()
    acknowledge(node, 1, 1)
    node.transfer_leadership(1, node.now)
    settle(node)
    end = node.now + node.options.election_timeout_max
    while node.now < end:
        node.wake(node.deadline)
        for member in (1, 2):
            node.step(member, HeartbeatReply(1, 0), node.now)
    assert node.propose([b"x"], node.now) == (1, 2)


def test_a_candidate_ends_a_leadership_when_its_own_vote_is_durable() -> None:
    """Until then it can request no vote, so the old leader leads on; its term goes out with the first promise."""
    node = make_node(1, term=1)
    node.step(1, Heartbeat(1, 0, 0), 0.1)
    settle(node)
    node.step(1, TimeoutNow(1), 0.1)
    standing = node.ready()
    node.step(1, Heartbeat(1, 0, 1), 0.2)
    node.step(1, AppendEntries(1, 1, 1, commit=1), 0.2)
    late = take(node)
    assert late.messages == ()
    assert {reply.term for _to, reply in late.replies} == {2}
    node.advance(standing)
    node.step(1, Heartbeat(1, 0, 2), 0.3)
    assert take(node).messages == ((1, HeartbeatReply(2, 0)),)


def test_an_ordered_election_gets_the_longest_wait() -> None:
    """No other node stands while the old leader is on its way out, so to end it early would leave no leader."""
    node = make_node(1, term=1)
    node.step(1, TimeoutNow(1), 0.1)
    assert node.deadline - node.now >= ELECTION_WAIT_FACTOR_MAX * node.options.election_timeout_min
    voter = make_node(1, term=1)
    voter.step(1, RequestVote(2, 1, 1, transfer=True), 0.1)
    assert voter.deadline - voter.now >= ELECTION_WAIT_FACTOR_MAX * voter.options.election_timeout_min
    settle(voter)

    voter.peer_lost(1, 0.2)

    assert voter.deadline - voter.now <= voter.options.peer_lost_delay_max, "unless the candidate dies"
