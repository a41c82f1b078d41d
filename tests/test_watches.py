"""Which keys a watch is about."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvraft.commands import Selection

KEYS = st.lists(st.sampled_from([0, 1, 97, 254, 255]), max_size=4).map(bytes)


@given(KEYS, KEYS)
def test_one_key(key: bytes, other: bytes) -> None:
    """A selection of one key covers that one alone."""
    assert Selection.of_key(key).covers(other) == (other == key)


@given(KEYS, KEYS)
def test_a_prefix(prefix: bytes, key: bytes) -> None:
    """A selection by prefix covers what begins with it, also where it ends with the highest byte."""
    assert Selection.of_prefix(prefix).covers(key) == key.startswith(prefix)


@pytest.mark.parametrize(("key", "is_covered"), [(b"a", False), (b"b", True), (b"bz", True), (b"c", False)])
def test_a_range(key: bytes, *, is_covered: bool) -> None:
    """It begins with its first key and ends before its last."""
    assert Selection(b"b", b"c").covers(key) is is_covered


def test_a_selection_says_where_to_begin() -> None:
    """The revision to resume from, and whether earlier values are wanted, go with it."""
    assert Selection.of_key(b"a", from_revision=7, with_previous=True) == Selection(b"a", b"a\0", 7, True)
    assert Selection.of_prefix(b"a", from_revision=7, with_previous=True) == Selection(b"a", b"b", 7, True)
