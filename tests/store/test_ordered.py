"""The keys in their order: the same as a sorted set, however they come and go."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvraft.commands import Delete, Set
from kvraft.store import ordered
from kvraft.store.ordered import OrderedKeys
from tests.store.log import batch, replay

KEYS = st.binary(max_size=2)
ENDS = st.none() | st.binary(max_size=3)


@given(st.lists(st.lists(KEYS, max_size=12)), st.booleans(), st.binary(max_size=3), ENDS)
def test_it_is_a_sorted_set(changes: list[list[bytes]], together: bool, start: bytes, end: bytes | None) -> None:
    """Each list of changes adds the keys that are not there, together or one by one, and removes the others."""
    keys, model = OrderedKeys(), set[bytes]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ordered, "CHUNK_KEYS_MAX", 3)
        for change in changes:
            new = set(change) - model
            added = [key for key in dict.fromkeys(change) if key in new]
            if together:
                keys.add_all(added)
            else:
                for key in added:
                    keys.add(key)
            for key in set(change) - new:
                keys.remove(key)
            model ^= set(change)

    expected = sorted(key for key in model if key >= start and (end is None or key < end))
    assert [*keys.between(start, end)] == expected
    assert [*keys.between(start, end, reverse=True)] == expected[::-1]
    for limit in range(1, len(expected) + 2):
        assert keys.some(start, end, limit) == expected[:limit]
        assert keys.some(start, end, limit, reverse=True) == expected[::-1][:limit]
    assert keys.count(start, end) == len(expected)
    pieces = keys.pieces()
    assert sorted(key for piece in pieces for key in piece) == sorted(model)
    assert [*keys.between(b"", None)] == []


@pytest.mark.parametrize("at_once", [1, 7, 700, 5_000])
def test_no_list_gets_long_or_stays_short(at_once: int) -> None:
    """A list that is full is cut, so that no step moves much, and a search looks at few lists."""
    keys = OrderedKeys()
    names = [b"%05d" % number for number in range(5_000)]
    for begin in range(0, len(names), at_once):
        keys.add_all(names[begin : begin + at_once])

    lengths = [*map(len, keys.pieces())]
    assert max(lengths) <= ordered.CHUNK_KEYS_MAX
    assert min(lengths) >= ordered.CHUNK_KEYS_MAX // 4


def test_the_keyspace_keeps_it() -> None:
    """Sets of new keys and deletes change it; overwrites do not."""
    store = replay([batch(1, Set(b"b", b""), Set(b"a", b""), Set(b"b", b"2")), batch(2, Delete(b"a"), Set(b"c", b""))])

    assert [*store.keys.ordered.between(b"", None)] == [b"b", b"c"]
