"""Leader election, rule by rule (Figure 2, "RequestVote RPC" and "Rules for Servers"; §5.2, §5.4.1)."""

import random

import pytest

from kvraft.raft import EntryKind, HardState, Membership, Message, Node, RaftOptions, Ready, Role, SoftState
from kvraft.raft.messages import (
    AppendEntries,
    AppendEntriesReply,
    Heartbeat,
    HeartbeatReply,
    PreVote,
    PreVoteReply,
    RequestVote,
    RequestVoteReply,
    TimeoutNow,
)
from kvraft.raft.types import Entry
from tests.raft.network import Network
from tests.raft.single import campaign, make_leader, make_node, pre_campaign, role_of, settle, take


def test_a_node_begins_as_a_follower_of_nobody() -> None:
    """Servers start up as followers, in term 0, without a vote or a log (§5.2; Figure 2, State)."""
    node = Node(0, Membership(range(3)), now=5.0, random=random.Random(0))
    assert take(node) == Ready(soft_state=SoftState(Role.FOLLOWER, 0, None))
    assert node.hard_state == HardState(0, None, 0)
    assert (node.log.last_index, node.commit, node.applying) == (0, 0, 0)


def test_the_election_timeout_is_drawn_between_its_bounds() -> None:
    """Election timeouts are random within a fixed interval, so that split votes are rare (§5.2)."""
    options = RaftOptions()
    timeouts = [
        Node(0, Membership(range(3)), now=9.0, random=random.Random(seed)).deadline - 9.0 for seed in range(200)
    ]
    assert all(options.election_timeout_min <= timeout <= options.election_timeout_max for timeout in timeouts)
    assert max(timeouts) - min(timeouts) > 0.9 * (options.election_timeout_max - options.election_timeout_min)


def test_a_follower_does_nothing_before_its_timeout() -> None:
    """Followers are passive: without a message and before the timeout nothing happens (Figure 2, Followers 1)."""
    node = make_node(1)
    node.wake(node.deadline - 0.001)
    assert not node.has_ready()


def test_a_vote_is_granted_only_together_with_its_save() -> None:
    """A grant is a promise, and the term and the vote are saved with it at once (Figure 2, RequestVote 2; row 2)."""
    node = make_node(1, term=1)
    node.step(2, RequestVote(2, last_index=1, last_term=1), 0.1)
    assert take(node) == Ready(
        hard_state=HardState(2, 2, 0),
        replies=((2, RequestVoteReply(2, granted=True)),),
        soft_state=SoftState(Role.FOLLOWER, 2, None),
    )


def test_row_02_a_vote_in_a_term_that_is_known_already_is_saved_too() -> None:
    """A vote alone, without a new term, is a change of the hard state as well (Figure 2, votedFor; row 2)."""
    node = make_node(1, term=2)
    node.step(1, RequestVote(2, last_index=1, last_term=1), 0.1)
    assert take(node) == Ready(hard_state=HardState(2, 1, 0), replies=((1, RequestVoteReply(2, granted=True)),))


def test_a_request_of_an_older_term_is_refused() -> None:
    """RequestVote is refused if its term is older, and the answer has the newer one (Figure 2, RequestVote 1)."""
    node = make_node(1, term=5)
    node.step(2, RequestVote(4, last_index=9, last_term=4), 0.1)
    assert take(node) == Ready(messages=((2, RequestVoteReply(5, granted=False)),))


def test_row_02_a_node_votes_once_a_term() -> None:
    """A second candidate of the same term is refused; its candidate may get the grant again (§5.2; row 2)."""
    node = make_node(term=1)
    node.step(1, RequestVote(2, 0, 0), 0.1)
    settle(node)
    node.step(2, RequestVote(2, 9, 1), 0.1)
    assert take(node) == Ready(messages=((2, RequestVoteReply(2, granted=False)),))
    node.step(1, RequestVote(2, 0, 0), 0.1)
    assert take(node) == Ready(replies=((1, RequestVoteReply(2, granted=True)),))


def test_row_02_a_vote_survives_a_restart() -> None:
    """Term and vote are one state: a restarted node still has its vote (Figure 2, persistent state; row 2)."""
    node = make_node(term=2, vote=1)
    node.step(2, RequestVote(2, 9, 1), 0.1)
    assert take(node).messages == ((2, RequestVoteReply(2, granted=False)),)
    node.step(1, RequestVote(2, 9, 1), 0.1)
    assert take(node).replies == ((1, RequestVoteReply(2, granted=True)),)


def test_row_02_a_candidate_asks_for_votes_only_behind_its_own_durable_vote() -> None:
    """RequestVote boasts of a term and a log, so it waits for the disk.

    Else a candidate could lose both in a crash, stand in the same term with a shorter log, and be elected by votes
    that were given to the longer one (Figure 2, persistent state; row 2).
    """
    node = make_node(1, 1, term=1)
    campaign(node)
    ready = take(node)
    request = RequestVote(2, last_index=2, last_term=1)
    assert ready.hard_state == HardState(2, 0, 0)
    assert ready.replies == ((1, request), (2, request))
    assert not [message for _to, message in ready.messages if isinstance(message, RequestVote)]


def test_row_02_votes_given_to_a_longer_log_do_not_elect_a_shorter_one() -> None:
    """A candidate loses unsaved entries in a crash, and stands again while votes for its former self are under way.

    Members 1 and 2 have committed an entry; member 0 had it in memory only. A late vote of 1, which was right when it
    was given, must not make 0 the leader of the same term without the entry (row 2).
    """
    network = Network(3)
    network.force_leader(2)
    network.set_disk_delay(0, 1000.0)
    network.propose(2, b"acknowledged")
    network.run(0.02)
    assert network.acknowledged
    network.crash(2)
    for member in (0, 1):
        network.node(member).peer_lost(2, network.now)
    network.stand(0)
    network.run(0.0025)  # member 0 has the pre-vote and stands
    network.link_delay[1, 0] = 0.3
    network.run(0.002)
    network.crash(0)
    network.restart(0)
    network.node(1).role.deadline = network.now + 2.0
    network.stand(0)
    network.run(0.01)
    network.set_disk_delay(0, 0.001)
    network.node(0).step(1, PreVoteReply(2, granted=True), network.now)
    network.pump()
    network.run(0.4)
    assert network.leader is None


@pytest.mark.parametrize(
    ("mine", "last_index", "last_term", "granted"),
    [
        ((), 0, 0, True),
        ((1, 1), 2, 1, True),
        ((1, 1), 3, 1, True),
        ((1, 1), 1, 1, False),  # same term, shorter
        ((1, 1), 1, 2, True),  # later term wins over length
        ((1, 2), 9, 1, False),  # earlier term loses in spite of its length
        ((1,), 0, 0, False),
    ],
)
def test_only_a_log_that_is_as_up_to_date_gets_a_vote(
    mine: tuple[int, ...], last_index: int, last_term: int, granted: bool
) -> None:
    """The log with the later last term is more up to date; of equal terms the longer one (§5.4.1; RequestVote 2)."""
    node = make_node(*mine)
    node.step(1, RequestVote(3, last_index, last_term), 0.1)
    ready = take(node)
    answer = (1, RequestVoteReply(3, granted=granted))
    assert (ready.replies if granted else ready.messages) == (answer,)
    assert ready.hard_state == HardState(3, 1 if granted else None, 0)
    assert not (ready.messages if granted else ready.replies)


def test_granting_a_vote_resets_the_timer_and_refusing_does_not() -> None:
    """Only a granted vote or the leader's word holds back a follower's own election (Figure 2, Followers 2)."""
    refusing, granting = make_node(1), make_node(1)
    before = refusing.deadline
    refusing.step(1, RequestVote(5, 0, 0), before - 0.01)
    assert refusing.deadline == before
    granting.step(1, RequestVote(5, 1, 1), before - 0.01)
    assert granting.deadline >= before - 0.01 + granting.options.election_timeout_min


def test_a_candidate_raises_its_term_and_votes_for_itself() -> None:
    """On conversion to candidate: increment the term, vote for self, reset the timer, ask all (Candidates 1)."""
    node = make_node(1, 3, term=3)
    pre_campaign(node)
    settle(node)
    node.step(2, PreVoteReply(4, granted=True), 1.0)
    request = RequestVote(4, last_index=2, last_term=3)
    assert take(node) == Ready(
        hard_state=HardState(4, 0, 0),
        replies=((1, request), (2, request)),
        soft_state=SoftState(Role.CANDIDATE, 4, None),
    )
    assert node.deadline >= 1.0 + node.options.election_timeout_min


def test_a_majority_makes_a_leader_that_speaks_at_once() -> None:
    """Once elected: one heartbeat to each server, and the term's empty entry (Leaders 1; §5.2, §8)."""
    node = make_node(1, term=1)
    campaign(node)
    settle(node)
    node.step(2, RequestVoteReply(2, granted=True), 1.0)
    empty = Entry.create(2, 2, EntryKind.EMPTY, b"")
    append = AppendEntries(2, prev_index=1, prev_term=1, commit=0, entries=(empty,))
    heartbeat = Heartbeat(2, commit=0, round=0)
    assert take(node) == Ready(
        messages=((1, heartbeat), (2, heartbeat), (1, append), (2, append)),
        hard_state=HardState(2, 0, 0),
        entries=(empty,),
        soft_state=SoftState(Role.LEADER, 2, 0),
    )


def test_a_candidates_own_vote_counts_when_it_is_durable() -> None:
    """In a cluster of one the node leads only after its disk has the vote, not before (row 3 and row 2)."""
    node = make_node(members=1)
    pre_campaign(node)
    ready = node.ready()
    assert (ready.hard_state, role_of(node)) == (HardState(1, 0, 0), Role.CANDIDATE)
    node.advance(ready)
    assert role_of(node) is Role.LEADER


def test_others_votes_do_not_replace_a_candidates_own() -> None:
    """With its own vote not yet durable a candidate of three has one vote of the two that it needs (§5.2)."""
    node = make_node()
    campaign(node)
    ready = node.ready()
    node.step(1, RequestVoteReply(1, granted=True), 1.0)
    assert role_of(node) is Role.CANDIDATE
    node.advance(ready)
    assert role_of(node) is Role.LEADER


def test_a_vote_counts_once_and_only_in_its_term() -> None:
    """A majority is of different servers, in the candidate's term (§5.2)."""
    node = make_node(members=5, term=3)
    campaign(node)
    node.step(2, PreVoteReply(4, granted=True), node.now)
    settle(node)
    for _repetition in range(3):
        node.step(1, RequestVoteReply(4, granted=True), 1.0)
    node.step(2, RequestVoteReply(3, granted=True), 1.0)
    assert role_of(node) is Role.CANDIDATE
    node.step(3, RequestVoteReply(4, granted=True), 1.0)
    assert role_of(node) is Role.LEADER


def test_the_votes_of_learners_and_strangers_do_not_count() -> None:
    """Only voters decide (thesis §4.2.1)."""
    node = make_node(membership=Membership(range(3), learners=[3]))
    pre_campaign(node)
    assert {to for to, _message in settle(node)} == {1, 2}
    for nobody in (3, 9):
        node.step(nobody, PreVoteReply(1, granted=True), 1.0)
    assert role_of(node) is Role.PRE_CANDIDATE
    node.step(1, PreVoteReply(1, granted=True), 1.0)
    settle(node)
    for nobody in (3, 9):
        node.step(nobody, RequestVoteReply(1, granted=True), 1.0)
    assert role_of(node) is Role.CANDIDATE


def test_a_joint_election_needs_both_majorities() -> None:
    """During a change the old and the new voters must both agree (§6)."""
    node = make_node(membership=Membership([0, 1, 2], outgoing=[0, 3, 4]))
    pre_campaign(node)
    assert {to for to, _message in settle(node)} == {1, 2, 3, 4}
    node.step(1, PreVoteReply(1, granted=True), 1.0)
    assert role_of(node) is Role.PRE_CANDIDATE
    node.step(4, PreVoteReply(1, granted=True), 1.0)
    settle(node)
    node.step(1, RequestVoteReply(1, granted=True), 1.0)
    node.step(2, RequestVoteReply(1, granted=True), 1.0)
    assert role_of(node) is Role.CANDIDATE
    node.step(3, RequestVoteReply(1, granted=True), 1.0)
    assert role_of(node) is Role.LEADER


def test_a_candidate_that_a_majority_refuses_follows_again() -> None:
    """An election that can no longer be won is over (§5.2)."""
    node = make_node()
    campaign(node)
    settle(node)
    node.step(1, RequestVoteReply(1, granted=False), 1.0)
    assert role_of(node) is Role.CANDIDATE
    node.step(2, RequestVoteReply(1, granted=False), 1.0)
    assert node.soft_state == SoftState(Role.FOLLOWER, 1, None)
    assert node.hard_state == HardState(1, 0, 0)


@pytest.mark.parametrize("message", [Heartbeat(4, 0, 0), AppendEntries(4, 0, 0, 0), Heartbeat(7, 0, 0)])
def test_a_candidate_follows_a_leader_of_its_term_or_a_later_one(message: Message) -> None:
    """AppendEntries from a new leader turns a candidate into a follower (Figure 2, Candidates 3; §5.2)."""
    node = make_node(term=3)
    campaign(node)
    settle(node)
    node.step(2, message, 1.0)
    assert node.soft_state == SoftState(Role.FOLLOWER, message.term, 2)
    assert node.vote == (0 if message.term == 4 else None)


@pytest.mark.parametrize("message", [Heartbeat(3, 0, 0), AppendEntries(3, 0, 0, 0)])
def test_a_candidate_does_not_follow_the_leader_of_an_older_term(message: Message) -> None:
    """A leader whose term is older than the candidate's is refused, and gets the newer term (§5.2)."""
    node = make_node(term=3)
    campaign(node)
    settle(node)
    node.step(2, message, 1.0)
    assert role_of(node) is Role.CANDIDATE
    ((to, answer),) = take(node).messages
    assert (to, answer.term) == (2, 4)


def test_a_pre_candidate_follows_the_leader_it_hears_and_may_vote() -> None:
    """Asking for pre-votes binds to nothing (thesis §9.6)."""
    node = make_node(term=3)
    pre_campaign(node)
    node.step(2, Heartbeat(3, 0, 0), 1.0)
    assert node.soft_state == SoftState(Role.FOLLOWER, 3, 2)
    other = make_node(term=3)
    pre_campaign(other)
    other.step(1, RequestVote(3, 0, 0), 1.0)
    assert (role_of(other), other.vote) == (Role.FOLLOWER, 1)


HIGHER = [
    AppendEntries(9, 0, 0, 0),
    AppendEntriesReply(9, success=False, prev_index=0, index=0),
    AppendEntriesReply(9, success=True, prev_index=0, index=0),
    Heartbeat(9, 0, 0),
    HeartbeatReply(9, 0),
    RequestVote(9, 9, 9, transfer=True),
    RequestVoteReply(9, granted=False),
    RequestVoteReply(9, granted=True),
    PreVoteReply(9, granted=False),
]


@pytest.mark.parametrize("message", HIGHER, ids=repr)
@pytest.mark.parametrize("role", [Role.FOLLOWER, Role.PRE_CANDIDATE, Role.CANDIDATE, Role.LEADER])
def test_a_higher_term_makes_everyone_follow(message: Message, role: Role) -> None:
    """A node that sees a term above its own adopts it and follows, with its vote free again (All Servers 2; §5.1)."""
    node = make_leader(1, term=1) if role is Role.LEADER else make_node(1, term=1)
    if role is Role.PRE_CANDIDATE:
        pre_campaign(node)
    elif role is Role.CANDIDATE:
        campaign(node)
    settle(node)
    assert role_of(node) is role
    node.step(2, message, node.now)
    assert (role_of(node), node.term) == (Role.FOLLOWER, 9)
    assert node.vote == (2 if isinstance(message, RequestVote) else None)
    hard_state = take(node).hard_state
    assert hard_state is not None
    assert hard_state.term == 9


def test_a_higher_term_in_an_order_to_stand_is_taken_over_first() -> None:
    """TimeoutNow of a later term is followed by an election in the term after that (All Servers 2)."""
    node = make_node(1, term=1)
    node.step(2, TimeoutNow(9), 0.1)
    assert (role_of(node), node.hard_state) == (Role.CANDIDATE, HardState(10, 0, 0))


def test_the_term_of_a_pre_vote_is_not_taken_over() -> None:
    """A PreVote only names the term its sender would campaign in (thesis §9.6)."""
    node = make_node(1, term=1)
    node.step(2, PreVote(9, 1, 1), 0.1)
    assert node.term == 1
    assert take(node).hard_state is None


def test_a_split_vote_is_resolved() -> None:
    """Two candidates of one term starve each other once, and random timeouts end it (§5.2)."""
    network = Network(4, seed=3)
    for member in (0, 1):
        network.stand(member)
    took = network.run_until(lambda: network.leader is not None)
    assert took < 3.0
    assert network.node(0).term >= 1


def test_a_node_that_may_have_forgotten_a_promise_neither_votes_nor_stands() -> None:
    """Without its vote a node refuses both kinds of requests and never campaigns, until it regains it."""
    node = make_node(1, voting=False)
    node.step(1, PreVote(2, 1, 1), 0.1)
    node.step(1, RequestVote(2, 1, 1), 0.1)
    assert settle(node) == ((1, PreVoteReply(1, granted=False)), (1, RequestVoteReply(2, granted=False)))
    node.wake(node.deadline)
    node.step(1, TimeoutNow(2), node.now)
    assert (role_of(node), settle(node)) == (Role.FOLLOWER, ())
    assert node.deadline > node.now
    node.regain_vote()
    node.step(1, RequestVote(3, 1, 1), node.now)
    assert settle(node) == ((1, RequestVoteReply(3, granted=True)),)


def test_a_learner_never_stands_for_election() -> None:
    """Learners receive the log and decide nothing (thesis §4.2.1)."""
    node = make_node(node_id=3, membership=Membership(range(3), learners=[3]))
    for _timeout in range(3):
        node.wake(node.deadline)
        assert (role_of(node), settle(node)) == (Role.FOLLOWER, ())
