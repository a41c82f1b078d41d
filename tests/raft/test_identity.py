"""A member is an id and an incarnation: which member may vote, how the log binds it, and what a lost disk cannot do."""

import random
from collections.abc import Mapping

import attrs
import pytest

from kvraft.raft import Entry, EntryKind, HardState, Membership, Message, Node, Role, TryAgain
from kvraft.raft.identity import is_stranger
from kvraft.raft.messages import AppendEntries, PreVote, PreVoteReply, RequestVote, RequestVoteReply
from tests.raft.single import acknowledge_by, campaign, leader_role, make_entries, role_of, settle

NAMES = {node: f"memory-{node}" for node in range(6)}
THREE = Membership(range(3))
BOUND = attrs.evolve(THREE, incarnations={node: NAMES[node] for node in range(3)})


def begin(
    *terms: int,
    node_id: int = 0,
    membership: Membership = THREE,
    bound: Mapping[int, str] | None = None,
    vote: int | None = None,
    term: int = 0,
    founder: bool = False,
    incarnation: str | None = None,
) -> Node:
    """Return a node whose log has entries of these terms, the second of which binds `bound`."""
    entries = list(make_entries(*terms))
    if bound is not None:
        payload = attrs.evolve(membership, incarnations=bound).encode()
        entries[1] = Entry.create(terms[1], 2, EntryKind.MEMBERSHIP, payload)
    node = Node(
        node_id,
        membership,
        now=0.0,
        random=random.Random(1),
        hard_state=HardState(max(terms, default=term), vote, 0, founder),
        entries=entries,
        incarnation=incarnation or NAMES[node_id],
    )
    settle(node)
    return node


def make_bound_entries() -> tuple[Entry, ...]:
    """Return the first entries of a cluster, the second of which binds all members."""
    first, _ = make_entries(1, 1)
    return first, Entry.create(1, 2, EntryKind.MEMBERSHIP, BOUND.encode())


def hear(node: Node, *peers: int, empty: bool = True, incarnation: str | None = None) -> None:
    """Let peers send their identities."""
    for peer in peers:
        node.peer_introduced(peer, incarnation or NAMES[peer], node.now, is_empty=empty)


def give_vote(node: Node) -> bool:
    """Whether the node votes for node 1 in the next term."""
    node.now += 10
    node.step(1, RequestVote(node.term + 1, 99, node.term + 1), node.now)
    return any(isinstance(each, RequestVoteReply) and each.granted for _, each in settle(node))


def newborn_leader(*heard: int) -> Node:
    """Return node 0 as the first leader of a cluster of three, to which these have connected."""
    node = begin()
    hear(node, *heard)
    assert node.voting
    campaign(node)
    settle(node)
    node.step(heard[0], RequestVoteReply(node.term, granted=True), node.now)
    assert role_of(node) is Role.LEADER
    settle(node)
    return node


# --- the right to vote ------------------------------------------------------------------------------------------------


def test_a_node_that_holds_nothing_has_no_vote() -> None:
    """It may have lost promises: it neither votes nor stands nor grants a pre-vote."""
    node = begin()
    assert not give_vote(node)

    node.wake(node.deadline)
    node.step(1, PreVote(9, 9, 9), node.now)

    assert role_of(node) is Role.FOLLOWER
    assert not any(getattr(message, "granted", False) for _, message in settle(node))


def test_a_majority_that_holds_nothing_is_a_birth() -> None:
    """Two of three that begin with nothing are enough to begin; a cluster of one needs no other."""
    node = begin()
    hear(node, 2)

    assert give_vote(node)
    assert begin(membership=Membership([0])).voting
    assert not begin(membership=Membership(range(5))).voting


def test_whoever_has_a_log_has_seen_the_birth() -> None:
    """One member that holds something is proof that promises may have been lost, however many hold nothing."""
    node = begin()
    hear(node, 1, empty=False)
    hear(node, 2)
    hear(node, 1)  # even when it drops the entry later

    assert not give_vote(node)


def test_a_learner_is_not_born() -> None:
    """A node that is no voter waits for the log, whatever others say."""
    node = begin(node_id=3)
    hear(node, 0, 1, 2)

    assert not node.voting


def test_who_has_voted_had_the_right() -> None:
    """A vote on the disk is a memory, also without a log: a birth that was interrupted goes on."""
    assert begin(vote=0).voting
    assert not begin().voting


def test_a_founder_votes_whatever_the_others_hold() -> None:
    """A founder has its vote after a restart, in a later term and beside logs with entries."""
    founder, other = begin(term=7, founder=True), begin(term=7)
    for node in (founder, other):
        hear(node, 1, empty=False)
        hear(node, 2)

    assert give_vote(founder)
    assert not give_vote(other)


def test_a_birth_makes_founders_and_says_so_with_the_first_vote() -> None:
    """The mark is among what the first vote makes durable, at the candidate and at its voter."""
    candidate, voter = begin(), begin()
    for node in (candidate, voter):
        hear(node, 1)

    candidate.wake(candidate.deadline)
    candidate.step(1, PreVoteReply(1, granted=True), candidate.now)
    voter.step(1, RequestVote(1, 0, 0), voter.now)

    for node in (candidate, voter, begin(membership=Membership([0]))):
        assert node.founder
    assert candidate.ready().hard_state == HardState(1, 0, 0, founder=True)
    assert voter.ready().hard_state == HardState(1, 1, 0, founder=True)


def test_only_a_birth_makes_founders() -> None:
    """Neither a binding, nor a vote or a log of an earlier kvraft makes one."""
    bound = begin(1, 1, bound=BOUND.incarnations)
    fed = begin()
    fed.step(1, AppendEntries(1, 0, 0, 0, make_bound_entries()), fed.now)
    waiting = begin()
    hear(waiting, 1, empty=False)
    hear(waiting, 2)

    for node in (bound, fed, waiting, begin(vote=0), begin(1, 1), begin(node_id=3)):
        assert not node.founder
    assert fed.voting


def test_a_binding_to_another_memory_counts_for_more_than_a_birth() -> None:
    """A founder whose id the log binds to another incarnation has no vote."""
    node = begin(1, 1, bound=BOUND.incarnations, incarnation="another", founder=True)

    assert not give_vote(node)
    assert begin(1, 1, bound={1: NAMES[1]}, founder=True).voting


@pytest.mark.parametrize(
    ("bound", "votes"), [({0: NAMES[0]}, True), ({0: NAMES[0], 1: NAMES[1]}, True), ({1: NAMES[1]}, False)]
)
def test_a_log_that_binds_says_who_votes(bound: Mapping[int, str], votes: bool) -> None:
    """With a log the node votes if it is bound there; where others are and it is not, it has been fed since a wipe."""
    node = begin(1, 1, bound=bound)

    assert node.voting == votes
    assert not is_stranger(node)


def test_a_log_of_an_earlier_kvraft_votes() -> None:
    """A log that binds no member was written before members could be bound."""
    assert begin(1, 1).voting


def test_row_19_another_memory_is_a_stranger() -> None:
    """A node whose id is bound to another memory has no vote and must leave (row 19)."""
    node = begin(1, 1, bound=BOUND.incarnations, incarnation="wiped")

    assert is_stranger(node)
    assert not give_vote(node)


def test_the_log_gives_the_vote_but_not_in_this_term() -> None:
    """The entry that binds a node stands after all that it can have acknowledged; the vote of its term is given up."""
    node = begin()
    entries = list(make_entries(1, 1, 1))
    node.step(1, AppendEntries(1, 0, 0, 0, tuple(entries[:2])), node.now)
    settle(node)
    assert not node.voting

    entries[2] = Entry.create(1, 3, EntryKind.MEMBERSHIP, BOUND.encode())
    node.step(1, AppendEntries(1, 2, 1, 0, tuple(entries[2:])), node.now)
    settle(node)

    assert node.voting
    assert node.vote == 0
    assert give_vote(node), "in the next term it may"


def test_a_snapshot_gives_the_vote() -> None:
    """A snapshot holds the bindings as well as the log does."""
    node = begin()

    node.install_snapshot(5, 1, BOUND)

    assert node.voting


# --- how the log comes to know ---------------------------------------------------------------------------------------


def test_the_first_leader_binds_whom_it_has_heard_of_at_once() -> None:
    """Its second entry names them, and travels with the first: no follower holds one without the other."""
    node = newborn_leader(2)

    assert node.log[2].kind == EntryKind.MEMBERSHIP
    assert node.membership.incarnations == {0: NAMES[0], 2: NAMES[2]}
    progress = leader_role(node).progress[2]
    assert (progress.next, node.log.last_index) == (1, 2)


def test_an_earlier_kvraft_is_not_sent_what_it_cannot_read() -> None:
    """While one connected member names no incarnation none is bound; afterwards only when all have connected."""
    node = begin()
    node.peer_introduced(1, None, node.now, is_empty=None)
    hear(node, 2)
    campaign(node)
    settle(node)
    node.step(2, RequestVoteReply(node.term, granted=True), node.now)
    acknowledge_by(node, 2)
    node.wake(node.deadline)
    assert node.membership.incarnations == {}

    hear(node, 1, empty=False)
    node.wake(node.deadline)

    assert node.membership.incarnations == BOUND.incarnations


def test_who_comes_later_is_bound_later() -> None:
    """A voter that missed the birth is bound when it connects to the leader, and a learner before its promotion."""
    node = newborn_leader(1)
    acknowledge_by(node, 1)
    hear(node, 2)
    node.wake(node.deadline)
    assert node.membership.incarnations == BOUND.incarnations
    acknowledge_by(node, 1, 2)

    node.change_membership(attrs.evolve(node.membership, learners=[3], promoting=[3]), node.now)
    for _ in range(3):
        acknowledge_by(node, 1, 2, 3)
        node.wake(node.deadline)
    assert node.membership.learners == {3}, "no node becomes a voter that could not vote"
    hear(node, 3)
    for _ in range(6):
        acknowledge_by(node, 1, 2, 3)
        node.wake(node.deadline)
    assert node.membership.voters == {0, 1, 2, 3}
    assert node.membership.incarnations == {**BOUND.incarnations, 3: NAMES[3]}


def test_a_binding_stands() -> None:
    """Whatever an id says later, it is bound to the memory that it had first."""
    node = newborn_leader(1, 2)
    acknowledge_by(node, 1, 2)

    hear(node, 2, incarnation="wiped")
    node.wake(node.deadline)

    assert node.membership.incarnations == BOUND.incarnations


def test_a_new_memory_has_acknowledged_nothing() -> None:
    """What an unbound member acknowledged counts no longer when it comes back with another memory."""
    node = newborn_leader(1)
    hear(node, 2)
    acknowledge_by(node, 1, 2)
    assert leader_role(node).progress[2].match == node.log.last_index

    hear(node, 2, incarnation="wiped")

    assert leader_role(node).progress[2].match == 0


def test_a_binding_holds_up_no_change() -> None:
    """It has the quorums of the configuration before it, so a change may follow at once; a second change may not."""
    node = newborn_leader(1)
    acknowledge_by(node, 1)
    hear(node, 2)
    node.wake(node.deadline)
    assert node.commit < node.membership_index

    node.change_membership(attrs.evolve(node.membership, learners=[3]), node.now)

    assert node.membership.incarnations == BOUND.incarnations
    with pytest.raises(TryAgain, match="another membership change"):
        node.change_membership(attrs.evolve(node.membership, learners=[3, 4]), node.now)


def test_nobody_without_a_memory_is_bound() -> None:
    """Nodes that keep nothing on disk do without all this."""
    node = Node(0, THREE, now=0.0, random=random.Random(1))
    hear(node, 1, 2)
    campaign(node)
    settle(node)
    messages: tuple[Message, ...] = (RequestVoteReply(node.term, granted=True),)
    for message in messages:
        node.step(1, message, node.now)
    acknowledge_by(node, 1, 2)
    node.wake(node.deadline)

    assert node.membership.incarnations == {}
