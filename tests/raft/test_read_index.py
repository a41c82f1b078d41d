"""Linearizable reads without the log: ReadIndex (thesis §6.4; rows 5 to 8 and 12)."""

import pytest

from kvraft.raft import Membership, Node, NotLeader, Read, Ready
from kvraft.raft.messages import AppendEntriesReply, Heartbeat, HeartbeatReply
from tests.raft.network import Network
from tests.raft.single import acknowledge, leader_role, make_leader, make_node, pre_campaign, settle, take


def make_reading_leader(members: int = 3) -> Node:
    """Return a leader of term 1 whose first entry is committed."""
    node = make_leader(members=members)
    for member in range(1, members):
        acknowledge(node, member, 1)
    settle(node)
    return node


def test_only_a_leader_takes_reads() -> None:
    """A follower redirects to its leader (§8)."""
    node = make_node(term=1)
    node.step(2, Heartbeat(1, 0, 0), 0.1)
    with pytest.raises(NotLeader) as caught:
        node.read_index("read", 0.1)
    assert caught.value.leader == 2


def test_a_read_starts_a_round_and_saves_nothing() -> None:
    """The leader asks all members by a numbered heartbeat whether it still leads: no entry, no disk (thesis §6.4)."""
    node = make_reading_leader()
    node.read_index("a", node.now)
    node.read_index("b", node.now)
    heartbeat = Heartbeat(1, commit=1, round=1)
    assert take(node) == Ready(messages=((1, heartbeat), (2, heartbeat)))


def test_a_majority_of_confirmations_releases_all_reads_of_a_round() -> None:
    """One round serves all reads that came before it, at the commit index of that moment (thesis §6.4)."""
    node = make_reading_leader()
    node.read_index("a", node.now)
    node.read_index("b", node.now)
    settle(node)
    node.step(2, HeartbeatReply(1, 1), node.now)
    assert take(node).reads == (Read("a", 1), Read("b", 1))
    node.step(1, HeartbeatReply(1, 1), node.now)
    assert take(node).reads == ()


def test_a_minority_confirms_nothing() -> None:
    """In a cluster of five two others must answer, and one that answers twice is one (thesis §6.4)."""
    node = make_reading_leader(5)
    node.read_index("a", node.now)
    settle(node)
    node.step(2, HeartbeatReply(1, 1), node.now)
    node.step(2, HeartbeatReply(1, 1), node.now)
    assert take(node).reads == ()
    node.step(4, HeartbeatReply(1, 1), node.now)
    assert take(node).reads == (Read("a", 1),)


def test_a_cluster_of_one_reads_at_once() -> None:
    """A leader that is its own majority sends no round."""
    node = make_node(members=1)
    pre_campaign(node)
    settle(node)
    node.read_index("a", node.now)
    assert take(node).reads == (Read("a", 1),)


def test_a_later_round_confirms_the_earlier_ones() -> None:
    """A node that answers a round still followed when the earlier ones were sent; the answer may have been lost."""
    node = make_reading_leader()
    node.read_index("a", node.now)
    settle(node)
    node.propose([b"x"], node.now)
    settle(node)
    acknowledge(node, 1, 2)
    node.read_index("b", node.now)
    settle(node)
    node.step(1, HeartbeatReply(1, 2), node.now)
    assert take(node).reads == (Read("a", 1), Read("b", 2))


def test_a_lost_round_is_asked_again_with_the_next_heartbeat() -> None:
    """The periodic heartbeat carries the newest round, so a lost message delays a read and does not lose it."""
    node = make_reading_leader()
    node.read_index("a", node.now)
    settle(node)
    node.wake(node.deadline)
    assert Heartbeat(1, 1, 1) in [message for _to, message in settle(node)]


def test_row_05_a_new_leader_answers_no_read_before_its_first_entry_is_committed() -> None:
    """Until then its commit index may be below what was acknowledged (thesis §6.4, step 1; row 5)."""
    node = make_leader(1, 1, 1)
    node.read_index("early", node.now)
    assert settle(node) == ()
    node.step(1, HeartbeatReply(2, 0), node.now)
    acknowledge(node, 1, 3)
    node.step(1, HeartbeatReply(2, 0), node.now)
    assert not [message for _to, message in settle(node) if isinstance(message, Heartbeat)]
    assert node.commit == 0
    acknowledge(node, 1, 4)
    ready = take(node)
    assert ready.reads == ()
    assert (1, Heartbeat(2, commit=4, round=1)) in ready.messages
    node.step(1, HeartbeatReply(2, 1), node.now)
    assert take(node).reads == (Read("early", 4),)


def test_row_06_an_older_round_confirms_no_newer_read() -> None:
    """Each round has a number of its own: an answer to an earlier heartbeat says nothing about a later read (row 6)."""
    node = make_reading_leader()
    node.read_index("a", node.now)
    settle(node)
    node.read_index("b", node.now)
    settle(node)
    node.step(1, HeartbeatReply(1, 1), node.now)
    assert take(node).reads == (Read("a", 1),)
    node.step(2, HeartbeatReply(1, 1), node.now)
    node.step(2, HeartbeatReply(1, 0), node.now)
    assert take(node).reads == ()


def test_row_06_an_answer_to_the_heartbeat_of_an_older_term_confirms_no_round() -> None:
    """Rounds are counted anew in each term, so a number of an older one must not come back in this one (row 6).

    Node 0 led term 1 and has come to lead term 3; its old heartbeat reaches a member that is in term 3 already.
    """
    member = make_node(node_id=1, term=3)
    member.step(0, Heartbeat(1, commit=0, round=7), 0.1)
    ((to, answer),) = settle(member)
    assert (to, answer) == (0, HeartbeatReply(3, 0))
    leader = make_leader(1, term=2)
    acknowledge(leader, 2, 2)
    for ticket in range(9):
        leader.read_index(ticket, leader.now)
        settle(leader)
    leader.step(1, answer, leader.now)
    assert take(leader).reads == ()


def test_row_06_an_answer_of_an_older_term_confirms_nothing() -> None:
    """What a member confirmed to the leader of an older term is not counted in this one (row 6)."""
    node = make_leader(term=4)
    acknowledge(node, 1, 1)
    settle(node)
    node.read_index("a", node.now)
    settle(node)
    node.step(1, HeartbeatReply(4, 1), node.now)
    assert take(node).reads == ()
    node.step(1, AppendEntriesReply(5, success=True, prev_index=0, index=1), node.now)
    assert take(node).reads == ()


def test_row_07_a_leader_deposed_after_it_was_asked_answers_no_read() -> None:
    """Confirmations that come after a higher term release nothing: the read is refused (rows 7 and 12)."""
    node = make_reading_leader()
    node.read_index("asked", node.now)
    settle(node)
    node.read_index("new", node.now)
    node.step(1, HeartbeatReply(2, 0), node.now)
    node.step(2, HeartbeatReply(1, 1), node.now)
    ready = take(node)
    assert (ready.reads, ready.aborted_reads) == ((), ("asked", "new"))


def test_row_08_a_deposed_leader_serves_no_stale_read() -> None:
    """A leader that is cut off gets no confirmation and refuses in the end (rows 8 and 12)."""
    network = Network(5)
    old = network.elect()
    network.isolate(old)
    network.run(0.2)
    assert network.leader == old
    stale = network.read(old)
    network.run_until(lambda: network.leader not in (None, old))
    assert network.leader is not None
    network.run(0.1)
    network.propose(network.leader, b"new")
    network.run_until(lambda: len(network.acknowledged) == 1)
    network.run_until(lambda: stale in network.aborted)
    network.heal()
    network.run(2.0)
    assert stale not in network.answered


def test_row_12_a_refused_read_is_never_answered_later() -> None:
    """A read is either answered or refused, once: a leader elected again begins with new rounds (row 12)."""
    node = make_reading_leader()
    node.read_index("a", node.now)
    settle(node)
    node.resign(node.now)
    ready = take(node)
    assert (ready.aborted_reads, ready.reads) == (("a",), ())
    assert take(node).aborted_reads == ()
    assert not node.has_ready()


def test_a_member_confirms_a_round_when_its_term_is_durable() -> None:
    """A confirming node must not return to an earlier term: the first answer in a new term waits for the save."""
    node = make_node(term=1)
    node.step(1, Heartbeat(4, commit=0, round=3), 0.1)
    ready = take(node)
    assert (ready.messages, ready.replies) == ((), ((1, HeartbeatReply(4, 3)),))
    node.step(1, Heartbeat(4, commit=0, round=4), 0.1)
    assert take(node).replies == ((1, HeartbeatReply(4, 4)),)
    node.advance(ready)
    node.step(1, Heartbeat(4, commit=0, round=5), 0.1)
    assert take(node).messages == ((1, HeartbeatReply(4, 5)),)


def test_reads_wait_for_nothing_but_a_round_trip() -> None:
    """On a quiet cluster a read takes one round trip, and many reads at once take one round (thesis §6.4)."""
    network = Network(3)
    leader = network.elect()
    tickets = [network.read(leader) for _number in range(3)]
    assert network.run_until(lambda: all(ticket in network.answered for ticket in tickets)) < 0.005
    assert leader_role(network.node(leader)).round == 3


# --- rounds of many reads --------------------------------------------------------------------------------------------


def asked(node: Node) -> list[int]:
    """Return the members that the node sends a heartbeat now."""
    return [to for to, message in settle(node) if isinstance(message, Heartbeat)]


def read_many(node: Node) -> list[int]:
    """Ask for a round of many reads; return the members that the node asks."""
    node.read_index("many", node.now, are_many=True)
    return asked(node)


@pytest.mark.parametrize(("members", "others"), [(2, 1), (3, 1), (4, 2), (5, 2)])
def test_many_reads_ask_no_more_members_than_make_a_quorum(members: int, others: int) -> None:
    """With their answers alone the reads are released."""
    node = make_reading_leader(members)
    first = read_many(node)
    assert len(first) == others
    for member in first[:-1]:
        node.step(member, HeartbeatReply(1, 1), node.now)
    assert take(node).reads == ()
    node.step(first[-1], HeartbeatReply(1, 1), node.now)
    assert take(node).reads == (Read("many", 1),)


def test_a_member_that_owes_an_answer_is_not_asked_again() -> None:
    """The next round of many reads asks another, and one that finds too few asks all."""
    node = make_reading_leader()
    first, second, third = read_many(node), read_many(node), read_many(node)
    assert {*first, *second} == {1, 2}
    assert sorted(third) == [1, 2]
    node.step(second[0], HeartbeatReply(1, 3), node.now)
    assert read_many(node) == second


def test_the_member_that_has_answered_last_is_asked() -> None:
    """It is the most likely to answer soon."""
    node = make_reading_leader()
    for now, member in ((node.now + 0.01, 1), (node.now + 0.02, 2)):
        node.step(member, HeartbeatReply(1, 0), now)
    assert read_many(node) == [2]


def test_few_reads_ask_all_after_many() -> None:
    """Whether reads are many counts for their round only."""
    node = make_reading_leader()
    assert len(read_many(node)) == 1
    node.read_index("few", node.now)
    assert asked(node) == [1, 2]


def test_all_are_asked_when_the_answer_is_late() -> None:
    """A member that has stopped delays reads no longer than `read_patience`."""
    node = make_reading_leader()
    (silent,) = read_many(node)
    late = node.now + node.options.read_patience
    assert node.deadline == late
    node.wake(late - 0.001)
    assert asked(node) == []
    node.wake(late)
    assert asked(node) == [1, 2]
    assert node.deadline > late
    node.step(3 - silent, HeartbeatReply(1, 1), late)
    assert take(node).reads == (Read("many", 1),)


def test_nothing_is_due_after_an_answer_in_time() -> None:
    """Only the next heartbeat."""
    node = make_reading_leader()
    before = node.deadline
    (member,) = read_many(node)
    node.step(member, HeartbeatReply(1, 1), node.now)
    assert node.deadline == before


def test_many_reads_ask_all_in_a_joint_configuration() -> None:
    """They need two majorities then."""
    node = make_reading_leader()
    node.change_membership(Membership([0, 1, 3]), node.now, force=True)
    settle(node)
    assert node.membership.outgoing
    assert sorted(read_many(node)) == [1, 2, 3]


def test_many_reads_ask_all_when_the_leader_has_no_vote() -> None:
    """It is being removed, and makes no quorum with others."""
    node = make_reading_leader()
    node.change_membership(Membership([1, 2]), node.now, force=True)
    settle(node)
    for member in (1, 2):
        acknowledge(node, member, node.log.last_index)
    settle(node)
    assert not node.membership.outgoing
    assert 0 not in node.membership.voters
    assert sorted(read_many(node)) == [1, 2]


def test_a_read_does_not_wait_for_members_that_are_leaving() -> None:
    """The round began while their answers were needed; it is confirmed by those whose answers still are."""
    node = make_reading_leader(4)
    node.change_membership(node.membership.without(3), node.now)
    settle(node)
    acknowledge(node, 1, 2)
    node.read_index("a", node.now)
    settle(node)
    node.step(1, HeartbeatReply(1, 1), node.now)
    assert take(node).reads == (), "three of four old voters must answer"

    acknowledge(node, 2, 2)  # sent before the round, which node 2 does not answer any more
    assert not node.membership.outgoing
    assert take(node).reads == (Read("a", 1),)
