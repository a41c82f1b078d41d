"""What may happen to a log and by whose word, and how often a write may happen: each rule, broken and kept."""

import copy
from random import Random

import attrs
import pytest

from kvraft.commands import Mutation, delete_key, encode_batch, set_key
from kvraft.raft import Entry, EntryKind, HardState, InvariantViolated, Membership, Node, RaftOptions
from kvraft.raft.roles import Candidate, Follower
from kvraft.simulation import Cluster
from kvraft.simulation.cluster import LIMITS
from kvraft.simulation.conduct_of_logs import Marks, Tail, Votes, check_allegiance, check_amount, check_removal
from kvraft.simulation.history import Action, Operation, Outcome
from kvraft.simulation.writes import check_writes


def node_with(*terms: int, term: int = 9, vote: int | None = None) -> Node:
    """Return node 0 of three, with entries of these terms."""
    entries = [Entry.create(each, index, EntryKind.COMMANDS, b"") for index, each in enumerate(terms, 1)]
    return Node(0, Membership(range(3)), now=0.0, random=Random(0), hard_state=HardState(term, vote), entries=entries)


def tail_of(node: Node) -> Tail:
    """Return what watches the tail of its log, and has seen it."""
    tail = Tail()
    tail.after_change(node)
    return tail


@pytest.mark.parametrize("terms", [(1, 1, 1), (1, 2, 3)], ids=["one term", "many"])
def test_a_log_that_is_cut_without_a_conflict_is_noticed(terms: tuple[int, ...]) -> None:
    """Whatever stands before the cut stood there already (§5.3)."""
    node = node_with(*terms)
    tail = tail_of(node)

    node.log.truncate_from(3)

    with pytest.raises(InvariantViolated, match="without a conflicting entry"):
        tail.after_change(node)


def test_a_log_that_is_cut_for_other_entries_is_right() -> None:
    """A later leader's entry stands where the cut began."""
    node = node_with(1, 2, 2, 2)
    tail = tail_of(node)

    node.log.truncate_from(2)
    node.log.append(Entry.create(3, 2, EntryKind.EMPTY, b""))

    tail.after_change(node)


def test_a_log_that_begins_anew_behind_a_snapshot_is_right() -> None:
    """The log had another entry there (§7)."""
    node = node_with(1, 2, 2, 2)
    tail = tail_of(node)

    node.log.restart_after(3, 3)

    tail.after_change(node)


def test_a_vote_for_a_shorter_log_is_noticed() -> None:
    """Be its owner sent by the leader or not (§5.4.1)."""
    votes = Votes()
    votes.asks(1, term=9, last_term=2, last_index=1)

    with pytest.raises(InvariantViolated, match="votes in term 9 for node 1"):
        votes.after_change(node_with(1, 2, vote=1))


@pytest.mark.parametrize("node", [node_with(1, vote=1), node_with(1, 9, vote=1), node_with(1, 2, vote=0), node_with(1)])
def test_other_votes_are_right(node: Node) -> None:
    """For a log as good, for a leader that has sent its entries already, for oneself, and none."""
    votes = Votes()
    votes.asks(1, term=9, last_term=1, last_index=1)

    votes.after_change(node)


def test_a_node_that_follows_a_leader_of_another_term_is_noticed() -> None:
    """The leader of an earlier term leads no more (§5.1)."""
    node = node_with(1, term=2)
    node.role = Follower(1.0, leader=1)

    check_allegiance(node, {1: 1, 2: 1})
    with pytest.raises(InvariantViolated, match="follows node 1 in term 2, and the leader of that term is 2"):
        check_allegiance(node, {1: 1, 2: 2})


def test_a_candidate_that_matches_a_log_is_noticed() -> None:
    """The next leader's log may differ, and its heartbeat must commit nothing here (§5.3)."""
    node = node_with(1, term=2)
    node.role = Candidate(1.0, 0.0, False)

    check_allegiance(node, {1: 1})
    node.match_index = 1
    with pytest.raises(InvariantViolated, match="takes its log to match up to entry 1"):
        check_allegiance(node, {1: 1})


def test_a_message_with_more_than_a_node_may_send_at_once_is_noticed() -> None:
    """One entry may be longer than that."""
    node = node_with(1, 1)
    one, two = node.log.slice(1, 2)
    size = len(one.record) + len(two.record)

    node.options = RaftOptions(append_bytes_max=size)
    check_amount(node, [one, two])
    node.options = RaftOptions(append_bytes_max=size - 1)
    check_amount(node, [one])
    with pytest.raises(InvariantViolated, match=f"sends 2 entries of {size} bytes at once"):
        check_amount(node, [one, two])


def test_a_segment_that_the_journal_needs_must_not_be_deleted() -> None:
    """Of one that nothing covers the journal would miss what was in it (row 16)."""
    cluster = Cluster(seed=1)
    leader = cluster.elect()
    value = "x" * 2_000
    for number in range(30):
        cluster.ask(leader, f"SET {number} {value}")
    member = cluster.members[leader]
    assert member.journal is not None
    first, *_, last = sorted(path for path in member.disk.inodes if path.name.startswith("segment-"))

    check_removal(member, first.with_name("segment-0000000000000000"))  # what is gone already
    with pytest.raises(InvariantViolated, match="could not start without it"):
        check_removal(member, last.with_name(f"segment-{int(last.name[-16:]) - 1:016}"))


def test_a_log_that_lacks_entries_which_no_snapshot_covers_is_noticed() -> None:
    """Also if the snapshot has disappeared only since the last look (row 18)."""
    cluster = Cluster(seed=1, limits=attrs.evolve(LIMITS, log_kept_bytes=0))
    leader = cluster.elect()
    cluster.ask(leader, "SET a 1", "SNAPSHOT")
    member = cluster.members[leader]
    cluster.run_until(lambda: member.node.log.snapshot_index > 0)
    marks = Marks()
    snapshot = next(path for path in member.disk.inodes if path.name.startswith("snapshot-"))

    marks.after_change(member, member.node)
    member.disk.rename_all({snapshot: None})

    with pytest.raises(InvariantViolated, match="its newest snapshot ends at entry 0"):
        marks.after_change(member, member.node)


KEPT = (
    Operation(0, Action.SET, "a", "1", 0, 1, Outcome.OK),
    Operation(0, Action.DELETE, "a", None, 2, 3, Outcome.OK),
    Operation(0, Action.SET, "a", "2", 4, None, Outcome.UNKNOWN),
    Operation(0, Action.SET, "a", "3", 5, 6, Outcome.FAILED),
    Operation(0, Action.GET, "a", None, 7, 8, Outcome.OK),
)


def entry_of(*writes: Mutation) -> Entry:
    """Return an entry with these writes."""
    return Entry.create(1, 1, EntryKind.COMMANDS, encode_batch(0, writes))


ONE, NONE, TWO, THREE = set_key(b"a", b"1"), delete_key(b"a"), set_key(b"a", b"2"), set_key(b"a", b"3")


@pytest.mark.parametrize("writes", [[ONE, NONE], [ONE, NONE, TWO]], ids=["not done", "done"])
def test_a_write_of_unknown_outcome_happens_once_or_never(writes: list[Mutation]) -> None:
    """And one that was answered once."""
    check_writes(KEPT, [entry_of(*writes)])


@pytest.mark.parametrize(
    "writes",
    [[ONE], [ONE, ONE, NONE], [ONE, NONE, TWO, TWO], [ONE, NONE, THREE]],
    ids=["lost", "twice", "unknown twice", "refused and done"],
)
def test_a_write_that_happens_more_or_less_often_is_noticed(writes: list[Mutation]) -> None:
    """Also where no read shows it (rows 10, 12 and 13)."""
    with pytest.raises(InvariantViolated, match="was committed"):
        check_writes(KEPT, [entry_of(*writes)])


def test_a_node_that_comes_back_without_what_it_acknowledged_is_noticed() -> None:
    """All that it has acknowledged to the leader must be on its disk (rows 3 and 4)."""
    cluster = Cluster(seed=1)
    leader = cluster.elect()
    follower = cluster.members[(leader + 1) % 3]
    cluster.kill(follower.id, power=True)
    earlier = copy.deepcopy(follower.disk)
    cluster.start(follower.id)
    cluster.elect()
    cluster.ask(leader, "SET a 1")
    cluster.run_until(cluster.has_settled)

    cluster.kill(follower.id)
    follower.disk = earlier

    with pytest.raises(InvariantViolated, match="has acknowledged entry"):
        cluster.start(follower.id)
