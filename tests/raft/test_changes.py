"""Membership changes by joint consensus, on one leader (§6, thesis §4; rows 14, 19, 21, 25)."""

import attrs
import pytest

from kvraft.raft import EntryKind, Membership, MessageRefused, Node, NotLeader, ProposalRefused, Role
from kvraft.raft.invariants import check
from kvraft.raft.messages import (
    AppendEntries,
    Heartbeat,
    HeartbeatReply,
    PreVote,
    RequestVote,
    RequestVoteReply,
    TimeoutNow,
)
from kvraft.raft.types import Entry
from tests.raft.single import (
    acknowledge,
    acknowledge_by,
    campaign,
    leader_role,
    make_entries,
    make_leader,
    make_node,
    make_sure_leader,
    pre_campaign,
    role_of,
    settle,
    without_time,
)
from tests.raft.snapshotting import with_newcomer, without

THREE = Membership(range(3))
FOUR = Membership(range(4))
JOINT = Membership([0, 1, 3], [0, 1, 2])


def change(node: Node, target: Membership, *, force: bool = False) -> int:
    """Begin a change; return the index of the entry that begins it."""
    return node.change_membership(target, node.now, force=force)[1]


def membership_entry(index: int, membership: Membership, term: int = 1) -> Entry:
    """Return the entry that holds a configuration."""
    return Entry.create(term, index, EntryKind.MEMBERSHIP, membership.encode())


def hear(node: Node, *members: int) -> None:
    """Let members give a sign of life."""
    for member in members:
        node.step(member, HeartbeatReply(node.term, 0), node.now)


def joint_leader(target: Membership = JOINT, members: int = 3) -> Node:
    """Return a leader in the middle of a change, its joint entry durable here and not committed."""
    node = make_sure_leader(members=members)
    change(node, attrs.evolve(target, outgoing=()), force=True)
    settle(node)
    return node


def test_nobody_is_promoted_half_way_through_a_change() -> None:
    """What would follow is not known yet; a random run found a leader that ended over the attempt."""
    memories = {member: f"memory {member}" for member in range(4)}
    target = Membership([0, 1], learners=[3], promoting=[3], incarnations={0: "memory 0", 1: "memory 1", 3: "memory 3"})
    node = make_sure_leader()
    node.memberships[-1] = (0, Membership(range(3), learners=[3], promoting=[3], incarnations=memories))
    change(node, target, force=True)
    joint = node.membership
    assert joint.outgoing
    leader_role(node).progress[3].match = leader_role(node).progress[3].round_end = node.log.last_index
    hear(node, 1, 2, 3)

    node.wake(node.deadline)

    assert node.membership is joint


# Going by a configuration.


def test_a_node_goes_by_the_latest_configuration_in_its_log_committed_or_not() -> None:
    """It uses that configuration for all future decisions, regardless of whether the entry is committed (§6)."""
    node = make_node(1)
    node.step(1, AppendEntries(1, 1, 1, 0, (membership_entry(2, JOINT),)), 0.1)
    assert (node.membership, node.membership_index, node.commit) == (JOINT, 2, 0)
    check(node)


def test_a_configuration_that_is_cut_off_gives_way_to_the_one_before() -> None:
    """A server must be ready to fall back to the previous configuration in its log (thesis §4.1)."""
    node = make_node(1)
    entries = (membership_entry(2, JOINT), membership_entry(3, Membership([0, 1, 3])), *make_entries(1, first=4))
    node.step(1, AppendEntries(1, 1, 1, 0, entries), 0.1)
    node.step(2, AppendEntries(2, 2, 1, 0, make_entries(2, first=3)), 0.2)
    assert (node.membership, node.membership_index) == (JOINT, 2)
    node.step(1, AppendEntries(3, 1, 1, 0, make_entries(3, first=2)), 0.3)
    assert (node.membership, node.membership_index) == (THREE, 0)
    check(node)


def test_row_19_only_the_newest_configuration_acts() -> None:
    """A node that reads its log anew goes through a removal that was taken back, and is none the worse (row 19)."""
    gone, back = Membership([1, 2]), Membership([1, 2], (), [0])
    node = make_node(1)
    entries = (membership_entry(2, gone), membership_entry(3, back), membership_entry(4, THREE))
    node.step(1, AppendEntries(1, 1, 1, 4, entries), 0.2)
    assert [membership for _index, membership in node.memberships] == [THREE, gone, back, THREE]
    assert node.membership_index == 4
    campaign(node)
    assert role_of(node) is Role.CANDIDATE


def test_an_entry_that_holds_no_membership_is_refused() -> None:
    """Nothing is changed by it."""
    node = make_node(1)
    before = without_time(node)
    broken = Entry.create(1, 2, EntryKind.MEMBERSHIP, b'{"voters":[]}')
    with pytest.raises(MessageRefused, match="entry 2 holds no membership"):
        node.step(1, AppendEntries(1, 1, 1, 0, (broken,)), 0.1)
    assert without_time(node) == before


def test_clients_cannot_propose_a_configuration() -> None:
    """Only `change_membership` makes them, by its rules."""
    with pytest.raises(AssertionError, match="change_membership"):
        make_sure_leader().propose([FOUR.encode()], 0.0, EntryKind.MEMBERSHIP)


# InitialState a change.


def test_a_change_of_voters_goes_through_a_joint_configuration() -> None:
    """The leader appends C-old,new, goes by it at once and sends it to the members of both (§6)."""
    node = make_sure_leader()
    index = change(node, Membership([0, 1, 3], addresses={3: "there"}))
    assert node.membership == attrs.evolve(JOINT, addresses={3: "there"})
    assert (index, node.membership_index, node.log[index].kind) == (2, 2, EntryKind.MEMBERSHIP)
    sent = settle(node)
    assert {to for to, message in sent if isinstance(message, AppendEntries)} == {1, 2, 3}
    check(node)


@pytest.mark.parametrize(
    ("acknowledged", "committed"),
    [((1,), False), ((2,), False), ((3,), False), ((1, 3), True), ((2, 3), True), ((1, 2), True)],
)
def test_a_joint_configuration_needs_both_majorities(acknowledged: tuple[int, ...], *, committed: bool) -> None:
    """StateChecksums requires separate majorities from both the old and the new configuration (§6)."""
    node = joint_leader(Membership([0, 1, 3, 4], [0, 1, 2]))
    for member in acknowledged:
        acknowledge(node, member, 2)
    old, new = {0, *acknowledged} & {0, 1, 2}, {0, *acknowledged} & {0, 1, 3, 4}
    assert (node.commit >= 2) == (len(old) >= 2 and len(new) >= 3)
    assert committed or node.commit == 1


@pytest.mark.parametrize(
    ("confirming", "answered"),
    [((1, 2), False), ((3, 4), False), ((1, 3), True)],
    ids=["the old voters alone", "the new ones alone", "a majority of both, with the leader"],
)
def test_a_read_round_in_a_joint_configuration_needs_both_majorities(
    confirming: tuple[int, ...], *, answered: bool
) -> None:
    """Each of the two may have elected another leader meanwhile (§6, thesis §6.4; rows 8 and 14)."""
    node = joint_leader(Membership([0, 3, 4], [0, 1, 2]))
    node.read_index("a", node.now)
    settle(node)
    for member in confirming:
        node.step(member, HeartbeatReply(node.term, leader_role(node).round), node.now)

    assert [read.ticket for read in node.ready().reads] == (["a"] if answered else [])


def test_an_election_in_a_joint_configuration_needs_both_majorities() -> None:
    """Votes of the new servers alone elect no leader, nor do those of the old ones (§6)."""
    node = make_node(membership=Membership([0, 3, 4], [0, 1, 2]), term=1)
    campaign(node)
    asked = {to for to, message in settle(node) if isinstance(message, RequestVote)}
    assert asked == {1, 2, 3, 4}
    node.step(3, RequestVoteReply(node.term, granted=True), node.now)
    node.step(4, RequestVoteReply(node.term, granted=True), node.now)
    assert role_of(node) is Role.CANDIDATE
    node.step(1, RequestVoteReply(node.term, granted=True), node.now)
    assert role_of(node) is Role.LEADER


def test_a_leader_that_hears_only_one_of_the_majorities_steps_down() -> None:
    """CheckQuorum asks for both (thesis §6.2, §6)."""
    node = joint_leader(Membership([0, 3, 4], [0, 1, 2]))
    while role_of(node) is Role.LEADER and node.now < 2.0:
        node.wake(node.deadline)
        settle(node)
        hear(node, 3, 4)
    assert node.now < 1.0


def test_a_change_of_learners_needs_one_entry() -> None:
    """It decides nothing, so there is no joint configuration (thesis §4.2.1)."""
    node = make_sure_leader()
    target = Membership(range(3), learners=[3])
    index = change(node, target)
    assert node.membership == target
    acknowledge_by(node, 1)
    assert (node.commit, node.log.last_index) == (index, index)
    check(node)


def test_row_14_a_leader_that_has_committed_nothing_begins_no_change() -> None:
    """Two leaders in a row could each begin one that the other does not know (row 14; the bug of 2015)."""
    node = make_leader()
    with pytest.raises(ProposalRefused, match="has not committed an entry of its term"):
        change(node, FOUR, force=True)
    acknowledge_by(node, 1)
    assert change(node, FOUR, force=True) == 2


def test_row_14_a_leader_that_is_cut_off_cannot_shrink_the_cluster_to_itself() -> None:
    """The change needs a majority of the old voters, too: forced or not, nothing is committed (row 14)."""
    node = make_sure_leader()
    change(node, Membership([0]), force=True)
    settle(node)
    node.propose([b"x"], node.now)
    settle(node)
    assert (node.commit, node.membership) == (1, Membership([0], [0, 1, 2]))


def test_row_21_a_second_change_is_refused_until_the_first_is_done() -> None:
    """Else there could be majorities that do not intersect (row 21): through both entries of a change."""
    node = joint_leader(Membership(range(4), range(3)))
    with pytest.raises(ProposalRefused, match="another membership change is under way"):
        change(node, Membership(range(5)), force=True)
    acknowledge(node, 1, 2)
    acknowledge(node, 2, 2)
    assert (node.commit, node.membership) == (2, FOUR)
    with pytest.raises(ProposalRefused, match="another membership change is under way"):
        change(node, Membership(range(5)), force=True)
    acknowledge_by(node, 1, 2)
    change(node, Membership(range(5)), force=True)


def test_row_21_nor_is_one_of_learners_followed_by_another_before_it_is_committed() -> None:
    """Only one change at a time, of whatever kind (thesis §4.1)."""
    node = make_sure_leader()
    change(node, Membership(range(3), learners=[3]))
    with pytest.raises(ProposalRefused, match="under way"):
        change(node, Membership(range(3), learners=[3, 4]))


def test_only_a_leader_begins_a_change() -> None:
    """A follower names the leader; a leader that hands over asks for patience."""
    with pytest.raises(NotLeader):
        change(make_node(1), FOUR)
    node = make_sure_leader()
    node.transfer_leadership(1, node.now)
    with pytest.raises(ProposalRefused, match="handed over"):
        change(node, FOUR, force=True)


def test_a_voter_is_not_made_a_learner() -> None:
    """In a joint configuration no node can be both, and afterwards the difference would be lost."""
    with pytest.raises(ProposalRefused, match="a voter cannot become a learner"):
        change(make_sure_leader(), Membership([0, 1], learners=[2]), force=True)
    with pytest.raises(ValueError, match="joint"):
        change(make_sure_leader(), JOINT)


# No way into a dead end.


def quiet_leader(members: int, *alive: int) -> Node:
    """Return a leader that only `alive` have answered lately."""
    node = make_sure_leader(members=members)
    node.observe_time(node.now + 0.6)
    hear(node, *alive)
    return node


def test_a_change_that_leaves_no_living_quorum_is_refused_with_the_reason() -> None:
    """Of 0, 1 and 2, 2 is dead: without 1 the cluster would stop."""
    node = quiet_leader(3, 1)
    last = node.log.last_index
    with pytest.raises(ProposalRefused) as refusal:
        change(node, without(node.membership, 1))
    assert str(refusal.value) == (
        "of the 2 voters that would remain, too many do not answer (node 2): the cluster would stop; "
        "bring them back first, or force the change"
    )
    assert (node.log.last_index, node.membership) == (last, THREE)
    assert change(node, without(node.membership, 2)) == last + 1


def test_a_forced_change_is_not_refused() -> None:
    """The operator who names it takes the risk."""
    assert change(quiet_leader(3, 1), Membership([0, 2]), force=True) == 2


def test_a_voter_that_was_never_heard_of_counts_as_dead() -> None:
    """Two unknown ones beside two that live: nothing could be committed (also what the leader only assumes)."""
    with pytest.raises(ProposalRefused, match=r"node 3, 4"):
        change(quiet_leader(2, 1), Membership([0, 3, 4]))
    node = make_leader(members=5)
    for member in (1, 2):
        acknowledge(node, member, 1)
    settle(node)
    with pytest.raises(ProposalRefused, match=r"node 3, 4"):
        change(node, Membership([0, 1, 3, 4]))  # elected just now: 3 and 4 have not spoken yet


# Finishing a change.


def test_when_the_joint_configuration_is_committed_the_new_one_follows() -> None:
    """The leader then creates an entry describing C-new and replicates it (§6); no removed node's address is left."""
    node = make_sure_leader(membership=Membership(range(3), addresses={0: "a", 1: "b", 2: "c"}))
    hear(node, 1, 2)
    change(node, Membership([0, 1, 3], addresses={0: "a", 1: "b", 3: "d"}))
    assert node.membership.addresses == {0: "a", 1: "b", 2: "c", 3: "d"}
    settle(node)
    acknowledge(node, 1, 2)
    assert node.commit == 2
    assert node.membership == Membership([0, 1, 3], addresses={0: "a", 1: "b", 3: "d"})
    assert node.log.last_index == 3


def test_what_was_written_before_a_change_does_not_finish_it() -> None:
    """Only the commitment of the joint entry itself does (§6)."""
    node = make_sure_leader()
    node.propose([b"x"], node.now)
    change(node, Membership([0, 1]), force=True)
    settle(node)
    acknowledge(node, 1, 2)
    assert (node.commit, node.membership, node.log.last_index) == (2, Membership([0, 1], range(3)), 3)


def test_who_has_left_hears_it_and_nothing_more() -> None:
    """It learns that the change is committed, so that it can log why it left (§6)."""
    node = joint_leader(Membership([0, 1], [0, 1, 2]))
    acknowledge(node, 1, 2)
    assert 2 in leader_role(node).progress
    acknowledge(node, 2, 2)
    settle(node)  # the new configuration goes to 2 as well
    acknowledge(node, 1, 3)
    assert leader_role(node).progress.keys() == {1}
    last_words = [message for to, message in settle(node) if to == 2]
    assert [(message.commit, message.entries) for message in last_words if isinstance(message, AppendEntries)] == [
        (3, ())
    ]
    node.wake(node.deadline)
    assert [to for to, message in settle(node) if isinstance(message, Heartbeat)] == [1]
    hear(node, 2)
    acknowledge(node, 2, 3)
    check(node)


def test_row_25_a_leader_that_is_removed_leads_to_the_end_without_counting_itself() -> None:
    """It manages a cluster that does not include itself, replicates and does not count itself (thesis §4.2.2)."""
    node = joint_leader(Membership([1, 2], [0, 1, 2]))
    acknowledge(node, 1, 2)
    acknowledge(node, 2, 2)
    settle(node)
    assert node.membership == Membership([1, 2])
    node.propose([b"in flight"], node.now)
    settle(node)
    acknowledge(node, 1, 4)
    assert (node.commit, role_of(node)) == (2, Role.LEADER)
    acknowledge(node, 2, 3)
    assert (node.commit, role_of(node)) == (3, Role.FOLLOWER)


def test_row_25_a_leader_that_has_removed_itself_hands_over_to_the_longest_log() -> None:
    """It steps down when C-new is committed, and lets the best successor stand at once (thesis §4.2.2, §3.10)."""
    node = joint_leader(Membership([1, 2], [0, 1, 2]))
    acknowledge_by(node, 1, 2)
    node.propose([b"in flight"], node.now)
    settle(node)
    acknowledge(node, 2, 4)
    node.read_index("read", node.now)
    acknowledge(node, 1, 3)
    ready = node.ready()
    assert [sent for sent in ready.messages if isinstance(sent[1], TimeoutNow)] == [(2, TimeoutNow(node.term))]
    assert ready.aborted_reads == ["read"]
    pre_campaign(node)
    assert (role_of(node), settle(node)) == (Role.FOLLOWER, ())


def test_a_new_leader_finishes_the_change_that_it_finds() -> None:
    """Whether the joint entry was committed before or not: the first entry of its term brings it to an end (§6)."""
    for commit in (1, 2):
        node = make_node(1, term=1)
        node.step(1, AppendEntries(1, 1, 1, commit, (membership_entry(2, JOINT),)), 0.1)
        settle(node)
        campaign(node)
        settle(node)
        for voter in (1, 2, 3):
            if role_of(node) is Role.CANDIDATE:
                node.step(voter, RequestVoteReply(node.term, granted=True), node.now)
        assert leader_role(node).progress.keys() == {1, 2, 3}
        settle(node)
        assert node.membership == JOINT
        acknowledge_by(node, 1, 3)
        assert (node.membership, node.log.last_index) == (Membership([0, 1, 3]), 4)
        acknowledge_by(node, 1)
        assert leader_role(node).progress.keys() == {1, 3}
        check(node)


def test_one_who_is_removed_by_an_entry_that_may_not_be_committed_still_stands() -> None:
    """It may be needed until C-new is committed; it does not count its own vote (thesis §4.2.2)."""
    node = make_node(1)
    entries = (membership_entry(2, Membership([1, 2], [0, 1, 2])), membership_entry(3, Membership([1, 2])))
    node.step(1, AppendEntries(1, 1, 1, 2, entries), 0.1)
    settle(node)
    campaign(node)
    assert {to for to, message in settle(node) if isinstance(message, RequestVote)} == {1, 2}
    node.step(1, RequestVoteReply(node.term, granted=True), node.now)
    assert role_of(node) is Role.CANDIDATE
    node.step(2, RequestVoteReply(node.term, granted=True), node.now)
    settle(node)
    acknowledge(node, 1, 4)
    assert role_of(node) is Role.LEADER
    acknowledge(node, 2, 4)
    assert (role_of(node), node.commit) == (Role.FOLLOWER, 4)
    pre_campaign(node)
    assert role_of(node) is Role.FOLLOWER


def test_a_learner_that_is_removed_does_not_stand() -> None:
    """It was no voter before the change either."""
    node = make_node(1, membership=Membership([1, 2], learners=[0]))
    node.step(1, AppendEntries(1, 1, 1, 1, (membership_entry(2, Membership([1, 2])),)), 0.1)
    settle(node)
    pre_campaign(node)
    assert role_of(node) is Role.FOLLOWER


def test_a_cluster_of_one_grows_and_shrinks() -> None:
    """Each majority may be the leader alone."""
    node = make_sure_leader(members=1)
    change(node, with_newcomer(node.membership, 1))
    settle(node)
    assert node.commit == 2
    change(node, Membership([0, 1]), force=True)
    settle(node)
    assert node.commit == 2
    acknowledge_by(node, 1)
    acknowledge_by(node, 1)
    change(node, Membership([0]))
    acknowledge_by(node, 1)
    assert (node.membership, role_of(node), node.commit) == (Membership([0]), Role.LEADER, node.log.last_index)


# Members that decide nothing.


def test_a_learner_never_stands_for_election() -> None:
    """It is no voter (thesis §4.2.1); nor does one that was removed, or a TimeoutNow move it (row 24)."""
    for membership in (Membership([1, 2], learners=[0]), Membership([1, 2])):
        node = make_node(1, membership=membership)
        pre_campaign(node)
        node.step(1, TimeoutNow(1), node.now)
        assert role_of(node) is Role.FOLLOWER
        assert settle(node) == ()
        assert node.deadline > node.now


def test_a_learner_counts_for_nothing() -> None:
    """Neither its acknowledgement nor its vote nor its silence (thesis §4.2.1)."""
    node = make_sure_leader(membership=Membership(range(3), learners=[3, 4]))
    node.propose([b"x"], node.now)
    settle(node)
    acknowledge(node, 3, 2)
    acknowledge(node, 4, 2)
    assert node.commit == 1
    candidate = make_node(1, membership=Membership(range(3), learners=[3, 4]))
    campaign(candidate)
    assert {to for to, message in settle(candidate) if isinstance(message, RequestVote | PreVote)} == {1, 2}
    candidate.step(3, RequestVoteReply(2, granted=True), candidate.now)
    candidate.step(4, RequestVoteReply(2, granted=True), candidate.now)
    assert role_of(candidate) is Role.CANDIDATE


def test_a_member_that_thinks_it_is_a_learner_still_answers_a_candidate() -> None:
    """Its log may lack the entry that promotes it, and the candidate may have it (§6)."""
    node = make_node(1, membership=Membership([1, 2], learners=[0]))
    node.step(1, RequestVote(2, 1, 1), 1.0)
    assert settle(node) == ((1, RequestVoteReply(2, granted=True)),)


def test_a_learner_receives_the_log_and_cannot_lead() -> None:
    """Leadership is handed to voters alone (thesis §3.10)."""
    node = make_sure_leader(membership=Membership(range(3), learners=[3]))
    assert 3 in leader_role(node).progress
    with pytest.raises(ProposalRefused, match="no voter"):
        node.transfer_leadership(3, node.now)
