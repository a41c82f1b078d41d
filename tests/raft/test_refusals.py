"""Messages that no honest member can have sent are refused, and leave the node exactly as it was."""

from typing import Final

import pytest

from kvraft.raft import Message, MessageRefused, Node
from kvraft.raft.messages import AppendEntries, AppendEntriesReply, Heartbeat, HeartbeatReply, PreVote, RequestVote
from kvraft.raft.options import TERM_LEAP_MAX
from kvraft.raft.types import Entry, EntryKind
from tests.raft.single import acknowledge, make_entries, make_leader, make_node, settle, without_time


def make_follower() -> Node:
    """Return a follower of node 2 in term 3 with the log 1 1 3, of which two entries are committed."""
    node = make_node(1, 1, 3, commit=2)
    node.step(2, AppendEntries(3, 3, 3, commit=2), 0.1)
    settle(node)
    return node


def make_busy_leader() -> Node:
    """Return a leader of term 4 with reads and entries under way."""
    node = make_leader(1, 1, 3)
    acknowledge(node, 1, 4)
    settle(node)
    node.read_index("read", node.now)
    node.propose([b"x"], node.now)
    settle(node)
    return node


def append(*entries: Entry, term: int = 3, prev_index: int = 3, prev_term: int = 3) -> AppendEntries:
    """Return AppendEntries that begins after the end of the follower's log."""
    return AppendEntries(term, prev_index, prev_term, commit=9, entries=entries)


FOLLOWERS: Final = {
    "entries that leave a gap": append(*make_entries(3, first=5)),
    "entries that leave a gap between them": append(*make_entries(3, first=4), *make_entries(3, first=6)),
    "entries that repeat an index": append(*make_entries(3, first=4), *make_entries(3, first=4)),
    "terms that decrease": append(*make_entries(3, 2, first=4)),
    "a term older than the one before": append(*make_entries(1, first=4)),
    "an entry of a later term than its leader's": append(*make_entries(4, first=4)),
    "a previous entry of a later term": append(prev_index=9, prev_term=4),
    "another entry where one is committed": append(*make_entries(2, first=2), prev_index=1, prev_term=1),
    "an impossible entry of a later leader": append(*make_entries(9, 8, first=4), term=9),
    "an unknown kind": append(Entry.create(3, 4, 77, b"")),
    "a record without a header": append(Entry(3, 4, EntryKind.COMMANDS, b"short")),
    "an absurd term": Heartbeat(3 + TERM_LEAP_MAX + 1, 0, 0),
    "an absurd term to vote in": RequestVote(3 + TERM_LEAP_MAX + 1, 9, 9, transfer=True),
    "an absurd term to pre-vote in": PreVote(3 + TERM_LEAP_MAX + 1, 9, 9),
}


@pytest.mark.parametrize("message", FOLLOWERS.values(), ids=FOLLOWERS.keys())
def test_a_follower_refuses_and_stays_as_it_is(message: Message) -> None:
    """Nothing is changed by a refused message: no term, no timer, no entry, and nothing is answered."""
    node = make_follower()
    before = without_time(node)
    with pytest.raises(MessageRefused):
        node.step(2, message, 0.2)
    assert without_time(node) == before
    assert not node.has_ready()


@pytest.mark.parametrize("message", [Heartbeat(3, 9, 9), append(*make_entries(3, first=4))], ids=repr)
def test_two_leaders_in_one_term_are_refused(message: Message) -> None:
    """A term has one leader (§5.2): any other is refused, by its followers and by the leader itself."""
    node = make_follower()
    before = without_time(node)
    with pytest.raises(MessageRefused, match="node 1 claims to lead term 3, which node 2 leads"):
        node.step(1, message, 0.2)
    assert without_time(node) == before
    leader = make_leader(1, 1, term=2)
    before = without_time(leader)
    with pytest.raises(MessageRefused, match="which this node leads"):
        leader.step(1, message, leader.now + 0.05)
    assert without_time(leader) == before


LEADERS: Final = {
    "an acknowledgement beyond the log": AppendEntriesReply(4, success=True, prev_index=3, index=6),
    "a round that was never sent": HeartbeatReply(4, 2),
    "an absurd term": HeartbeatReply(4 + TERM_LEAP_MAX + 1, 0),
}


@pytest.mark.parametrize("message", LEADERS.values(), ids=LEADERS.keys())
def test_a_leader_refuses_and_stays_as_it_is(message: Message) -> None:
    """An answer to something that was never asked or sent changes nothing, not even the time of last contact."""
    node = make_busy_leader()
    before = without_time(node)
    with pytest.raises(MessageRefused):
        node.step(2, message, node.now + 0.01)
    assert without_time(node) == before


def test_a_message_from_myself_is_refused() -> None:
    """A member that claims to be this one is misconfigured."""
    node = make_follower()
    before = without_time(node)
    with pytest.raises(MessageRefused):
        node.step(0, Heartbeat(9, 0, 0), 0.2)
    assert without_time(node) == before


def test_the_highest_believable_term_is_believed() -> None:
    """At the limit of the leap a message is taken."""
    node = make_follower()
    node.step(1, Heartbeat(3 + TERM_LEAP_MAX, 0, 0), 0.2)
    assert (node.term, node.leader) == (3 + TERM_LEAP_MAX, 1)


def test_a_dump_tells_two_states_apart() -> None:
    """The comparison of these tests sees every change that a message makes."""
    node = make_follower()
    before = without_time(node)
    node.step(2, Heartbeat(3, 2, 0), 0.2)
    assert without_time(node) != before
