"""Sums of decimal fractions are those of Redis on x86, to the last digit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvraft.commands.long_double import Infinite, NoNumber, add, read


@pytest.mark.parametrize(
    ("text", "by", "total"),
    [
        (b"0.1", b"0.2", "0.3"),
        (b"1", b"1e-17", "1.00000000000000001"),
        (b"1", b"1e-18", "1"),
        (b"0", b"-0.0", "0"),
        (b"3.0e3", b"200", "3200"),
        (b"123456789012345678901234567890", b"1", "123456789012345678899921813504"),
        (b"0x10", b"0x1p3", "24"),
        (b"1.", b".5", "1.5"),
        (b"+5", b"-5.5", "-0.5"),
        (b"10.5", b"0.1", "10.6"),
        (b"5e3", b"2.0e2", "5200"),
    ],
)
def test_sums(text: bytes, by: bytes, total: str) -> None:
    """What redis-server 7.0.15 answered."""
    assert add(text, by) == total


def test_large_numbers_are_shown_with_all_their_digits() -> None:
    """Also with more than Python writes at once."""
    assert add(b"0", b"1e400").startswith("1000000000000000000028188")
    assert len(add(b"0", b"1e400")) == 401
    assert len(add(b"0", b"1.18e4932")) == 4_933


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" 1",
        b"1 ",
        b"nan",
        b"1_0",
        b"x",
        b"1e",
        b"0x",
        b".",
        b"-",
        b"1e5000",
        b"1e-5000",
        b"1e999999999999",
        b"1e-999999999999",
        b"9" * 5_200,
        b"\xd9\xa1",
    ],
)
def test_what_is_no_number_is_refused(text: bytes) -> None:
    """Also what is too large or too small, and it takes no long time."""
    with pytest.raises(NoNumber):
        read(text)


@pytest.mark.parametrize(("text", "by"), [(b"inf", b"1"), (b"-Infinity", b"1"), (b"1.18e4932", b"1.18e4932")])
def test_infinite_sums_are_refused(text: bytes, by: bytes) -> None:
    """A stored infinity is a number, and no sum."""
    with pytest.raises(Infinite):
        add(text, by)


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**62), 2**62))
def test_whole_numbers_of_64_bits_are_exact(number: int, by: int) -> None:
    """As long as their sum has no more."""
    if abs(number + by) < 2**64:
        assert add(b"%d" % number, b"%d" % by) == str(number + by)
