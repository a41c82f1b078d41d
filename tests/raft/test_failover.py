"""How fast a leader is replaced: after its connection breaks (`Node.peer_lost`, thesis §9.6), and when it is silent."""

import itertools
from typing import Final

import pytest

from kvraft.raft import Entry, EntryKind, Membership, RaftOptions, Role
from kvraft.raft.messages import AppendEntries, Heartbeat, PreVote, PreVoteReply
from tests.raft.network import Network
from tests.raft.single import make_node, pre_campaign, role_of, settle

OPTIONS: Final = RaftOptions()
SEEDS: Final = 200
REPLACED_S: Final = 0.03
"""Longest time until the next leader, of virtual time: the first voter's slot and an election."""
ELECTION_S: Final = 0.02
"""Longest time of an election, of virtual time."""


def test_a_follower_that_loses_its_leaders_connection_asks_soon() -> None:
    """The election is due after a short random delay instead of the rest of the timeout."""
    node = make_node(1, term=1)
    node.step(2, Heartbeat(1, 0, 0), 0.1)
    node.peer_lost(2, 0.11)
    assert 0.11 + OPTIONS.peer_lost_delay_min <= node.deadline <= 0.11 + OPTIONS.peer_lost_delay_max
    assert node.leader is None
    node.wake(node.deadline)
    assert role_of(node) is Role.PRE_CANDIDATE


def _delays(node_id: int, lost: int, size: int) -> list[float]:
    """Return how long a follower waits after the connection to its leader has broken, many times, seconds."""
    node = make_node(node_id=node_id, members=size, term=1)
    delays = []
    for beat in range(20):
        node.step(lost, Heartbeat(1, 0, 0), float(beat))
        node.peer_lost(lost, float(beat))
        delays.append(node.deadline - beat)
    return delays


@pytest.mark.parametrize("size", [3, 5])
def test_the_followers_of_a_lost_leader_ask_one_after_the_other(size: int) -> None:
    """All see the break at the same moment: the next id asks first, and so much time is left before each next one."""
    gap = (OPTIONS.peer_lost_delay_max - OPTIONS.peer_lost_delay_min) / (size - 1) * 0.75
    for lost in range(size):
        delays = [_delays((lost + rank) % size, lost, size) for rank in range(1, size)]
        assert all(len(set(each)) == 20 for each in delays), "random"
        assert all(max(earlier) + gap <= min(later) for earlier, later in itertools.pairwise(delays))
        assert OPTIONS.peer_lost_delay_min <= min(delays[0]) < max(delays[-1]) < OPTIONS.peer_lost_delay_max


def _timeouts(node_id: int, leader: int, size: int) -> list[float]:
    """Return how long a follower waits for a message of its leader, many times, seconds."""
    node = make_node(node_id=node_id, members=size, term=1)
    timeouts = []
    for beat in range(20):
        node.step(leader, Heartbeat(1, 0, 0), float(beat))
        timeouts.append(node.deadline - beat)
    return timeouts


@pytest.mark.parametrize("size", [3, 5])
def test_the_followers_of_a_silent_leader_ask_one_after_the_other(size: int) -> None:
    """Each has a part of the range of election timeouts for itself, with a gap before the next one's."""
    earliest, latest = OPTIONS.election_timeout_min, OPTIONS.election_timeout_max
    gap = (latest - earliest) / (size - 1) * 0.9
    for leader in range(size):
        timeouts = [_timeouts((leader + rank) % size, leader, size) for rank in range(1, size)]
        assert all(len(set(each)) == 20 for each in timeouts), "random"
        assert all(max(earlier) + 0.99 * gap <= min(later) for earlier, later in itertools.pairwise(timeouts))
        assert earliest + 0.02 * gap <= min(timeouts[0]), "for the other voters the shortest timeout is not over yet"
        assert max(timeouts[-1]) < latest


@pytest.mark.parametrize("size", [3, 5])
def test_a_follower_of_a_silent_leader_asks_twice_before_the_next_slot(size: int) -> None:
    """A voter that was not ready to answer the first time need not wait for the next follower's turn."""
    slot = (OPTIONS.election_timeout_max - OPTIONS.election_timeout_min) / (size - 1)
    node = make_node(node_id=1, members=size, term=1)
    for beat in range(20):
        node.step(0, Heartbeat(1, 0, 0), float(10 * beat))
        settle(node)
        asked = 0.0
        for _ in range(2):
            asked = node.deadline
            node.wake(asked)
            assert [message for _, message in settle(node)] == [PreVote(2, 0, 0)] * (size - 1)
        assert asked < 10 * beat + OPTIONS.election_timeout_min + slot - ELECTION_S
        assert node.deadline >= asked + OPTIONS.election_timeout_min, "later attempts have no order"


def test_a_voter_that_heard_the_silent_leader_later_is_asked_again() -> None:
    """Its shortest timeout is not over at the first request, which it does not answer, and is over at the second."""
    first, second = make_node(node_id=1, term=1), make_node(node_id=2, term=1)
    first.step(0, Heartbeat(1, 0, 0), 1.0)
    second.step(0, Heartbeat(1, 0, 0), 1.015)
    for node in (first, second):
        settle(node)

    answers = []
    for _ in range(2):
        first.wake(first.deadline)
        second.step(1, dict(settle(first))[2], first.now)
        answers.append(settle(second))

    assert answers == [(), ((1, PreVoteReply(2, granted=True)),)]


def test_a_change_of_the_members_changes_the_order_of_the_followers() -> None:
    """A follower whose leader gets more members has a shorter part, from the entry with the new configuration on."""
    node = make_node(node_id=2, members=3, term=1)
    change = Entry.create(1, 1, EntryKind.MEMBERSHIP, Membership(range(5)).encode())
    node.step(0, AppendEntries(1, 0, 0, 0, (change,)), 1.0)
    slot = (OPTIONS.election_timeout_max - OPTIONS.election_timeout_min) / 4
    for beat in range(20):
        node.step(0, Heartbeat(1, 0, 0), 2.0 + beat)
        earliest = 2.0 + beat + OPTIONS.election_timeout_min + slot
        assert earliest <= node.deadline <= earliest + slot, "the second of four"


def test_the_loss_of_anybody_else_changes_nothing() -> None:
    """Only the leader's connection says something about the leader."""
    node = make_node(1, term=1)
    node.step(2, Heartbeat(1, 0, 0), 0.1)
    settle(node)
    deadline = node.deadline
    node.peer_lost(1, 0.11)
    assert (node.deadline, node.leader, node.has_ready()) == (deadline, 2, False)
    pre_campaign(node)
    deadline = node.deadline
    node.peer_lost(2, node.now)
    assert (node.deadline, role_of(node)) == (deadline, Role.PRE_CANDIDATE)


def test_a_leader_that_speaks_again_is_followed_again() -> None:
    """The hint is dropped when the leader's next word comes, by another connection."""
    node = make_node(1, term=1)
    node.step(2, Heartbeat(1, 0, 0), 0.1)
    node.peer_lost(2, 0.11)
    node.step(2, Heartbeat(1, 0, 0), 0.112)
    assert node.leader == 2
    assert node.deadline >= 0.112 + OPTIONS.election_timeout_min


@pytest.mark.parametrize("size", [3, 5])
def test_a_leader_that_dies_is_replaced_at_once(size: int) -> None:
    """All followers lose the connection, one asks first, and the votes are never split."""
    for seed in range(SEEDS):
        network = Network(size, seed)
        leader = network.elect()
        network.run(0.03)
        network.crash(leader, noticed=True)
        network.run_until(lambda network=network: network.leader is not None, at_most=REPLACED_S)  # type: ignore[misc]


def test_a_leader_that_dies_with_the_next_voter_is_replaced_soon() -> None:
    """The voter whose turn it would be to ask first is down as well: the one after it asks in its own slot."""
    for seed in range(SEEDS):
        network = Network(5, seed)
        leader = network.elect()
        network.run(0.03)
        network.crash((leader + 1) % 5, noticed=True)
        network.crash(leader, noticed=True)
        network.run_until(lambda network=network: network.leader is not None, at_most=2 * REPLACED_S)  # type: ignore[misc]


@pytest.mark.parametrize("size", [3, 5])
def test_a_leader_that_falls_silent_is_replaced_in_the_first_slot(size: int) -> None:
    """One follower asks first, and the votes are never split."""
    slot = (OPTIONS.election_timeout_max - OPTIONS.election_timeout_min) / (size - 1)
    for seed in range(SEEDS):
        network = Network(size, seed)
        leader = network.elect()
        network.run(0.03)
        network.crash(leader)
        at_most = OPTIONS.election_timeout_min + slot + ELECTION_S
        network.run_until(lambda network=network: network.leader is not None, at_most=at_most)  # type: ignore[misc]


def test_one_broken_link_costs_no_leader() -> None:
    """The follower that lost its link finds no majority: the others have the leader and do not answer it."""
    for seed in range(20):
        network = Network(3, seed)
        leader = network.elect()
        term = network.node(leader).term
        network.break_connection(leader, (leader + 1) % 3)
        network.run(2.0)
        assert (network.leader, network.node(leader).term) == (leader, term)
        network.propose(leader, b"x")
        network.run_until(lambda network=network: len(network.acknowledged) == 1, at_most=0.1)  # type: ignore[misc]


def test_a_connection_that_breaks_and_comes_back_costs_no_leader() -> None:
    """After a short break on all links the leader's next words are followed again."""
    network = Network(3)
    leader = network.elect()
    network.break_connection(leader, (leader + 1) % 3)
    network.heal()
    network.run(1.0)
    assert network.leader == leader
