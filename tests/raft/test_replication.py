"""Log replication, rule by rule: AppendEntries at the follower, and how a leader sends it (Figure 2; §5.3)."""

import pytest

from kvraft.raft import EntryKind, HardState, Message, NotLeader, ProposalRefused, RaftOptions, Ready, SoftState
from kvraft.raft.messages import AppendEntries, AppendEntriesReply, Heartbeat, HeartbeatReply
from kvraft.raft.progress import State
from kvraft.raft.types import RECORD_HEADER, Entry, Role
from tests.raft.network import Network
from tests.raft.single import (
    Sent,
    acknowledge,
    leader_role,
    make_entries,
    make_leader,
    make_node,
    settle,
    take,
    terms_of,
)

OPTIONS = RaftOptions()


def appends(sent: Sent, to: int) -> list[AppendEntries]:
    """Return the AppendEntries among messages to one member."""
    return [message for receiver, message in sent if receiver == to and isinstance(message, AppendEntries)]


# The receiver's rules.


def test_receiver_1_an_older_leader_is_refused_and_changes_nothing() -> None:
    """AppendEntries of an older term is answered with false and the newer term (Figure 2, AppendEntries 1)."""
    node = make_node(1, term=5)
    deadline = node.deadline
    node.step(2, AppendEntries(4, 1, 1, commit=1, entries=make_entries(4, first=2)), 0.1)
    refusal = AppendEntriesReply(5, success=False, prev_index=1, index=0)
    assert take(node) == Ready(messages=((2, refusal),))
    assert (node.deadline, node.leader, node.commit) == (deadline, None, 0)


@pytest.mark.parametrize(
    ("mine", "prev_index", "prev_term", "index", "hint_term"),
    [
        ((), 3, 1, 0, 0),  # nothing here at all
        ((1, 1), 5, 1, 2, 1),  # too short: look at my end
        ((1, 1), 5, 3, 2, 1),
        ((1, 1, 2, 2), 4, 3, 4, 2),  # another term there, but an earlier one: the leader may hold it
        ((1, 1, 4, 4), 4, 3, 2, 1),  # a later term there: after all of it
        ((4, 4, 4), 3, 3, 0, 0),
    ],
)
def test_receiver_2_a_gap_or_a_mismatch_is_refused_with_a_hint(
    mine: tuple[int, ...], prev_index: int, prev_term: int, index: int, hint_term: int
) -> None:
    """False unless the log holds prev_index with prev_term; the hint lets the leader skip terms (AppendEntries 2)."""
    node = make_node(*mine)
    new = make_entries(5, first=prev_index + 1)
    node.step(2, AppendEntries(5, prev_index, prev_term, commit=9, entries=new), 0.1)
    refusal = AppendEntriesReply(5, success=False, prev_index=prev_index, index=index, hint_term=hint_term)
    assert take(node) == Ready(
        messages=((2, refusal),), hard_state=HardState(5), soft_state=SoftState(Role.FOLLOWER, 5, 2)
    )
    assert terms_of(node) == mine


def test_receiver_3_a_conflict_cuts_the_log_from_there_on() -> None:
    """An entry of another term at the same index goes, with all that follow it (AppendEntries 3; §5.3)."""
    node = make_node(1, 2, 2, 2)
    node.step(1, AppendEntries(3, 1, 1, commit=0, entries=make_entries(3, first=2)), 0.1)
    ready = take(node)
    assert ready.entries == make_entries(3, first=2)
    assert ready.hard_state == HardState(3)
    assert terms_of(node) == (1, 3)
    assert ready.replies == ((1, AppendEntriesReply(3, success=True, prev_index=1, index=2)),)


def test_receiver_3_an_older_message_that_comes_late_cuts_nothing() -> None:
    """What matches stays, also after the last new entry: only a conflict deletes (AppendEntries 3; §5.3)."""
    node = make_node(term=1)
    node.step(1, AppendEntries(1, 0, 0, commit=0, entries=make_entries(1, 1, 1)), 0.1)
    settle(node)
    node.step(1, AppendEntries(1, 0, 0, commit=0, entries=make_entries(1)), 0.1)
    ready = take(node)
    assert ready.entries == ()
    assert node.log.last_index == 3
    assert ready.replies == ((1, AppendEntriesReply(1, success=True, prev_index=0, index=3)),)


def test_receiver_4_only_entries_that_are_missing_are_appended() -> None:
    """Entries that are there already are not saved again (AppendEntries 4)."""
    node = make_node(1, 1, 1)
    node.step(1, AppendEntries(2, 1, 1, commit=0, entries=make_entries(1, 1, 2, 2, first=2)), 0.1)
    assert take(node).entries == make_entries(2, 2, first=4)


@pytest.mark.parametrize(
    ("leader_commit", "count", "commit"),
    [(0, 2, 0), (2, 2, 2), (3, 2, 3), (9, 2, 3), (9, 0, 1), (9, 4, 5)],
)
def test_receiver_5_the_commit_index_follows_no_further_than_the_last_new_entry(
    leader_commit: int, count: int, commit: int
) -> None:
    """The commit index becomes the smaller of the leader's and the last new entry's (AppendEntries 5).

    What stands after the last new entry may still conflict with the leader's log.
    """
    node = make_node(1, 1, 1, 1, 1)
    entries = make_entries(*[1] * count, first=2)
    node.step(1, AppendEntries(2, 1, 1, commit=leader_commit, entries=entries), 0.1)
    assert node.commit == commit
    assert take(node).committed == make_entries(*[1] * commit)


def test_the_commit_index_of_a_follower_never_goes_back() -> None:
    """The commit index increases monotonically (Figure 2, volatile state; row 38)."""
    node = make_node(1, 1, commit=2)
    node.step(1, AppendEntries(2, 0, 0, commit=0, entries=make_entries(1)), 0.1)
    node.step(1, Heartbeat(2, commit=1, round=0), 0.1)
    assert node.commit == 2


def test_row_03_an_acknowledgement_waits_for_the_disk() -> None:
    """Success promises that the entries are durable: it is a reply, with the entries in the same Ready (row 3)."""
    node = make_node(term=1)
    node.step(1, AppendEntries(1, 0, 0, commit=0, entries=make_entries(1, 1)), 0.1)
    ready = take(node)
    assert (ready.messages, ready.entries) == ((), make_entries(1, 1))
    assert ready.replies == ((1, AppendEntriesReply(1, success=True, prev_index=0, index=2)),)


def test_row_26_a_slow_disk_holds_back_every_acknowledgement_and_no_heartbeat() -> None:
    """While a save hangs a follower still confirms its leader, and acknowledges nothing (row 26)."""
    network = Network(3)
    leader = network.elect()
    slow, other = sorted({0, 1, 2} - {leader})
    network.set_disk_delay(slow, 5.0)
    before = network.node(leader).log.last_index
    for number in range(5):
        network.propose(leader, b"%d" % number)
        network.run(0.1)
    progress = leader_role(network.node(leader)).progress
    assert (progress[slow].match, progress[other].match) == (before, before + 5)
    assert network.now - progress[slow].last_contact < 0.2
    assert network.leader == leader
    assert len(network.machines[slow].saves) >= 2  # several Readys are outstanding


def test_one_acknowledgement_a_turn_stands_for_all() -> None:
    """Two messages of one turn are acknowledged once, by the highest entry that matches."""
    node = make_node(term=1)
    node.step(1, AppendEntries(1, 0, 0, commit=0, entries=make_entries(1)), 0.1)
    node.step(1, AppendEntries(1, 1, 1, commit=0, entries=make_entries(1, first=2)), 0.1)
    assert take(node).replies == ((1, AppendEntriesReply(1, success=True, prev_index=1, index=2)),)


def test_an_acknowledgement_of_a_truncated_entry_is_never_sent() -> None:
    """If a new leader cuts entries off in the same turn, the old leader gets no acknowledgement of them."""
    node = make_node(term=1)
    node.step(1, AppendEntries(1, 0, 0, commit=0, entries=make_entries(1, 1)), 0.1)
    node.step(2, AppendEntries(2, 0, 0, commit=0, entries=make_entries(2)), 0.1)
    ready = take(node)
    assert ready.entries == make_entries(2)
    assert ready.replies == ((2, AppendEntriesReply(2, success=True, prev_index=0, index=1)),)


@pytest.mark.parametrize("message", [Heartbeat(1, 0, 0), AppendEntries(1, 0, 0, 0), AppendEntries(1, 9, 1, 0)])
def test_the_leaders_word_resets_the_election_timer(message: Message) -> None:
    """AppendEntries from the current leader, matching or not, holds back an election (Figure 2, Followers 2)."""
    node = make_node(term=1)
    node.step(2, message, 0.2)
    assert node.deadline >= 0.2 + OPTIONS.election_timeout_min
    assert node.leader == 2


# The leader's rules.


def test_only_a_leader_takes_proposals() -> None:
    """A follower redirects to its leader (§8)."""
    node = make_node(term=1)
    node.step(2, Heartbeat(1, 0, 0), 0.1)
    with pytest.raises(NotLeader) as caught:
        node.propose([b"x"], 0.1)
    assert caught.value.leader == 2
    with pytest.raises(NotLeader) as caught:
        make_node().propose([b"x"], 0.1)
    assert caught.value.leader is None


def test_a_proposal_becomes_an_entry_that_is_sent_and_saved_at_once() -> None:
    """A leader appends the command and sends it to all in parallel, without waiting for its disk (Leaders 2; §5.3)."""
    node = make_leader()
    acknowledge(node, 1, 1)
    acknowledge(node, 2, 1)
    settle(node)
    assert node.propose([b"a", b"b"], node.now) == (1, 2)
    entries = (Entry.create(1, 2, EntryKind.COMMANDS, b"a"), Entry.create(1, 3, EntryKind.COMMANDS, b"b"))
    append = AppendEntries(1, prev_index=1, prev_term=1, commit=1, entries=entries)
    ready = take(node)
    assert ready == Ready(messages=((1, append), (2, append)), hard_state=HardState(1, 0, 1), entries=entries)
    assert ready.messages[0][1] is ready.messages[1][1]  # encoded once for all


def test_a_new_leader_probes_from_the_end_of_its_log() -> None:
    """NextIndex begins after the leader's log as it was, matchIndex at 0 (Figure 2, volatile state on leaders)."""
    node = make_leader(1, 1, 2)
    progress = leader_role(node).progress[1]
    assert (progress.next, progress.match, progress.state, progress.probing) == (4, 0, State.PROBE, True)
    node.propose([b"x"], node.now)
    assert appends(settle(node), 1) == []  # one probe at a time


def test_success_moves_the_marks_of_a_member() -> None:
    """A successful AppendEntries updates nextIndex and matchIndex (Figure 2, Leaders 3)."""
    node = make_leader(1, 1, 2)
    node.propose([b"x"], node.now)
    acknowledge(node, 1, 4)
    progress = leader_role(node).progress[1]
    assert (progress.next, progress.match, progress.state) == (5, 4, State.REPLICATE)
    (append,) = appends(settle(node), 1)
    assert (append.prev_index, append.prev_term, terms_of(append.entries)) == (4, 3, (3,))
    assert progress.next == 6


@pytest.mark.parametrize(
    ("index", "hint_term", "prev"),
    [
        (6, 1, 3),  # the member's log ends at 6 in term 1: after the leader's last entry of term 1
        (2, 1, 2),
        (0, 0, 0),
        (5, 4, 5),
    ],
)
def test_a_refusal_moves_the_next_probe_back_by_whole_terms(index: int, hint_term: int, prev: int) -> None:
    """After a refusal nextIndex is decreased and the send tried again (Figure 2, Leaders 3; §5.3)."""
    node = make_leader(1, 1, 1, 4, 4, 5, 5)
    refusal = AppendEntriesReply(6, success=False, prev_index=7, index=index, hint_term=hint_term)
    node.step(1, refusal, node.now)
    (append,) = appends(settle(node), 1)
    assert append.prev_index == prev
    assert append.prev_term == ((0, 1, 1, 1, 4, 4, 5, 5)[prev])
    assert len(append.entries) == 8 - prev
    assert appends(settle(node), 2) == []


def test_a_refusal_of_an_older_probe_is_ignored() -> None:
    """Only the answer to the probe that is on its way moves anything."""
    node = make_leader(1, 1, 1)
    node.step(1, AppendEntriesReply(2, success=False, prev_index=2, index=0), node.now)
    assert (leader_role(node).progress[1].next, settle(node)) == (4, ())


def test_a_late_refusal_does_not_disturb_what_is_known_to_match() -> None:
    """While entries are pipelined a refusal of something that matches since is stale."""
    node = make_leader(1, 1, 1)
    acknowledge(node, 1, 4)
    settle(node)
    node.step(1, AppendEntriesReply(2, success=False, prev_index=3, index=0), node.now)
    assert leader_role(node).progress[1].state is State.REPLICATE
    node.propose([b"x"], node.now)
    settle(node)
    node.step(1, AppendEntriesReply(2, success=False, prev_index=5, index=4, hint_term=2), node.now)
    assert [append.prev_index for append in appends(settle(node), 1)] == [4]


def test_row_38_a_match_index_never_goes_back() -> None:
    """A match index increases monotonically: an overtaken acknowledgement changes nothing (Figure 2; row 38)."""
    node = make_leader(1, 1, 1)
    acknowledge(node, 1, 4)
    acknowledge(node, 1, 2)
    assert (leader_role(node).progress[1].match, leader_role(node).progress[1].next) == (4, 5)


def test_answers_of_an_older_term_and_of_strangers_are_ignored() -> None:
    """What was acknowledged to an older leader means nothing in this term (§5.3)."""
    node = make_leader(1, 1, term=5)
    before = leader_role(node).progress[1].last_contact
    node.step(1, AppendEntriesReply(5, success=True, prev_index=0, index=3), node.now + 0.1)
    node.step(1, HeartbeatReply(5, 0), node.now + 0.1)
    node.step(9, AppendEntriesReply(6, success=True, prev_index=0, index=3), node.now)
    assert (leader_role(node).progress[1].match, leader_role(node).progress[1].last_contact) == (0, before)


def test_a_leader_ignores_answers_after_it_stepped_down() -> None:
    """Acknowledgements to a leader that no longer leads commit nothing."""
    node = make_leader()
    node.step(1, HeartbeatReply(5, 0), node.now)
    node.step(2, AppendEntriesReply(1, success=True, prev_index=0, index=1), node.now)
    assert (node.commit, node.term) == (0, 5)


def test_entries_are_pipelined_within_a_window_of_messages() -> None:
    """A member in step is sent to without waiting, until so many messages are unanswered."""
    node = make_leader(options=RaftOptions(inflight_messages_max=2))
    acknowledge(node, 1, 1)
    sent = []
    for number in range(4):
        node.propose([b"%d" % number], node.now)
        sent += appends(settle(node), 1)
    assert [append.prev_index for append in sent] == [1, 2]
    acknowledge(node, 1, 2)
    assert [(append.prev_index, len(append.entries)) for append in appends(settle(node), 1)] == [(3, 2)]


def test_entries_are_pipelined_within_a_window_of_bytes() -> None:
    """The window closes when the bytes in flight have reached the limit, and opens with an acknowledgement."""
    node = make_leader(options=RaftOptions(inflight_bytes_max=2 * (RECORD_HEADER.size + 100)))
    acknowledge(node, 1, 1)
    for _number in range(4):
        node.propose([b"x" * 100], node.now)
        settle(node)
    progress = leader_role(node).progress[1]
    assert (progress.next, progress.inflight_bytes) == (4, 2 * (RECORD_HEADER.size + 100))
    acknowledge(node, 1, 2)
    settle(node)
    assert progress.next == 6


def test_a_message_carries_no_more_bytes_than_allowed_but_at_least_one_entry() -> None:
    """A long log goes out in pieces; an entry larger than a piece travels alone."""
    node = make_leader(options=RaftOptions(append_bytes_max=2 * (RECORD_HEADER.size + 10)))
    acknowledge(node, 1, 1)
    node.propose([b"x" * 10, b"y" * 10, b"z" * 10, b"large" * 100, b"z"], node.now)
    assert [len(append.entries) for append in appends(settle(node), 1)] == [2, 1, 1, 1]


def test_a_message_carries_no_more_entries_than_allowed() -> None:
    """Many short entries go out in pieces too: each costs its receiver, however short it is."""
    node = make_leader(options=RaftOptions(append_entries_max=2))
    acknowledge(node, 1, 1)
    node.propose([b"x"] * 5, node.now)
    assert [len(append.entries) for append in appends(settle(node), 1)] == [2, 2, 1]


def test_proposals_are_refused_while_too_much_waits_for_a_quorum() -> None:
    """The uncommitted bytes are bounded, and room comes back with the commit."""
    size = RECORD_HEADER.size + 100
    node = make_leader(options=RaftOptions(uncommitted_bytes_max=2 * size))
    acknowledge(node, 1, 1)
    node.propose([b"x" * 100], node.now)
    node.propose([b"x" * 100], node.now)
    last = node.log.last_index
    with pytest.raises(ProposalRefused):
        node.propose([b"x"], node.now)
    assert node.log.last_index == last
    settle(node)
    acknowledge(node, 1, 2)
    assert leader_role(node).uncommitted_bytes == size
    assert node.propose([b"x"], node.now) == (1, 4)


def test_a_probe_is_not_followed_by_another_before_its_answer() -> None:
    """While a probe is on its way nothing more is sent, however often the leader is asked."""
    node = make_leader()
    node.propose([b"x"], node.now)
    assert not [message for message in take(node).messages if isinstance(message[1], AppendEntries)]
    assert not node.has_ready()


def test_a_lost_probe_is_sent_again_when_heartbeats_are_answered() -> None:
    """A leader retries AppendEntries for ever (§5.3), but not to a member that answers nothing."""
    node = make_leader()
    assert leader_role(node).progress[1].probing
    later = node.now + 3 * OPTIONS.heartbeat_interval
    node.step(1, HeartbeatReply(1, 0), later)
    assert [append.prev_index for append in appends(settle(node), 1)] == [0]
    node.step(1, HeartbeatReply(1, 0), later + 0.01)
    assert settle(node) == ()


def test_a_lost_message_in_the_pipeline_is_found_out() -> None:
    """When the last message is lost no refusal shows it: answered heartbeats do, after a while."""
    node = make_leader()
    acknowledge(node, 1, 1)
    node.propose([b"x"], node.now)
    settle(node)
    node.step(1, HeartbeatReply(1, 0), node.now + OPTIONS.election_timeout_max)
    assert settle(node) == ()
    node.step(1, HeartbeatReply(1, 0), node.now + 2 * OPTIONS.election_timeout_max)
    assert [append.prev_index for append in appends(settle(node), 1)] == [1]


def test_a_new_connection_is_probed_at_once() -> None:
    """What was on the old connection may be lost, so the leader begins again from what is certain."""
    node = make_leader()
    acknowledge(node, 1, 1)
    node.propose([b"x"], node.now)
    settle(node)
    node.peer_connected(1, node.now)
    assert [append.prev_index for append in appends(settle(node), 1)] == [1]
    node.peer_lost(1, node.now)
    node.peer_connected(2, node.now)
    assert leader_role(node).progress[1].state is State.PROBE


def test_row_09_a_restarted_member_is_told_what_is_committed_without_a_new_write() -> None:
    """A probe may be empty: a node that restarts with the whole log learns that it matches, and applies it (row 9)."""
    network = Network(3)
    leader = network.elect()
    network.propose(leader, b"x")
    network.run_until(network.agrees)
    network.crash((leader + 1) % 3)
    network.restart((leader + 1) % 3)
    network.run_until(network.agrees, at_most=0.5)


def test_row_09_a_member_that_doubted_its_leader_still_applies_what_is_committed() -> None:
    """What matches this term's leader goes on matching it, also across a pre-vote (row 9)."""
    node = make_node(term=1)
    node.step(1, AppendEntries(1, 0, 0, commit=0, entries=make_entries(1, 1)), 0.1)
    node.wake(node.deadline)
    node.step(1, Heartbeat(1, commit=2, round=0), node.now)
    assert node.commit == 2
    node.step(2, Heartbeat(2, commit=2, round=0), node.now)
    assert node.match_index == 0


def test_row_09_all_members_apply_the_same_after_a_failover() -> None:
    """Committed entries are applied, in order, by the new leader and everyone else (row 9; All Servers 1)."""
    network = Network(5)
    leader = network.elect()
    for number in range(10):
        network.propose(leader, b"%d" % number)
    network.run_until(lambda: len(network.acknowledged) == 10)
    network.crash(leader)
    successor = network.elect()
    assert successor != leader
    network.restart(leader)
    network.run_until(network.agrees)
    assert [entry.payload for entry in network.machines[successor].applied if entry.kind == EntryKind.COMMANDS] == [
        b"%d" % number for number in range(10)
    ]


def test_a_member_that_lost_its_log_is_filled_again() -> None:
    """A member that comes back empty and says so gets everything; what it acknowledged before no longer counts."""
    node = make_leader(1, 1, members=5)
    acknowledge(node, 1, 3)
    settle(node)
    node.peer_forgot(1, node.now)
    acknowledge(node, 2, 3)
    assert node.commit == 0
    (append,) = appends(settle(node), 1)
    assert append.prev_index == 3
    node.step(1, AppendEntriesReply(2, success=False, prev_index=3, index=0), node.now)
    (append,) = appends(settle(node), 1)
    assert (append.prev_index, len(append.entries)) == (0, 3)


@pytest.mark.parametrize(
    "options", [RaftOptions(apply_bytes_max=2 * (RECORD_HEADER.size + 3)), RaftOptions(apply_entries_max=2)]
)
def test_a_backlog_is_given_out_in_pieces(options: RaftOptions) -> None:
    """One Ready hands out no more committed bytes and entries than allowed, and the next goes on from there."""
    node = make_leader(options=options)
    acknowledge(node, 1, 1)
    settle(node)
    node.propose([b"abc"] * 5, node.now)
    settle_once = take(node)
    node.advance(settle_once)
    acknowledge(node, 1, 6)
    pieces = []
    while node.has_ready():
        ready = take(node)
        node.advance(ready)
        pieces.append([entry.index for entry in ready.committed])
    assert pieces == [[2, 3], [4, 5], [6]]
