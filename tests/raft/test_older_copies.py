"""A member that lacks what it acknowledged, and a node that still has what the others have lost."""

import random

import attrs
import pytest

from kvraft.raft import CommittedContradicted, HardState, MemberForgot, Membership, Node
from kvraft.raft.acknowledged import Acknowledged
from kvraft.raft.messages import AppendEntries, AppendEntriesReply, Heartbeat
from kvraft.raft.progress import DENIALS_MAX
from tests.raft.single import acknowledge, leader_role, make_entries, make_leader, make_node, settle

BOUND = Membership(range(3), incarnations={0: "zero", 1: "one", 2: "two"})


def make_bound_leader(*terms: int) -> Node:
    """Return a leader of a cluster that has bound all its members."""
    node = make_leader(*terms, membership=BOUND)
    node.incarnation = "zero"
    settle(node)
    return node


def member(*terms: int, term: int, incarnation: str = "one", snapshot: tuple[int, int] = (0, 0)) -> Node:
    """Return member 1 as it begins with what its disk holds."""
    return Node(
        1,
        BOUND,
        now=0.0,
        random=random.Random(1),
        hard_state=HardState(term),
        entries=make_entries(*terms, first=snapshot[0] + 1),
        snapshot=snapshot,
        incarnation=incarnation,
    )


TOLD = Acknowledged("one", term=3, index=4, index_term=3, committed=3, committed_term=2)


@pytest.mark.parametrize(
    ("healthy", "why"),
    [
        (member(1, 2, 2, 3, term=3), "all of it"),
        (member(1, 2, 2, 3, 3, term=3), "and more"),
        (member(1, 2, 2, 4, term=4), "a later leader has cut what was not committed"),
        (member(1, 2, 2, term=4), "a later leader has cut what was not committed, and its own is on the way"),
        (member(term=3, snapshot=(4, 3)), "in a snapshot"),
        (member(term=5, snapshot=(9, 5)), "in a later snapshot"),
        (member(1, term=1, incarnation="another"), "another memory has acknowledged that"),
    ],
)
def test_who_holds_what_it_acknowledged_is_never_accused(healthy: Node, why: str) -> None:
    """What the rules of Raft may change of a log is no loss."""
    assert not healthy.lacks(TOLD), why


@pytest.mark.parametrize(
    ("copy", "why"),
    [
        (member(1, 2, 2, term=3), "the last entry is missing"),
        (member(1, 2, 2, 2, 2, term=3), "another entry stands in its place"),
        (member(1, 2, term=5), "a committed entry is missing"),
        (member(1, 1, 1, 1, term=5), "another entry stands in the place of a committed one"),
        (member(term=5, snapshot=(2, 2)), "the snapshot is older"),
    ],
)
def test_an_older_copy_is_recognised(copy: Node, why: str) -> None:
    """By its term, by the last entry in that term, and in any term by what was committed."""
    assert copy.lacks(TOLD), why


def test_a_term_that_has_fallen_is_recognised() -> None:
    """A node in an earlier term than it was may vote twice in one, also when no entry is missing."""
    assert member(1, 2, 2, 3, term=3).lacks(attrs.evolve(TOLD, term=4))
    assert not member(1, 2, 2, 3, term=4).lacks(attrs.evolve(TOLD, term=4))


def test_a_term_that_is_not_known_accuses_nobody() -> None:
    """A node with a record from others may not hold the entry itself; then only the index counts."""
    told = Acknowledged("one", term=3, index=3, index_term=0, committed=2, committed_term=0)
    assert not member(1, 1, 1, term=3).lacks(told)
    assert member(1, 1, term=3).lacks(told)


def test_a_leader_knows_what_was_acknowledged_also_when_it_leads_no_more() -> None:
    """In its own term by what it counts, later by what it has kept; of a new leadership the higher one counts."""
    node = make_bound_leader(1, 1)
    acknowledge(node, 1, 3)
    known = Acknowledged("one", term=node.term, index=3, index_term=node.term, committed=3, committed_term=node.term)
    assert node.acknowledged_by(1) == known
    assert node.acknowledged_by(2) is None

    node.step(2, Heartbeat(node.term + 1, 0, 0), node.now)
    assert node.acknowledged_by(1) == known


def test_the_others_know_it_from_heartbeats() -> None:
    """At each heartbeat interval, not with each round of reads; and what they know does not fall."""
    leader = make_bound_leader(1, 1)
    acknowledge(leader, 1, 3)
    settle(leader)
    leader.wake(leader.deadline)
    beats = [message for to, message in settle(leader) if to == 2 and isinstance(message, Heartbeat)]
    assert [beat.matches for beat in beats] == [((1, 3),)]

    node = make_node(1, 1, node_id=2, membership=BOUND)
    node.step(0, beats[0], node.now)
    told = Acknowledged("one", term=leader.term, index=3, index_term=0, committed=3, committed_term=0)
    assert node.acknowledged_by(1) == told
    node.step(0, Heartbeat(leader.term, 3, 0, matches=((1, 2), (2, 3))), node.now)
    assert node.acknowledged_by(1) == told
    assert node.acknowledged_by(2) is None


def test_another_memory_has_acknowledged_nothing() -> None:
    """A wiped member, or one that has not been bound, is not held to what its id has acknowledged before."""
    node = make_bound_leader(1, 1)
    node.peer_introduced(1, "one", node.now, is_empty=False)
    acknowledge(node, 1, 3)
    node.step(2, Heartbeat(node.term + 1, 0, 0), node.now)
    node.peer_introduced(1, "another", node.now, is_empty=True)
    assert node.acknowledged_by(1) is None


def test_a_member_that_denies_what_it_acknowledged_counts_no_more() -> None:
    """It must deny it to several probes in a row; then its record does not count, and the leader sends it once more."""
    node = make_bound_leader(1, 1)
    acknowledge(node, 1, 3)
    node.peer_connected(1, node.now)
    progress = leader_role(node).progress[1]
    denial = AppendEntriesReply(node.term, success=False, prev_index=3, index=1, hint_term=1)
    for _ in range(DENIALS_MAX - 1):
        settle(node)
        node.step(1, denial, node.now)
        assert progress.match == 3

    with pytest.raises(MemberForgot, match="up to 3"):
        node.step(1, denial, node.now)

    assert progress.match == 0
    told = node.acknowledged_by(1)
    assert told is not None
    assert told.index == 3


def test_a_late_refusal_is_no_denial() -> None:
    """An acknowledgement between two refusals begins the count anew."""
    node = make_bound_leader(1, 1)
    acknowledge(node, 1, 3)
    node.peer_connected(1, node.now)
    denial = AppendEntriesReply(node.term, success=False, prev_index=3, index=1, hint_term=1)
    for _ in range(DENIALS_MAX - 1):
        node.step(1, denial, node.now)
    acknowledge(node, 1, 3)
    node.peer_connected(1, node.now)
    node.step(1, denial, node.now)
    assert leader_role(node).progress[1].match == 3


def test_a_leader_that_contradicts_a_committed_entry_is_told_apart() -> None:
    """No honest message does so while nothing that was confirmed is lost."""
    node = make_node(1, 1, commit=2)
    with pytest.raises(CommittedContradicted):
        node.step(1, AppendEntries(3, 1, 1, 1, make_entries(3, first=2)), node.now)
