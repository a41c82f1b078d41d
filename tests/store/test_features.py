"""The feature level in the store: raised by entries, never lowered, carried by snapshots, and never guessed at."""

import pytest

from kvraft import exits
from kvraft.raft import Entry, EntryKind
from kvraft.store import FEATURE_LEVEL, Store, StoreLoader, UnknownFeatureLevel, UnknownSnapshotLayout, take
from kvraft.store.features import encode_level


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
    """What comes behind such an entry may not be understood, so it is not applied, and the error says to upgrade."""
    store = raised(1)

    with pytest.raises(UnknownFeatureLevel, match="upgrade this node") as unknown:
        store.apply(Entry.create(1, 2, EntryKind.FEATURE_LEVEL, encode_level(FEATURE_LEVEL + 1)))

    assert store.applied_index == 1
    assert exits.words_for(unknown.value, "why").status == exits.PROTOCOL


def test_a_snapshot_carries_it() -> None:
    """It comes back with the rest; a snapshot of level 0 is one that every kvraft reads, and a later one is refused."""
    state = take(raised(1)).state
    assert StoreLoader(state).finish().feature_level == 1
    assert "feature_level" not in take(Store()).state
    with pytest.raises(UnknownSnapshotLayout, match="upgrade this node"):
        StoreLoader({**state, "feature_level": FEATURE_LEVEL + 1})
