"""Patterns of keys match what Redis lets them match."""

from typing import Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kvraft.commands.glob import PATTERN_BYTES_MAX, pattern

PIECES: Final = st.sampled_from(
    [b"a", b"b", b"-", b"*", b"?", b"[", b"]", b"^", b"\\", b"\xff", b"[ab]", b"[^a]", b"[a-c]"]
)
PATTERNS: Final = st.lists(PIECES, max_size=7).map(b"".join)
KEYS: Final = st.lists(st.sampled_from([b"a", b"b", b"c", b"-", b"]", b"^", b"\\", b"\xff"]), min_size=1, max_size=5)


def signed(byte: int) -> int:
    """Return a byte as C has it."""
    return byte - 256 if byte > 127 else byte


def as_redis_does(text: bytes, key: bytes) -> bool:
    """Do step by step what `stringmatchlen` of Redis does."""
    while text and key:
        if text[:1] == b"*":
            rest = text.lstrip(b"*")
            return not rest or any(as_redis_does(rest, key[place:]) for place in range(len(key)))
        if text[:1] == b"[":
            text, matches = in_class(text[1:], key[0])
            if not matches:
                return False
        elif text[:1] != b"?":
            text = text[1:] if text[:1] == b"\\" and len(text) > 1 else text
            if text[0] != key[0]:
                return False
        text, key = text[1:], key[1:]
        if not key:
            text = text.lstrip(b"*")
    return not text and not key


def in_class(text: bytes, byte: int) -> tuple[bytes, bool]:
    """Return what is left, beginning with the closing bracket, and whether a byte is within the brackets."""
    negated = text[:1] == b"^"
    text = text[negated:]
    found = False
    while text:
        if text[:1] == b"\\" and len(text) > 1:
            text = text[1:]
            found |= text[0] == byte
        elif text[:1] == b"]":
            break
        elif text[1:2] == b"-" and len(text) > 2:
            low, high = sorted((signed(text[0]), signed(text[2])))
            found |= low <= signed(byte) <= high
            text = text[2:]
        else:
            found |= text[0] == byte
        text = text[1:]
    return text, found != negated


@settings(max_examples=400, deadline=None)
@given(PATTERNS, KEYS.map(b"".join))
@example(b"*a*b", b"acab")
@example(b"a*a", b"a")
@example(b"[c-a]", b"b")
@example(b"[^", b"b")
@example(b"\\", b"\\")
def test_a_pattern_matches_what_redis_lets_it_match(text: bytes, key: bytes) -> None:
    """Odd ones as well: without an end, reversed, escaped."""
    assert pattern(text).matches(key) == as_redis_does(text, key)
    assert not pattern(text).matches(key) or key.startswith(pattern(text).prefix)


@pytest.mark.parametrize(
    ("text", "prefix"), [(b"user:*", b"user:"), (b"a\\*b?", b"a*b"), (b"*", b""), (b"a[bc]", b"a"), (b"abc", b"abc")]
)
def test_a_pattern_tells_how_its_keys_begin(text: bytes, prefix: bytes) -> None:
    """So that a search need not look at the others."""
    assert pattern(text).prefix == prefix


def test_many_stars_take_no_long_time() -> None:
    """Each is at the first place where it can be."""
    assert not pattern(b"*a" * 400 + b"b").matches(b"a" * 60_000)


def test_a_class_of_nearly_all_bytes_is_short_for_the_regular_expression() -> None:
    """A bound on memory and time: the longest pattern took 95 ms when each byte that the class allows stood there."""
    longest = b"[^a]" * (PATTERN_BYTES_MAX // 4)

    for text in (longest, b"[a-\xe0]" * (PATTERN_BYTES_MAX // 5)):
        assert len(pattern(text)._first.pattern) < 16 * PATTERN_BYTES_MAX
    assert pattern(longest).matches(b"b" * 256)
    assert not pattern(longest).matches(b"b" * 255 + b"a")
