"""The history: the past is read as it was, as far back as is kept, and equally far on every member."""

import sys
from collections.abc import Callable, Sequence
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvraft.commands import (
    CommandFailed,
    Delete,
    Failure,
    Get,
    GetAt,
    HistoryBounds,
    Item,
    Mutation,
    Page,
    Set,
    SetHistory,
    Span,
    increment,
    put_if,
    read_range,
)
from kvraft.commands.transactions import Compare, Relation, Target
from kvraft.raft import Entry, EntryKind
from kvraft.simulation.twin import Twin, within
from kvraft.store import FEATURE_LEVEL, SnapshotInvalid, Store, StoreLoader, chunks, history, take
from kvraft.store.features import encode_level
from kvraft.store.history import CHANGE_BYTES
from tests.store.drawn import MUTATIONS
from tests.store.log import batch, state

EXAMPLES: Final = 60
BOUNDS: Final = [HistoryBounds(), HistoryBounds(revisions=3), HistoryBounds(bytes=900), HistoryBounds(seconds=2)]
KEYS: Final = [b"a", b"ab", b"b", b"c", b"c\xff"]


def grown(*batches: Sequence[Mutation], bounds: HistoryBounds | None = None) -> Store:
    """Return a store at the highest feature level that has applied these batches, a second of cluster time apart."""
    store = Store()
    store.apply(Entry.create(1, 1, EntryKind.FEATURE_LEVEL, encode_level(FEATURE_LEVEL)))
    if bounds is not None:
        store.apply(batch(2, SetHistory(*bounds)))
    for mutations in batches:
        index = store.applied_index + 1
        store.apply(batch(index, *mutations, time_us=index * 1_000_000))
    return store


def restored(store: Store, reorder: Callable[[list[bytes]], list[bytes]] = lambda parts: parts) -> Store:
    """Return the store that a snapshot comes to."""
    snapshot = take(store)
    loader = StoreLoader(snapshot.state)
    for part in reorder([*snapshot]):
        loader.add(part)
    return loader.finish()


def check_all(store: Store, twin: Twin) -> None:
    """See that the store shows each revision that it keeps as the twin has it, and no other."""
    for revision in range(store.oldest_revision, store.revision + 1):
        then = twin.states[revision]
        assert [store.get_at(key, revision) for key in KEYS] == [then.get(key) for key in KEYS]
        for span in (Span(b"", None), Span(b"ab", b"c\xff")):
            forward = within(then, span)
            assert store.page(span, 99, revision=revision).items == forward
            assert store.page(span, 99, reverse=True, revision=revision).items == forward[::-1]
    for revision, code in ((store.oldest_revision - 1, "COMPACTED"), (store.revision + 1, "FUTURE_REVISION")):
        with pytest.raises(CommandFailed) as failed:
            store.get_at(b"a", revision)
        assert failed.value.failure.code == code


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.sampled_from(BOUNDS), st.lists(st.lists(MUTATIONS, max_size=9), max_size=8), st.integers(0, 8))
def test_the_past_is_as_it_was(bounds: HistoryBounds, batches: list[list[Mutation]], snapshot_at: int) -> None:
    """Every kept revision reads as it was, also after a snapshot, in whatever order its chunks come."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history, "SEGMENT_CHANGES", 3)
        patch.setattr(chunks, "CHUNK_ITEMS_FULL", 2)
        twin = Twin()
        for mutations in batches:
            for mutation in mutations:
                twin.apply(mutation)
        store = grown(*batches, bounds=bounds)
        check_all(store, twin)
        early = restored(grown(*batches[:snapshot_at], bounds=bounds), lambda parts: parts[::-1])
        for index in range(early.applied_index + 1, store.applied_index + 1):
            early.apply(batch(index, *batches[index - 3], time_us=index * 1_000_000))
        check_all(early, twin)

    assert state(early) == state(store)
    assert (early.oldest_revision, early.history.bytes) == (store.oldest_revision, store.history.bytes)


def test_a_failure_names_the_oldest_revision() -> None:
    """Below the horizon and above the present a read says what can be read."""
    store = grown([Set(b"k", b"1")], [Set(b"k", b"2")], [Set(b"k", b"3")], bounds=HistoryBounds(revisions=1))

    assert GetAt(b"k", 2).run(store) == Item(b"2", 1, 2, 2)
    compacted, future = GetAt(b"k", 1).run(store), GetAt(b"k", 4).run(store)
    assert isinstance(compacted, Failure)
    assert (compacted.code, compacted.details) == ("COMPACTED", {"oldest_revision": 2})
    assert isinstance(future, Failure)
    assert (future.code, future.details) == ("FUTURE_REVISION", {"revision": 3})


def test_bounds_by_number_bytes_and_age() -> None:
    """Each of the three bounds drops the oldest log entries, and is met exactly."""
    writes = [[Set(b"k", b"%d" % number)] for number in range(10)]
    size = len(batch(9, *writes[0], time_us=9_000_000).payload) + 1 + CHANGE_BYTES

    assert grown(*writes, bounds=HistoryBounds(revisions=4)).oldest_revision == 6
    assert grown(*writes, bounds=HistoryBounds(revisions=0)).oldest_revision == 10
    assert grown(*writes, bounds=HistoryBounds(bytes=3 * size)).oldest_revision == 7
    assert grown(*writes, bounds=HistoryBounds(bytes=3 * size - 1)).oldest_revision == 8
    assert grown(*writes, bounds=HistoryBounds(revisions=8, seconds=2)).oldest_revision == 7


def test_lower_bounds_take_effect_at_once_and_are_freed_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is dropped cannot be read any more; its memory goes little by little."""
    monkeypatch.setattr(history, "FREED_AT_ONCE", 2)
    store = grown(*([Set(b"k", b"%d" % number)] for number in range(9)))

    records = [*store.history.records, object()]

    def kept() -> int:
        """Return how many of the records something else refers to as well; to the last one nothing does."""
        references = [sys.getrefcount(record) for record in records]
        return sum(count > references[-1] for count in references)

    assert kept() == 9
    store.apply(batch(store.applied_index + 1, SetHistory(0, 0, 0)))

    assert store.oldest_revision == store.revision == 9
    assert 2 < kept() < 9
    while before := kept():
        store.apply(batch(store.applied_index + 1, Set(b"k", b"")))
        assert before - 2 <= kept() < before


def test_it_begins_with_its_level() -> None:
    """Before level 3 only the present can be read, and nothing of it stands in a snapshot; from then on all is kept."""
    store = Store()
    store.apply(batch(1, Set(b"k", b"1"), Set(b"k", b"2")))
    assert store.oldest_revision == 2
    assert not any("history" in field for field in take(store).state)
    assert store.get_at(b"k", 2) == store.get(b"k")

    store = Store()
    store.apply(batch(1, Set(b"k", b"1"), Set(b"k", b"2")))
    store.apply(Entry.create(1, 2, EntryKind.FEATURE_LEVEL, encode_level(FEATURE_LEVEL)))
    store.apply(batch(3, Set(b"k", b"3")))
    assert store.oldest_revision == 2
    assert store.get_at(b"k", 2) == Item(b"2", 1, 2, 2)


def test_reads_of_the_past_between_the_writes_of_one_entry() -> None:
    """A query at its place between mutations sees what the same entry has changed before it as the past."""
    store = grown([Set(b"k", b"0")])
    writes = [Set(b"k", b"1"), Delete(b"k"), *(Set(b"%d" % number, b"") for number in range(9)), Set(b"k", b"2")]
    entry = batch(store.applied_index + 1, *writes)
    application = store.begin(entry, (0, [*writes]))

    application.advance(1)
    assert store.get_at(b"k", 1) == Item(b"0", 1, 1, 1)
    application.advance(2)
    assert [store.get_at(b"k", revision) for revision in (1, 2, 3)] == [Item(b"0", 1, 1, 1), Item(b"1", 1, 2, 2), None]
    application.finish()
    assert store.get_at(b"8", store.revision - 1) is not None
    assert [store.get_at(b"k", revision) for revision in (2, 3, store.revision - 1)] == [
        Item(b"1", 1, 2, 2),
        None,
        None,
    ]
    assert store.get_at(b"k", store.revision) == Get(b"k").run(store)


def test_long_changes_travel_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change whose values fit no chunk is cut, whatever stands around it in its record."""
    monkeypatch.setattr(chunks, "VALUE_PART_BYTES", 300)
    long = b"v" * 1_000
    store = grown([Set(b"a", b"1"), Set(b"a", long), Set(b"b", b"2"), Set(b"a", b"3")], [increment(b"n")])

    for other in (restored(store), restored(store, lambda parts: parts[::-1])):
        assert other.get_at(b"a", 2) == Item(long, 1, 2, 2)
        assert other.get_at(b"n", 4) is None
        assert other.history.bytes == store.history.bytes


def test_a_snapshot_with_a_hole_in_its_history_is_refused() -> None:
    """Each piece must be there once."""
    store = grown(*([Set(b"k", b"%d" % number)] for number in range(9)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "CHUNK_ITEMS_FULL", 2)
        for reorder in (lambda parts: parts[:-1], lambda parts: parts[:2] + parts[3:]):
            with pytest.raises(SnapshotInvalid, match="its state promises"):
                restored(store, reorder)
        with pytest.raises(SnapshotInvalid, match="comes twice"):
            restored(store, lambda parts: [*parts, parts[-1]])


def test_what_is_written_while_a_snapshot_is_read_is_not_in_it() -> None:
    """The history is frozen with the keys."""
    store = grown([Set(b"k", b"1")], [Set(b"k", b"2")])
    snapshot = take(store)
    store.apply(batch(store.applied_index + 1, Set(b"k", b"3")))
    loader = StoreLoader(snapshot.state)
    for part in snapshot:
        loader.add(part)
    other = loader.finish()

    assert other.revision == 2
    assert [other.get_at(b"k", revision) for revision in (0, 1, 2)] == [None, Item(b"1", 1, 1, 1), Item(b"2", 1, 2, 2)]
    assert store.get_at(b"k", 1) == Item(b"1", 1, 1, 1)


def test_a_page_follows_its_cursor_through_changes() -> None:
    """Pages that are read one after the other at the revision of the first one come to the state that it had."""
    store = grown([Set(b"%02d" % number, b"") for number in range(20)])
    seen: list[bytes] = []
    span, revision = Span(b"", None), store.revision
    while True:
        page = read_range(span, 3, revision=revision).run(store)
        assert isinstance(page, Page)
        seen += [key for key, _ in page.items]
        if page.following is None:
            break
        span = Span(page.following, None)
        last = seen[-1]
        changes: list[Mutation] = [Delete(last), Set(last + b"5", b""), Set(b"99", b"")]
        store.apply(batch(store.applied_index + 1, *changes, Delete(b"19")))

    assert seen == [b"%02d" % number for number in range(20)]


def test_a_condition_that_fails_leaves_no_trace() -> None:
    """A transaction that changes nothing makes no revision and no record."""
    store = grown([Set(b"k", b"1")])
    records, revision = len(store.history.records), store.revision

    store.apply(batch(store.applied_index + 1, put_if(b"k", b"2", Compare(b"k", Target.EXISTS, Relation.EQUAL, 0))))

    assert (len(store.history.records), store.revision) == (records, revision)
