"""The log: positions, conflicts, marks and hints (Figure 2; §5.3, §5.4.1)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvraft.raft import Entry, EntryKind, InvariantViolated
from kvraft.raft.log import Log
from kvraft.raft.types import RECORD_HEADER
from tests.raft.single import make_entries, terms_of

TERMS = st.lists(st.integers(1, 5), max_size=8).map(sorted)


def test_index_0_stands_before_every_log() -> None:
    """An empty log matches at index 0 with term 0, and nowhere else (§5.3)."""
    log = Log()
    assert (log.last_index, log.last_term) == (0, 0)
    assert log.matches(0, 0)
    assert not log.matches(0, 1)
    assert not log.matches(1, 0)
    assert log.term_at(1) is None


def test_entries_are_found_by_their_index() -> None:
    """The first index is 1 (Figure 2, log[])."""
    log = Log(make_entries(1, 1, 4))
    assert [log.term_at(index) for index in range(5)] == [0, 1, 1, 4, None]
    assert (log[3], log.last_index, log.last_term) == (make_entries(1, 1, 4)[2], 3, 4)
    assert log.slice(2, 3) == make_entries(1, 4, first=2)
    assert log.slice(4, 3) == ()


@pytest.mark.parametrize(
    ("last_index", "last_term", "up_to_date"),
    [(3, 4, True), (4, 4, True), (2, 4, False), (1, 5, True), (9, 3, False), (0, 0, False)],
)
def test_up_to_date_compares_the_last_term_and_then_the_length(
    last_index: int, last_term: int, up_to_date: bool
) -> None:
    """The later last term wins; with equal ones the longer log does (§5.4.1)."""
    assert Log(make_entries(1, 1, 4)).is_up_to_date(last_index, last_term) is up_to_date


def test_only_the_next_entry_can_be_appended() -> None:
    """Indexes are consecutive and terms never decrease."""
    log = Log(make_entries(1, 2))
    for wrong in (*make_entries(2, first=4), *make_entries(2, first=2), *make_entries(1, first=3)):
        with pytest.raises(InvariantViolated):
            log.append(wrong)
    log.append(make_entries(2, first=3)[0])
    assert terms_of(log.slice(1, 3)) == (1, 2, 2)


def test_a_stored_log_with_a_hole_is_not_believed() -> None:
    """What the journal returns must be whole."""
    with pytest.raises(InvariantViolated):
        Log(make_entries(1, first=2))


@pytest.mark.parametrize(
    ("terms", "first", "conflict"),
    [((1, 1), 1, None), ((1, 1, 4, 5), 1, 4), ((1, 3), 1, 2), ((4, 4), 3, 4), ((), 1, None), ((5,), 3, 3)],
)
def test_a_conflict_is_the_first_entry_that_is_missing_or_of_another_term(
    terms: tuple[int, ...], first: int, conflict: int | None
) -> None:
    """What matches is skipped (AppendEntries, receiver 3 and 4)."""
    found = Log(make_entries(1, 1, 4)).find_conflict(make_entries(*terms, first=first))
    assert (found.index if found else None) == conflict


def test_the_marks_move_forward_with_saves() -> None:
    """Entries are handed over once, and are durable when their save is done."""
    log = Log(make_entries(1))
    assert (log.durable, log.handed_over) == (1, 1)
    log.append(make_entries(1, first=2)[0])
    assert log.take_unsaved() == make_entries(1, first=2)
    assert (log.durable, log.handed_over) == (1, 2)
    assert log.take_unsaved() == ()
    log.saved()
    assert log.durable == 2


def test_the_marks_fall_back_with_a_conflict() -> None:
    """What is cut off is neither handed over nor durable, and its save, when it ends, counts for nothing (§5.3)."""
    log = Log(make_entries(1, 1))
    log.append(make_entries(1, first=3)[0])
    log.take_unsaved()
    log.truncate_from(2)
    assert (log.last_index, log.handed_over, log.durable) == (1, 1, 1)
    log.append(make_entries(2, first=2)[0])
    log.append(make_entries(2, first=3)[0])
    log.saved()
    assert log.durable == 1
    assert log.take_unsaved() == make_entries(2, 2, first=2)
    log.saved()
    assert log.durable == 3


def test_an_entry_that_was_cut_off_and_came_again_is_durable_with_its_second_save() -> None:
    """The first save holds the same entry, but the disk cuts it off before the second save stores it again."""
    log = Log(make_entries(1))
    again = make_entries(1, first=2)[0]
    log.append(again)
    log.take_unsaved()
    log.truncate_from(2)
    log.append(make_entries(2, first=2)[0])
    log.take_unsaved()
    log.truncate_from(2)
    log.append(again)
    log.take_unsaved()

    log.saved()
    assert log.durable == 1
    log.saved()
    assert log.durable == 1
    log.saved()
    assert log.durable == 2


def test_a_slice_is_cut_by_bytes_but_never_to_nothing() -> None:
    """A limit of bytes holds, except that one entry always comes."""
    entries = make_entries(1, 1, 1)
    size = len(entries[0].record)
    assert size == RECORD_HEADER.size + 3
    log = Log(entries)
    assert len(log.slice(1, 3, 3 * size)) == 3
    assert len(log.slice(1, 3, 3 * size - 1)) == 2
    assert len(log.slice(1, 3, 1)) == 1
    assert len(log.slice(2, 2, 10**9)) == 1


def test_a_slice_is_cut_by_number() -> None:
    """Both limits hold, also where the log was cut off in front."""
    log = Log(make_entries(1, 1, 1, 1))
    size = len(log[1].record)
    log.compact(1)
    assert [entry.index for entry in log.slice(2, 4, None, 2)] == [2, 3]
    assert [entry.index for entry in log.slice(3, 4, None, 2)] == [3, 4]
    assert [entry.index for entry in log.slice(2, 4, size, 2)] == [2]
    assert [entry.index for entry in log.slice(2, 4, 2 * size, 3)] == [2, 3]
    assert [entry.index for entry in log.slice(3, 4, 2 * size, 3)] == [3, 4]


def test_behind_a_snapshot_only_its_end_is_known() -> None:
    """The log can begin after a snapshot: of what lies before it only the last index and term remain (§7)."""
    log = Log(make_entries(4, 5, first=11), snapshot_index=10, snapshot_term=3)
    assert [log.term_at(index) for index in (9, 10, 11, 12, 13)] == [None, 3, 4, 5, None]
    assert (log.last_index, log[11].term, log.last_agreement(12, 2)) == (12, 4, (10, 3))
    for call in (lambda: log[10], lambda: log.slice(10, 11)):
        with pytest.raises(InvariantViolated):
            call()
    assert Log((), 10, 3).last_term == 3


def dumb_agreement(terms: list[int], index: int, term: int) -> tuple[int, int]:
    """Say by trying every index where two logs could agree at the latest."""
    return max((i, t) for i, t in enumerate([0, *terms]) if i <= index and t <= term)


@given(TERMS, st.integers(0, 10), st.integers(0, 6))
def test_the_hint_is_the_last_place_that_can_agree(terms: list[int], index: int, term: int) -> None:
    """The clever search finds what a search through everything finds."""
    assert Log(make_entries(*terms)).last_agreement(index, term) == dumb_agreement(terms, index, term)


@given(TERMS, TERMS, st.integers(0, 5))
def test_the_hints_never_skip_a_place_where_the_logs_agree(mine: list[int], leaders: list[int], common: int) -> None:
    """Follower and leader together come to the true agreement or after it, never before it, and always get further."""
    shared = sorted(leaders[:common])
    follower = Log(make_entries(*shared, *[term for term in mine if term >= max(shared, default=0)]))
    leader = Log(make_entries(*leaders))
    truth = 0
    while (term := leader.term_at(truth + 1)) is not None and follower.term_at(truth + 1) == term:
        truth += 1
    prev = leader.last_index
    while not follower.matches(prev, leader.term_at(prev) or 0):
        hint = follower.last_agreement(prev, leader.term_at(prev) or 0)
        agreement, _term = leader.last_agreement(*hint)
        assert truth <= agreement < prev
        prev = agreement
    assert prev >= min(truth, prev)


class SizesByHand:
    """The twin that adds up the records again and again."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.begins = log.snapshot_index
        self.sizes = [len(entry.record) for entry in log.slice(log.snapshot_index + 1, log.last_index)]

    def index_before(self, size: int) -> int:
        """See `Log.index_before`."""
        for place in range(len(self.sizes), 0, -1):
            if sum(self.sizes[place:]) >= size:
                return self.begins + place
        return self.begins

    def index_within(self, size: int, count: int) -> int:
        """See `Log.index_within`."""
        places = [place for place in range(count + 1) if sum(self.sizes[:place]) <= size]
        return self.begins + min(max(1, *places, 0), len(self.sizes))


@given(
    st.lists(st.tuples(st.sampled_from(["append", "cut", "compact", "restart"]), st.integers(0, 30)), max_size=30),
    st.integers(0, 400),
    st.integers(1, 8),
)
def test_sizes_are_those_of_the_records(story: list[tuple[str, int]], size: int, count: int) -> None:
    """Whatever was appended, cut off or compacted, sizes and the places found by them are as if added up by hand."""
    log = Log()
    for what, number in story:
        place = log.snapshot_index + number % (log.last_index - log.snapshot_index + 1)
        match what:
            case "append":
                log.append(Entry.create(1, log.last_index + 1, EntryKind.COMMANDS, bytes(number)))
            case "cut":
                log.truncate_from(place + 1)
            case "compact":
                log.compact(place)
            case "restart":
                log.restart_after(log.last_index + number, 1)
        twin = SizesByHand(log)
        assert log.size == sum(twin.sizes)
        assert log.index_before(size) == twin.index_before(size)
        assert log.index_within(size, count) == twin.index_within(size, count)
