"""A table of a version to come is one class and one place in the list of sections, and travels in snapshots."""

from collections.abc import Iterator, Mapping, Sequence, Sized
from typing import Any, Final

import msgspec
import pytest
from typing_extensions import override

from kvraft.commands import Identify, set_key
from kvraft.raft import Entry, EntryKind
from kvraft.store import (
    FEATURE_LEVEL,
    AlreadyFrozen,
    Released,
    SnapshotInvalid,
    Store,
    StoreLoader,
    UnknownSnapshotLayout,
    chunks,
    take,
)
from kvraft.store import store as store_module
from kvraft.store.chunks import Chunk, State
from kvraft.store.features import encode_level
from kvraft.store.section import FrozenSection, Section, SectionLoader
from kvraft.store.sections import SECTIONS, chunk_kinds, state_fields
from tests.store.log import batch, replay, state

MARKS_KIND: Final = 77
AT_ONCE: Final = 2
"""Rows in one chunk."""
ROWS: Final = {b"m%d" % number: number for number in range(5)}


class MarksState(State, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How many rows there are."""

    LEVEL = FEATURE_LEVEL

    mark_count: int = 0


class MarksChunk(Chunk, frozen=True, gc=False, array_like=True, tag=MARKS_KIND):
    """Some rows."""

    LEVEL = FEATURE_LEVEL

    rows: list[tuple[bytes, int]]


class Marks(Section):
    """A number under each name."""

    STATE = MarksState
    CHUNKS = (MarksChunk,)

    def __init__(self) -> None:
        self.rows: dict[bytes, int] = {}
        self._kept: dict[bytes, int] | None = None

    def put(self, name: bytes, number: int) -> None:
        """Set one row."""
        if self._kept is not None and name in self.rows:
            self._kept.setdefault(name, self.rows[name])
        self.rows[name] = number

    @property
    @override
    def frozen(self) -> bool:
        return self._kept is not None

    @override
    def freeze(self) -> FrozenSection:
        self._kept = {}
        return FrozenSection(MarksState(len(self.rows)), self._read(list(self.rows)), self._thaw)

    def _read(self, names: list[bytes]) -> Iterator[Chunk]:
        while names:
            if self._kept is None:
                raise Released
            now, names = names[:AT_ONCE], names[AT_ONCE:]
            rows = [(name, self._kept.get(name, self.rows[name])) for name in now]
            if not names:
                self._thaw()
            yield MarksChunk(rows)
        self._thaw()

    def _thaw(self) -> list[dict[bytes, int]]:
        kept, self._kept = self._kept, None
        return [kept] if kept else []

    @override
    def loader(self, state: Mapping[str, Any], revision: int) -> SectionLoader:
        return MarksLoader(self, MarksState.of(state))

    @override
    def dismantle(self) -> Sequence[Sized]:
        rows, self.rows = self.rows, {}
        return [rows, *self._thaw()]


class MarksLoader(SectionLoader):
    """Fills the table."""

    def __init__(self, marks: Marks, state_: MarksState) -> None:
        self._marks = marks
        self.promised = state_.mark_count

    @property
    @override
    def loaded(self) -> int:
        return len(self._marks.rows)

    @override
    def add(self, chunk: Chunk) -> None:
        assert isinstance(chunk, MarksChunk)
        self._marks.rows.update(chunk.rows)

    @override
    def finish(self) -> None:
        if self.loaded != self.promised:
            raise SnapshotInvalid(f"it holds {self.loaded} marks, and its state promises {self.promised}")


@pytest.fixture
def with_marks(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Let stores that are made here have a table of marks, and let snapshots have small chunks."""
    monkeypatch.setattr(store_module, "SECTIONS", (*SECTIONS, Marks))
    monkeypatch.setattr(chunks, "CHUNK_ITEMS_FULL", AT_ONCE)
    return monkeypatch


def original() -> Store:
    """Return a store at the highest feature level with a few keys and a few marks."""
    store = replay(
        [
            Entry.create(1, 1, EntryKind.FEATURE_LEVEL, encode_level(FEATURE_LEVEL)),
            batch(2, *(set_key(b"k%d" % number, b"v") for number in range(5))),
        ]
    )
    for name, number in ROWS.items():
        store.section(Marks).put(name, number)
    return store


def load(state_: dict[str, Any], parts: Sequence[bytes]) -> Store:
    """Return the store that a snapshot comes to."""
    loader = StoreLoader(state_)
    for part in parts:
        loader.add(part)
    return loader.finish()


@pytest.mark.usefixtures("with_marks")
def test_two_tables_travel_together() -> None:
    """Whatever is written to either between two steps, the snapshot holds both as they stood at the freeze."""
    store = original()
    marks, before = store.section(Marks), state(store)

    taken = take(store)
    parts = []
    for step, part in enumerate(taken):
        parts.append(part)
        store.apply(batch(3 + step, set_key(b"k%d" % step, b"new"), set_key(b"new%d" % step, b"new")))
        marks.put(b"m%d" % (4 - step % 5), 100)
        marks.put(b"new%d" % step, 100)

    assert len(parts) >= len(ROWS) / AT_ONCE + 5 / AT_ONCE
    assert not store.frozen
    for loaded in (load(taken.state, parts), load(taken.state, parts[::-1])):
        assert state(loaded) == before
        assert loaded.section(Marks).rows == ROWS
    again = take(store)
    assert load(again.state, [*again]).section(Marks).rows == marks.rows


@pytest.mark.usefixtures("with_marks")
def test_progress_counts_the_rows_of_all_tables() -> None:
    """A loader counts keys and marks alike."""
    taken = take(original())
    loader = StoreLoader(taken.state)

    for part in taken:
        loader.add(part)

    records = 1
    assert (loader.loaded, loader.promised) == (10 + records, 10 + records)


def test_a_store_without_the_table_says_to_upgrade(with_marks: pytest.MonkeyPatch) -> None:
    """Neither the field of its state nor its kind of chunk is taken for damage."""
    taken = take(original())
    parts = [*taken]
    with_marks.undo()

    with pytest.raises(UnknownSnapshotLayout, match="section 'mark_count' is unknown to this kvraft; upgrade"):
        StoreLoader(taken.state)
    del taken.state["mark_count"]
    with pytest.raises(UnknownSnapshotLayout, match=f"kind {MARKS_KIND} is unknown to this kvraft; upgrade"):
        load(taken.state, parts)


def test_a_snapshot_from_before_the_table(with_marks: pytest.MonkeyPatch) -> None:
    """A store that has the table loads a snapshot that has not: the table is empty."""
    with_marks.undo()
    before = replay([batch(1, Identify("c"), set_key(b"k", b"v"))])
    taken = take(before)
    parts = [*taken]
    with_marks.setattr(store_module, "SECTIONS", (*SECTIONS, Marks))

    loaded = load(taken.state, parts)

    assert state(loaded) == state(before)
    assert loaded.section(Marks).rows == {}


@pytest.mark.usefixtures("with_marks")
def test_an_empty_table_leaves_no_trace() -> None:
    """As long as nothing is in the table, a store without it reads the snapshots."""
    taken = take(replay([batch(1, set_key(b"k", b"v"))]))

    assert "mark_count" not in taken.state
    assert [msgspec.msgpack.decode(part)[0] for part in taken] == [1]


@pytest.mark.usefixtures("with_marks")
def test_no_section_goes_before_its_level() -> None:
    """A table that holds something before the cluster has its level is a defect, and no such snapshot is made."""
    store = Store()
    store.section(Marks).put(b"m", 1)

    with pytest.raises(AssertionError, match="later feature level"):
        take(store)


@pytest.mark.usefixtures("with_marks")
def test_each_table_must_be_whole() -> None:
    """A snapshot that lacks a chunk of one table comes to no store, though the others are whole."""
    taken = take(original())
    parts = [*taken]

    with pytest.raises(SnapshotInvalid, match="holds 4 marks, and its state promises 5"):
        load(taken.state, parts[:-1])
    with pytest.raises(SnapshotInvalid, match="keys, and its state promises 5"):
        load(taken.state, parts[1:])


@pytest.mark.usefixtures("with_marks")
def test_one_snapshot_at_a_time_over_all_tables() -> None:
    """While the last table is still read no second snapshot is begun, and no other table is left frozen by the try."""
    store = original()
    taken = take(store)
    while store.keys.frozen:
        next(taken)

    assert store.frozen
    with pytest.raises(AlreadyFrozen):
        take(store)
    assert not store.keys.frozen
    taken.release()
    assert not store.frozen


@pytest.mark.usefixtures("with_marks")
def test_all_tables_are_dismantled() -> None:
    """A store that is given up comes in pieces of every table, and a snapshot of it goes no further."""
    store = original()
    taken = take(store)
    next(taken)
    store.section(Marks).put(b"m0", 100)

    pieces = store.dismantle()

    changes = ordered = 5
    assert sum(map(len, pieces)) == 5 + ordered + changes + len(ROWS) + 1
    with pytest.raises(Released):
        list(taken)


def test_the_list_is_what_a_store_has() -> None:
    """A store has the sections of the list in its order; `section` finds each."""
    store = Store()

    assert tuple(map(type, store.sections)) == SECTIONS
    assert all(store.section(kind) is section for kind, section in zip(SECTIONS, store.sections, strict=True))
    assert chunk_kinds(0) == {1, 2}
    assert state_fields(0) == {"key_count"}


def test_what_is_of_a_level_can_be_left_out() -> None:
    """Fields that a level above 0 brings have defaults, so that the snapshots of a lower level go without them."""
    for section in SECTIONS:
        if section.STATE.LEVEL:
            section.STATE.of({})


def test_the_bytes_of_a_snapshot() -> None:
    """State and chunks are written as they were before there were sections."""
    store = replay([batch(1, Identify("c"), set_key(b"k", b"v"), time_us=7), batch(2, set_key(b"k", b"w"))])
    store.checksum = 5
    taken = take(store)

    assert b"".join(taken) == b"\x92\x01\x91\x92\xc4\x01k\x94\xc4\x01w\x01\x02\x02"
    assert msgspec.json.encode(taken.state) == (
        b'{"layout":1,"applied_index":2,"applied_term":1,"revision":2,"cluster_time":7,"cluster_id":"c","checksum":5,'
        b'"key_count":1}'
    )
