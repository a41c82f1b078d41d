"""Elections on disks that take longer than an election timeout."""

import pytest

from kvraft.raft import MessageRefused, Role
from kvraft.raft.election import ELECTION_WAIT_FACTOR_MAX, ELECTION_WAIT_GROWTH
from kvraft.raft.messages import Heartbeat, PreVote, PreVoteReply, RequestVote, RequestVoteReply
from kvraft.raft.options import TERM_LEAP_MAX
from tests.raft.single import campaign, make_node, role_of, settle


def waits(count: int) -> list[float]:
    """Return how long a candidate waits for the outcome of each of so many elections in a row, in least timeouts."""
    node = make_node(1)
    found = []
    for _ in range(count):
        campaign(node)
        assert role_of(node) is Role.CANDIDATE
        found.append((node.deadline - node.now) / node.options.election_timeout_min)
        settle(node)
    return found


def test_a_candidate_waits_longer_after_each_election_without_a_leader() -> None:
    """The timeouts are drawn between one and two least ones, so each wait lies within its own range."""
    for number, wait in enumerate(waits(7)):
        factor = min(ELECTION_WAIT_GROWTH**number, ELECTION_WAIT_FACTOR_MAX)
        assert factor <= wait <= 2 * factor


def test_a_voter_waits_as_long_as_a_candidate() -> None:
    """Else it would depose the candidate for which it votes while its vote is on the way to the disk."""
    node = make_node(1)
    for number in range(7):
        node.step(1, RequestVote(node.term + 1, 1, 1), node.now)
        assert node.vote == 1
        factor = min(ELECTION_WAIT_GROWTH**number, ELECTION_WAIT_FACTOR_MAX)
        wait = (node.deadline - node.now) / node.options.election_timeout_min
        assert factor <= wait <= 2 * factor
        settle(node)


def test_a_voter_that_was_away_is_asked_again() -> None:
    """A slow candidate waits for long, so a voter that was down when it was asked must not be missed."""
    node = make_node(1, 2)
    campaign(node)
    node.peer_connected(1, node.now)
    standing = node.ready()
    assert [to for to, _ in standing.replies] == [1, 2], "the request has not left yet"
    node.advance(standing)
    settle(node)

    node.peer_connected(1, node.now)
    again = node.ready()
    assert again.replies == [(1, RequestVote(node.term, node.log.last_index, node.log.last_term))]
    node.advance(again)
    node.step(2, RequestVoteReply(node.term, granted=False), node.now)
    for peer in (2, 3):
        node.peer_connected(peer, node.now)
    assert not node.has_ready(), "no request to a node that has answered or has no vote"
    node.step(1, RequestVoteReply(node.term, granted=True), node.now)
    assert role_of(node) is Role.LEADER


def test_a_vote_is_given_again_when_the_candidate_is_reached() -> None:
    """Its answer may have been lost; no vote is promised before it is durable, or when a node leads."""
    node = make_node(1, 2)
    node.step(1, RequestVote(node.term + 1, node.log.last_index, node.log.last_term), node.now)
    voting = node.ready()
    node.peer_connected(1, node.now)
    assert not node.has_ready(), "its first answer has not left yet"
    node.advance(voting)
    settle(node)

    node.peer_connected(2, node.now)
    assert not node.has_ready(), "that one did not get it"
    node.peer_connected(1, node.now)
    again = node.ready()
    assert again.replies == [(1, RequestVoteReply(node.term, granted=True))]
    node.advance(again)
    node.step(1, Heartbeat(node.term, 0, 0), node.now)
    settle(node)
    node.peer_connected(1, node.now)
    assert not node.has_ready(), "the election is over"


def test_a_voter_that_was_away_is_asked_again_before_the_election() -> None:
    """It is the same for pre-votes."""
    node = make_node(1, 2)
    node.wake(node.deadline)
    settle(node)

    node.peer_connected(2, node.now)

    assert node.ready().messages == [(2, PreVote(node.term + 1, node.log.last_index, node.log.last_term))]


def test_a_candidate_stays_in_its_election_while_its_vote_is_saved() -> None:
    """To stand anew would only put one more save in front of the one that counts."""
    node = make_node(1)
    campaign(node)
    term, standing = node.term, node.ready()
    for _ in range(5):
        node.wake(node.deadline)
    assert (role_of(node), node.term) == (Role.CANDIDATE, term)
    assert not node.has_ready(), "no node is asked anything"

    took = node.now
    node.advance(standing)

    assert node.deadline - node.now >= 2 * took, "the voters' saves come now, and take as long"
    node.step(1, RequestVoteReply(term, granted=True), node.now)
    assert role_of(node) is Role.LEADER


def test_a_voter_stays_in_the_election_while_its_vote_is_saved() -> None:
    """It neither stands nor encourages another one, until its vote has been sent."""
    node = make_node(1)
    node.step(1, RequestVote(2, 1, 1), node.now)
    voting = node.ready()
    for _ in range(5):
        node.wake(node.deadline)
    node.step(2, PreVote(3, 1, 1), node.now)
    assert not node.has_ready()
    assert node.vote == 1

    node.advance(voting)
    node.step(2, PreVote(3, 1, 1), node.now)

    assert settle(node) == ((2, PreVoteReply(3, granted=True)),)
    node.wake(node.deadline)
    assert role_of(node) is Role.PRE_CANDIDATE


def test_a_leader_ends_the_long_waits() -> None:
    """The next election begins with the shortest wait again."""
    node = make_node(1)
    for _ in range(4):
        campaign(node)
        settle(node)
    node.step(1, Heartbeat(node.term + 1, 0, 0), node.now)
    settle(node)

    campaign(node)

    assert node.deadline - node.now <= node.options.election_timeout_max


@pytest.mark.parametrize("terms", [(), (1,)], ids=["without a log", "with a log"])
def test_a_fresh_node_follows_a_cluster_of_any_age(terms: tuple[int, ...]) -> None:
    """A node that holds nothing cannot know which terms have passed; one with a log refuses an absurd leap."""
    node = make_node(*terms)
    message = Heartbeat(TERM_LEAP_MAX + 2, 0, 0)
    if terms:
        with pytest.raises(MessageRefused, match="absurd"):
            node.step(1, message, node.now)
    else:
        node.step(1, message, node.now)
        assert (node.term, node.leader) == (TERM_LEAP_MAX + 2, 1)
