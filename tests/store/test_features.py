"""The feature level in the store: raised by entries, never lowered, carried by snapshots, and never guessed at."""

import msgspec
import pytest

from kvraft.commands import OPCODES
from kvraft.errors import exit_status
from kvraft.raft import Entry, EntryKind
from kvraft.raft.membership import _Stored
from kvraft.store import FEATURE_LEVEL, Store, StoreLoader, UnknownFeatureLevel, UnknownSnapshotLayout, take
from kvraft.store.chunks import State, kind
from kvraft.store.features import ENTRY_KINDS, LEVELS, UnknownEntryKind, encode_level
from kvraft.store.sections import SECTIONS
from kvraft.store.snapshot import _Header


def raised(*levels: int) -> Store:
    """Return a store that has applied an entry for each level."""
    store = Store()
    for index, level in enumerate(levels, 1):
        store.apply(Entry.create(1, index, EntryKind.FEATURE_LEVEL, encode_level(level)))
    return store


def test_it_is_raised_and_never_falls() -> None:
    """A late entry of a lower level changes nothing."""
    assert Store().feature_level == 0
    assert raised(1).feature_level == 1
    assert raised(1, 0).feature_level == 1


def test_a_later_level_stops_this_kvraft() -> None:
    """What comes after such an entry may not be understood, so it is not applied, and the error says to upgrade."""
    store = raised(1)

    with pytest.raises(UnknownFeatureLevel, match="upgrade this node") as unknown:
        store.apply(Entry.create(1, 2, EntryKind.FEATURE_LEVEL, encode_level(FEATURE_LEVEL + 1)))

    assert store.applied_index == 1
    assert exit_status.fatal_reason(unknown.value, "why").status == exit_status.PROTOCOL


def test_a_snapshot_carries_it() -> None:
    """It comes back with the rest; a snapshot of level 0 is one that every kvraft reads, and a later one is refused."""
    state = take(raised(1)).state
    assert StoreLoader(state).finish().feature_level == 1
    assert "feature_level" not in take(Store()).state
    with pytest.raises(UnknownSnapshotLayout, match="upgrade this node"):
        StoreLoader({**state, "feature_level": FEATURE_LEVEL + 1})


def test_the_table_names_all_that_is_read() -> None:
    """What the code can decode and what the table says are the same, and nothing is brought by two levels."""
    assert frozenset().union(*(level.opcodes for level in LEVELS)) == OPCODES
    assert set(EntryKind) == ENTRY_KINDS
    states: list[type[State]] = [_Header, *(section.STATE for section in SECTIONS)]
    fields = [field for state in states for field in state.__struct_fields__]
    assert sorted(fields) == sorted(field for level in LEVELS for field in level.snapshot_state)
    kinds = [kind(chunk) for section in SECTIONS for chunk in section.CHUNKS]
    assert sorted(kinds) == sorted(each for level in LEVELS for each in level.snapshot_chunks)
    assert frozenset().union(*(level.configuration for level in LEVELS)) == set(_Stored.__struct_fields__)
    for what in ("opcodes", "entry_kinds", "configuration", "snapshot_state", "snapshot_chunks", "hello_facts"):
        each = [getattr(level, what) for level in LEVELS]
        assert sum(map(len, each)) == len(frozenset().union(*each))


def test_an_unknown_kind_of_entry_stops_this_kvraft() -> None:
    """It is not skipped: what it does on a later kvraft would be missing here."""
    store = raised(1)

    with pytest.raises(UnknownEntryKind, match="kind 100 is unknown to this kvraft: upgrade this node") as unknown:
        store.apply(Entry.create(1, 2, 100, b""))

    assert store.applied_index == 1
    assert exit_status.fatal_reason(unknown.value, "why").status == exit_status.PROTOCOL


def test_an_unknown_section_of_a_snapshot_is_refused() -> None:
    """A field of the state or a chunk that this kvraft does not know is no damage: the words say to upgrade."""
    state = take(Store()).state
    with pytest.raises(UnknownSnapshotLayout, match="section 'later' is unknown to this kvraft; upgrade this node"):
        StoreLoader({**state, "later": 3})
    with pytest.raises(UnknownSnapshotLayout, match="kind 9 is unknown to this kvraft; upgrade this node"):
        StoreLoader(state).add(msgspec.msgpack.encode([9, {"any": "thing"}]))
