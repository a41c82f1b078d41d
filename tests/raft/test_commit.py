"""Commitment: what a quorum has on disk, counted in the leader's own term only (Figure 2, Leaders 4; §5.3, §5.4.2)."""

from random import Random

import pytest

from kvraft.raft import HardState, Membership, Node
from kvraft.raft.messages import AppendEntries, Heartbeat, PreVoteReply, RequestVoteReply
from kvraft.raft.types import RECORD_HEADER
from tests.raft.single import (
    acknowledge,
    campaign,
    leader_role,
    make_entries,
    make_leader,
    make_node,
    pre_campaign,
    settle,
    take,
    terms_of,
)

THREE = Membership(range(3))


def commits(*acknowledged: int, members: int) -> int:
    """Return a leader's commit index after members 1, 2 … have acknowledged these indexes; it has 4 entries."""
    node = make_leader(members=members)
    node.propose([b"x"] * (4 - node.log.last_index), node.now)
    settle(node)
    for member, index in enumerate(acknowledged, 1):
        if index:
            acknowledge(node, member, index)
    return node.commit


@pytest.mark.parametrize(
    ("members", "acknowledged", "commit"),
    [
        (1, (), 4),
        (2, (0,), 0),
        (2, (3,), 3),
        (3, (0, 0), 0),
        (3, (2, 0), 2),
        (3, (2, 4), 4),
        (4, (4, 0, 0), 0),
        (4, (4, 3, 0), 3),
        (5, (4, 0, 0, 0), 0),
        (5, (4, 3, 0, 0), 3),
        (5, (4, 3, 2, 1), 3),
    ],
)
def test_an_entry_is_committed_when_a_majority_has_stored_it(
    members: int, acknowledged: tuple[int, ...], commit: int
) -> None:
    """The commit index is the highest index that a majority of match indexes has reached (Leaders 4)."""
    assert commits(*acknowledged, members=members) == commit


def test_row_03_a_cluster_of_one_waits_for_its_disk() -> None:
    """A leader alone commits nothing before its own sync: it counts like any other disk (row 3)."""
    node = make_node(members=1)
    pre_campaign(node)
    settle(node)
    node.propose([b"x"], node.now)
    ready = take(node)
    assert (node.commit, len(ready.entries), ready.committed) == (1, 1, ())
    node.advance(ready)
    assert node.commit == 2


@pytest.mark.parametrize(("members", "others"), [(2, 1), (3, 1), (5, 2)])
def test_row_03_the_leaders_own_entry_counts_when_it_is_durable(members: int, others: int) -> None:
    """With its save under way the leader is one short of a majority; the sync completes it (row 3)."""
    node = make_leader(members=members)
    node.propose([b"x"], node.now)
    ready = node.ready()
    for member in range(1, others + 1):
        acknowledge(node, member, 2)
    assert node.commit == 1  # the empty entry, which is durable everywhere
    node.advance(ready)
    assert node.commit == 2
    assert node.ready().committed[-1].index == 2


def test_the_others_disks_can_commit_without_the_leaders() -> None:
    """A majority without the leader counts: its slow disk delays no commit (§5.3, thesis §10.2.1)."""
    node = make_leader()
    node.propose([b"x"], node.now)
    node.ready()
    acknowledge(node, 1, 2)
    acknowledge(node, 2, 2)
    assert node.commit == 2


def test_an_entry_of_an_older_term_is_never_committed_by_counting() -> None:
    """Entries of older terms are committed only by one of the leader's own term after them (§5.4.2, Figure 8)."""
    node = make_leader(1, 2, members=5, term=3)
    acknowledge(node, 1, 2)
    acknowledge(node, 2, 2)
    acknowledge(node, 3, 2)
    acknowledge(node, 4, 2)
    assert node.commit == 0
    acknowledge(node, 1, 3)
    acknowledge(node, 2, 3)
    assert node.commit == 3
    assert terms_of(take(node).committed) == (1, 2, 4)


def test_a_new_leaders_empty_entry_commits_what_came_before() -> None:
    """Without a client the empty entry of the new term commits the older ones (§8)."""
    node = make_leader(1, 1)
    assert terms_of(node) == (1, 1, 2)
    acknowledge(node, 2, 3)
    assert node.commit == 3


def test_row_38_the_commit_index_of_a_leader_never_goes_back() -> None:
    """What was committed stays so, even if a member that had stored it comes back empty (row 38)."""
    node = make_leader(members=5)
    node.propose([b"x"], node.now)
    settle(node)
    for member in (1, 2):
        acknowledge(node, member, 2)
    node.peer_forgot(1, node.now)
    acknowledge(node, 3, 1)
    assert node.commit == 2


def test_the_commit_index_travels_with_entries_and_heartbeats() -> None:
    """The leader sends its commit index in every message to its followers (§5.3)."""
    node = make_leader()
    acknowledge(node, 1, 1)
    acknowledge(node, 2, 1)
    settle(node)
    node.propose([b"x"], node.now)
    node.wake(node.deadline)
    sent = settle(node)
    assert {message.commit for _to, message in sent if isinstance(message, AppendEntries | Heartbeat)} == {1}


@pytest.mark.parametrize(
    ("stored", "matched", "told", "commit"), [(3, 2, 3, 2), (3, 2, 1, 1), (3, 3, 3, 3), (0, 0, 9, 0)]
)
def test_a_heartbeat_commits_no_further_than_the_log_matches(stored: int, matched: int, told: int, commit: int) -> None:
    """What stands after the known match may conflict with the leader's log and must not be applied (§5.3)."""
    node = make_node(*[1] * stored, term=2)
    node.step(1, AppendEntries(2, 0, 0, commit=0, entries=make_entries(*[1] * matched)), 0.1)
    node.step(1, Heartbeat(2, commit=told, round=0), 0.1)
    assert node.commit == commit


def test_a_heartbeat_commits_nothing_on_a_node_whose_log_is_not_known_to_match() -> None:
    """In a new term nothing is known to match, whatever matched the leader before."""
    node = make_node(term=1)
    node.step(1, AppendEntries(1, 0, 0, commit=0, entries=make_entries(1, 1)), 0.1)
    node.step(2, Heartbeat(2, commit=2, round=0), 0.1)
    assert node.commit == 0
    node.step(2, AppendEntries(2, 1, 1, commit=2, entries=make_entries(2, first=2)), 0.1)
    assert (node.commit, terms_of(take(node).committed)) == (2, (1, 2))


def test_a_failed_candidacy_forgets_what_matched_the_leader_before() -> None:
    """A campaign begins a term whose leader is unknown, so nothing is known to match it."""
    node = make_node(term=1)
    node.step(1, AppendEntries(1, 0, 0, commit=0, entries=make_entries(1, 1)), 0.1)
    settle(node)
    campaign(node)
    node.step(2, Heartbeat(2, commit=2, round=0), node.now)
    assert (node.term, node.commit) == (2, 0)


def test_committed_entries_are_given_out_once_and_in_order() -> None:
    """If commitIndex > lastApplied the next entries are applied, each once (Figure 2, All Servers 1)."""
    node = make_node(term=1)
    node.step(1, AppendEntries(1, 0, 0, commit=2, entries=make_entries(1, 1, 1)), 0.1)
    assert take(node).committed == make_entries(1, 1)
    node.step(1, Heartbeat(1, commit=3, round=0), 0.1)
    assert take(node).committed == make_entries(1, first=3)
    node.step(1, Heartbeat(1, commit=3, round=0), 0.1)
    assert take(node).committed == ()


def test_the_commit_index_is_saved_along_and_never_alone() -> None:
    """The saved commit index is a hint: it spares a restarted node a wait, and causes no save of its own."""
    node = make_node(term=1)
    node.step(1, AppendEntries(1, 0, 0, commit=0, entries=make_entries(1, 1)), 0.1)
    settle(node)
    node.step(1, Heartbeat(1, commit=2, round=0), 0.1)
    assert not take(node).needs_save
    node.step(1, AppendEntries(1, 2, 1, commit=2, entries=make_entries(1, first=3)), 0.1)
    assert take(node).hard_state == HardState(1, None, 2)


def test_a_restarted_node_applies_what_it_knows_to_be_committed() -> None:
    """The state machine is volatile here: a restart applies the log again, from the first entry on."""
    stored = HardState(1, None, 2)
    node = Node(0, THREE, now=0.0, random=Random(0), hard_state=stored, entries=make_entries(1, 1, 1))
    assert (node.commit, take(node).committed) == (2, make_entries(1, 1))
    cut_off = Node(0, THREE, now=0.0, random=Random(0), hard_state=stored, entries=make_entries(1))
    assert cut_off.commit == 1


def test_a_joint_majority_is_needed_to_commit() -> None:
    """While the membership changes both majorities must have stored an entry; learners count for nothing (§6)."""
    node = make_node(membership=Membership([0, 1, 2], outgoing=[0, 3, 4], learners=[5]))
    campaign(node)
    node.step(3, PreVoteReply(1, granted=True), node.now)
    settle(node)
    for voter in (1, 3):
        node.step(voter, RequestVoteReply(1, granted=True), node.now)
    settle(node)
    for member in (1, 2, 5):
        acknowledge(node, member, 1)
    assert node.commit == 0
    acknowledge(node, 4, 1)
    assert node.commit == 1


def test_uncommitted_bytes_are_counted_from_the_leaders_own_term_on() -> None:
    """Entries of an older leader do not count against the limits of this one's clients."""
    node = make_leader(1, 1)
    assert leader_role(node).uncommitted_bytes == RECORD_HEADER.size
    acknowledge(node, 1, 3)
    assert leader_role(node).uncommitted_bytes == 0
