"""Compaction and InstallSnapshot in the core (§7, Figure 13; rows 16 to 18)."""

import random

import pytest

from kvraft.raft import EntryKind, HardState, InvariantViolated, Membership, MessageRefused, Node
from kvraft.raft.invariants import check
from kvraft.raft.log import Log
from kvraft.raft.messages import (
    AppendEntries,
    AppendEntriesReply,
    Heartbeat,
    InstallSnapshot,
    InstallSnapshotReply,
    Message,
    TimeoutNow,
)
from kvraft.raft.progress import Progress, State
from kvraft.raft.types import Entry
from tests.raft.single import (
    acknowledge,
    acknowledge_by,
    leader_role,
    make_entries,
    make_leader,
    make_node,
    make_sure_leader,
    settle,
    take,
    without_time,
)

FILE = "0123456789abcdef" * 2
THREE = Membership(range(3))


def piece(
    index: int = 5, *, term: int = 3, index_term: int = 2, size: int = 9, offset: int = 0, data: bytes = b""
) -> InstallSnapshot:
    """Return a piece of a snapshot."""
    return InstallSnapshot(term, FILE, index, index_term, size, offset, data)


def compacted_leader(*terms: int, behind: int) -> Node:
    """Return a leader that has committed all and whose log begins after an entry."""
    node = make_sure_leader(*terms)
    node.compact(behind)
    return node


# Compaction.


def test_a_log_that_begins_later_keeps_its_indexes() -> None:
    """What is compacted is gone, the last included entry is kept for the consistency check (§7)."""
    log = Log(make_entries(1, 1, 2, 3, 3))
    size = log.size
    log.compact(3)
    assert [log.term_at(index) for index in range(2, 7)] == [None, 2, 3, 3, None]
    assert (log.last_index, log.last_term, log.durable, log.handed_over) == (5, 3, 5, 5)
    assert log.slice(4, 5) == make_entries(3, 3, first=4)
    assert log.size == sum(len(entry.record) for entry in make_entries(3, 3, first=4)) < size
    with pytest.raises(InvariantViolated, match="cannot be compacted to 6"):
        log.compact(6)


def test_a_log_can_be_compacted_to_its_end() -> None:
    """A log without entries ends where the snapshot ends."""
    log = Log(make_entries(1, 2))
    log.compact(2)
    assert (log.last_index, log.last_term, log.size) == (2, 2, 0)
    assert log.is_up_to_date(2, 2)
    assert not log.is_up_to_date(9, 1)
    log.append(Entry.create(2, 3, EntryKind.EMPTY, b""))
    assert log.take_unsaved() == (log[3],)


def test_only_what_was_given_out_to_be_applied_is_compacted() -> None:
    """A log never begins after an entry that the state machine has not seen (§7)."""
    node = make_node(1, 1, 1, commit=2)
    node.compact(3)
    assert node.log.snapshot_index == 2
    check(node)


def test_compacting_less_than_before_changes_nothing() -> None:
    """A snapshot that is finished after a newer one was installed finds its part of the log gone already."""
    node = make_node(1, 1, 1, commit=3)
    node.compact(3)
    node.compact(2)
    node.compact(3)
    assert node.log.snapshot_index == 3


def test_compaction_keeps_the_configuration_that_a_snapshot_needs() -> None:
    """A snapshot holds the latest configuration up to its last entry, also when its entry is compacted away (§7)."""
    entries = list(make_entries(1, 1, 1, 1, 1))
    later = Membership(range(4))
    entries[2] = Entry.create(1, 3, EntryKind.MEMBERSHIP, later.encode())
    node = Node(0, THREE, now=0.0, random=random.Random(1), hard_state=HardState(1, None, 5), entries=entries)
    assert [node.membership_at(index) for index in (0, 2, 3, 5)] == [THREE, THREE, later, later]
    settle(node)
    node.compact(2)
    assert (node.membership_at(2), node.membership_at(3)) == (THREE, later)
    node.compact(3)
    assert node.memberships == [(3, later)]
    node.compact(4)
    assert (node.membership_at(4), node.membership, node.membership_index) == (later, later, 3)
    check(node)


def test_a_node_begins_with_its_snapshot() -> None:
    """What the snapshot covers is applied and committed; entries of it that the log keeps are not given out again."""
    old = Entry.create(1, 3, EntryKind.MEMBERSHIP, Membership([1, 2]).encode())
    entries = (old, *make_entries(1, 1, first=4))
    node = Node(
        0, THREE, now=0.0, random=random.Random(1), hard_state=HardState(1), entries=entries, snapshot=(2, 1), applied=4
    )
    assert (node.applying, node.commit, node.log.last_index) == (4, 4, 5)
    assert node.memberships == [(4, THREE)]
    node.step(1, AppendEntries(1, 5, 1, 5), 0.1)
    assert tuple(node.ready().committed) == entries[2:]


def test_a_term_that_only_the_snapshot_knows_is_known() -> None:
    """A crash can leave a snapshot that is newer than the hard state; no vote was promised in its term, so none stands.

    Else the node would stand for election in a term older than its log.
    """
    node = Node(0, THREE, now=0.0, random=random.Random(1), hard_state=HardState(1, 1), snapshot=(9, 3), applied=9)
    assert (node.term, node.vote) == (3, None)
    assert take(node).hard_state == HardState(3, None, 9)


# A follower.


def test_row_16_stale_entries_behind_a_snapshot_are_known_already() -> None:
    """An AppendEntries from before the snapshot matches, changes nothing, and is acknowledged as far as is certain."""
    node = make_node(1, 1, 1, 1, commit=4)
    node.compact(3)
    node.step(1, AppendEntries(1, 0, 0, 2, make_entries(1, 1)), 0.1)
    assert settle(node)[-1] == (1, AppendEntriesReply(1, success=True, prev_index=0, index=3))
    assert (node.log.last_index, node.commit) == (4, 4)


def test_entries_that_begin_in_the_snapshot_and_end_behind_it_are_appended() -> None:
    """Of a message that overlaps the snapshot only what is new counts (Figure 2, AppendEntries 3 and 4; row 16)."""
    node = make_node(1, 1, 1, 1, commit=3)
    node.compact(3)
    entries = make_entries(1, 1, 2, 2, first=2)
    node.step(1, AppendEntries(2, 1, 1, 5, entries), 0.1)
    assert [node.log.term_at(index) for index in range(3, 6)] == [1, 2, 2]
    assert node.commit == 5


def test_a_refusal_never_points_behind_the_snapshot() -> None:
    """What the snapshot covers is committed, so the logs agree there at least (§5.3)."""
    node = make_node(1, 1, 2, 2, commit=2)
    node.compact(2)
    node.step(1, AppendEntries(3, 4, 1, 0), 0.1)
    expected = AppendEntriesReply(3, success=False, prev_index=4, index=2, hint_term=1)
    assert settle(node) == ((1, expected),)


def test_pieces_are_passed_on_from_this_terms_leader() -> None:
    """The driver gets what it has to store; the leader is followed and the timer reset (Figure 13)."""
    node = make_node(1, term=1)
    node.step(2, piece(data=b"abc"), 0.2)
    assert take(node).snapshot_pieces == ((2, piece(data=b"abc")),)
    assert (node.term, node.leader) == (3, 2)
    assert node.deadline >= 0.2 + node.options.election_timeout_min


def test_a_piece_of_an_old_term_is_refused() -> None:
    """Reply immediately if term < currentTerm (Figure 13, step 1)."""
    node = make_node(1, term=4)
    deadline = node.deadline
    node.step(2, piece(), 0.1)
    assert settle(node) == ((2, InstallSnapshotReply(4, FILE, 0)),)
    assert node.deadline == deadline


def test_what_is_committed_needs_no_snapshot() -> None:
    """The answer says that the snapshot is superfluous: the leader notes it, and goes on with entries."""
    node = make_node(1, 1, 2, 2, 2, term=3, commit=5)
    node.step(2, piece(), 0.1)
    assert settle(node) == ((2, InstallSnapshotReply(3, FILE, 9, installed=True)),)


def test_that_it_is_superfluous_is_a_promise() -> None:
    """What others' disks have committed may not be on this one yet, and the leader never sends it again."""
    node = make_node(term=3)
    node.step(2, AppendEntries(3, 0, 0, 5, make_entries(1, 2, 2, 2, 2)), 0.1)
    node.step(2, piece(), 0.1)
    ready = take(node)
    assert ready.messages == ()
    assert InstallSnapshotReply(3, FILE, 9, installed=True) in [message for _to, message in ready.replies]


IMPOSSIBLE: dict[str, Message] = {
    "later than the leader's": piece(9, index_term=4),
    "of a snapshot of 9 bytes": piece(9, offset=8, data=b"ab"),
    "contradicts": piece(2, index_term=3),
}


@pytest.mark.parametrize("why", IMPOSSIBLE)
def test_a_piece_that_no_leader_can_send_is_refused(why: str) -> None:
    """Nothing is changed by it."""
    node = make_node(1, 1, term=3, commit=2)
    before = without_time(node)
    with pytest.raises(MessageRefused, match=why):
        node.step(2, IMPOSSIBLE[why], 0.1)
    assert without_time(node) == before


def test_a_snapshot_replaces_a_log_that_does_not_reach_it() -> None:
    """Discard the entire log (Figure 13, step 7); membership and commit index are the snapshot's (step 8)."""
    node = make_node(1, 1, term=3)
    assert node.install_snapshot(5, 2, Membership(range(4)))
    log = node.log
    assert (log.snapshot_index, log.snapshot_term, log.last_index, log.durable, log.size) == (5, 2, 5, 5, 0)
    assert (node.commit, node.applying, node.match_index) == (5, 5, 5)
    assert (node.membership, node.membership_index) == (Membership(range(4)), 5)
    check(node)
    node.step(1, AppendEntries(3, 5, 2, 6, make_entries(3, first=6)), 0.1)
    assert [entry.index for entry in take(node).committed] == [6]


def test_a_snapshot_replaces_a_log_that_differs() -> None:
    """An entry of another term at its end says that what follows it is not the leader's (Figure 13, step 6 and 7)."""
    node = make_node(1, 1, 1, 1, 1, 1, 1, term=3)
    assert node.install_snapshot(5, 2, THREE)
    assert (node.log.last_index, node.log.last_term) == (5, 2)


def test_what_follows_the_last_included_entry_stays() -> None:
    """If the log has the snapshot's last entry, retain what follows (Figure 13, step 6), configurations among it."""
    entries = list(make_entries(1, 1, 1, 1))
    later = Membership(range(5))
    entries[1] = Entry.create(1, 2, EntryKind.MEMBERSHIP, Membership(range(4)).encode())
    entries[3] = Entry.create(1, 4, EntryKind.MEMBERSHIP, later.encode())
    node = Node(0, THREE, now=0.0, random=random.Random(1), hard_state=HardState(1), entries=entries)
    assert node.install_snapshot(3, 1, Membership(range(4)))
    assert (node.log.snapshot_index, node.log.last_index, node.commit) == (3, 4, 3)
    assert node.memberships == [(3, Membership(range(4))), (4, later)]
    check(node)


def test_row_18_a_second_snapshot_and_an_older_one() -> None:
    """Two snapshots in a row are installed one after the other; one that has been overtaken is of no use (row 18)."""
    node = make_node(term=3)
    assert node.install_snapshot(5, 2, THREE)
    assert node.install_snapshot(8, 3, THREE)
    assert not node.install_snapshot(8, 3, THREE)
    assert not node.install_snapshot(5, 2, THREE)
    assert (node.log.snapshot_index, node.commit) == (8, 8)
    check(node)


def test_row_16_a_save_from_before_the_snapshot_makes_nothing_behind_it_durable() -> None:
    """The disk may report an entry that the snapshot has replaced meanwhile."""
    node = make_node(term=3)
    node.step(1, AppendEntries(3, 0, 0, 0, make_entries(1, 1)), 0.1)
    late = node.ready()
    assert node.install_snapshot(5, 2, THREE)
    node.step(1, AppendEntries(3, 5, 2, 5, make_entries(3, first=6)), 0.1)
    node.advance(late)
    assert node.log.durable == 5


# A leader.


def test_a_member_that_lacks_compacted_entries_needs_a_snapshot() -> None:
    """It is sent once, and no entries are sent meanwhile (§7)."""
    node = compacted_leader(1, 1, 1, behind=3)
    node.peer_forgot(1, node.now)
    settle(node)
    refusal = AppendEntriesReply(node.term, success=False, prev_index=4, index=0)
    node.step(1, refusal, node.now)
    assert take(node).snapshots_wanted == (1,)
    assert leader_role(node).progress[1].state is State.SNAPSHOT
    node.propose([b"x"], node.now)
    assert [to for to, message in settle(node) if isinstance(message, AppendEntries)] == [2]
    check(node)


def test_a_member_that_lacks_only_the_first_entry_kept_needs_none() -> None:
    """The entry before it is compacted away, but its term is kept (§7)."""
    node = compacted_leader(1, 1, 1, behind=3)
    node.peer_forgot(1, node.now)
    settle(node)
    node.step(1, AppendEntriesReply(node.term, success=False, prev_index=4, index=3, hint_term=1), node.now)
    sent = [message for to, message in settle(node) if to == 1]
    assert sent == [AppendEntries(2, 3, 1, 4, (node.log[4],))]


def test_a_new_leader_does_not_send_snapshots_because_it_knows_nothing() -> None:
    """A connection that breaks before the first answer is probed where it was, not from the beginning of the log."""
    leader = make_leader(1, 1, 1, commit=3)
    leader.compact(3)
    for _time in range(2):
        leader.peer_lost(1, leader.now)
        leader.peer_connected(1, leader.now)
    assert take(leader).snapshots_wanted == ()
    assert leader_role(leader).progress[1].next == 4


def test_the_answers_to_pieces_are_passed_on() -> None:
    """They are signs of life; those of another term, or of a node that is no member, count for nothing."""
    node = make_sure_leader()
    reply = InstallSnapshotReply(node.term, FILE, 4)
    node.step(1, reply, node.now + 0.3)
    node.step(1, InstallSnapshotReply(node.term - 1, FILE, 4), node.now)
    node.step(7, reply, node.now)
    assert take(node).snapshot_replies == ((1, reply),)
    assert leader_role(node).progress[1].last_contact == node.now
    node.step(1, InstallSnapshotReply(node.term + 1, FILE, 4), node.now)
    assert node.soft_state.leader is None


def test_after_a_snapshot_entries_follow() -> None:
    """What the snapshot covers counts as matched; the next probe goes after it (§7)."""
    node = compacted_leader(1, 1, 1, behind=3)
    progress = leader_role(node).progress[1] = Progress(1)
    assert take(node).snapshots_wanted == (1,)
    node.snapshot_sent(1, 3, node.now)
    assert (progress.match, progress.next, progress.state) == (3, 4, State.PROBE)
    assert [message for to, message in settle(node) if to == 1] == [AppendEntries(2, 3, 1, 4, (node.log[4],))]
    assert progress.match == 3


def test_row_18_a_log_that_was_compacted_meanwhile_needs_another_snapshot() -> None:
    """Two in a row: the leader's log begins later now than what the member has installed (row 18)."""
    node = compacted_leader(1, 1, 1, behind=2)
    leader_role(node).progress[1] = Progress(1)
    settle(node)
    node.compact(4)
    node.snapshot_sent(1, 2, node.now)
    assert take(node).snapshots_wanted == (1,)
    node.snapshot_sent(1, 4, node.now)
    assert take(node).snapshots_wanted == ()


def test_a_snapshot_that_did_not_arrive_is_wanted_again() -> None:
    """What the member has for certain is not changed by it."""
    node = compacted_leader(1, 1, 1, behind=3)
    progress = leader_role(node).progress[1] = Progress(1)
    settle(node)
    node.snapshot_sent(1, None, node.now)
    assert progress.match == 0
    assert take(node).snapshots_wanted == (1,)
    node.snapshot_sent(9, 3, node.now)  # one that has left meanwhile


def test_a_member_that_is_sent_a_snapshot_is_not_given_up() -> None:
    """Heartbeats and their answers go on while the snapshot is on its way (§7)."""
    node = compacted_leader(1, 1, 1, behind=3)
    progress = leader_role(node).progress[1] = Progress(1)
    settle(node)
    for _beat in range(20):
        node.wake(node.deadline)
        assert [to for to, message in settle(node) if isinstance(message, Heartbeat)] == [1, 2]
        for peer in (1, 2):
            node.step(peer, InstallSnapshotReply(node.term, FILE, 1), node.now)
    assert progress.state is State.SNAPSHOT


def test_a_transfer_to_a_member_that_gets_a_snapshot_is_completed() -> None:
    """When the snapshot brings it all that there is, the order goes out (thesis §3.10)."""
    node = compacted_leader(1, 1, behind=3)
    leader_role(node).progress[1] = Progress(1)
    settle(node)
    node.transfer_leadership(1, node.now)
    assert TimeoutNow(2) not in [message for _to, message in settle(node)]
    node.snapshot_sent(1, 3, node.now)
    assert (1, TimeoutNow(2)) in settle(node)


def test_a_snapshot_commits_nothing_by_itself() -> None:
    """The entries after it still need their own majority."""
    node = compacted_leader(1, 1, 1, behind=3)
    leader_role(node).progress[1] = Progress(1)
    settle(node)
    node.propose([b"x"], node.now)
    node.snapshot_sent(1, 3, node.now)
    settle(node)
    assert node.commit == 4
    acknowledge(node, 1, 5)
    assert node.commit == 5
    acknowledge_by(node, 2)


def test_a_former_leader_is_answered_when_the_term_is_durable() -> None:
    """The answer has a term below which this node must not fall back."""
    node = make_node(1, 1)
    node.step(2, Heartbeat(3, 0, 0), node.now)
    node.step(1, piece(term=1, index_term=1), node.now)
    ready = take(node)

    answer = (1, InstallSnapshotReply(3, FILE, 0))
    assert ready.hard_state is not None
    assert answer not in ready.messages
    assert answer in ready.replies
