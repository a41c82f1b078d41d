"""Loads by their names, and the shapes in which peers are given them."""

import pytest

from benchmarks.shapes import FULL, QUICK, Shape, for_peer, parse, parse_all


@pytest.mark.parametrize("name", [*FULL, *QUICK])
def test_a_load_is_written_as_it_is_read(name: str) -> None:
    """What a name says comes back as that name."""
    assert parse(name).name == name


def test_a_name_says_operation_connections_and_requests_in_flight() -> None:
    """And the protocol, if it is that of Redis."""
    assert parse("set-64x16") == Shape("set", 64, 16)
    assert parse("resp-get-50x1") == Shape("get", 50, 1, resp=True)


@pytest.mark.parametrize("name", ["", "set", "set-64", "put-64x1", "set-0x1", "set-10001x1", "set-1x1025", "set-1x1x1"])
def test_what_is_no_load_is_refused(name: str) -> None:
    """Unknown operations, missing numbers, and numbers beyond the bounds."""
    with pytest.raises(ValueError, match=r"is no load|at most"):
        parse(name)


def test_a_load_that_is_named_twice_counts_once() -> None:
    """In the order of the first mention."""
    assert parse_all("set-1x1,get-1x1,set-1x1") == [Shape("set", 1, 1), Shape("get", 1, 1)]


def test_a_peer_also_gets_the_load_over_a_sixteenth_of_the_connections() -> None:
    """With as many in flight in all, where the numbers allow it, and never in the protocol of Redis."""
    assert for_peer(Shape("set", 64, 1)) == [Shape("set", 64, 1), Shape("set", 4, 16)]
    assert for_peer(Shape("set", 50, 16, resp=True)) == [Shape("set", 50, 16)]
    assert for_peer(Shape("set", 1, 1)) == [Shape("set", 1, 1)]
    assert for_peer(Shape("set", 64, 100)) == [Shape("set", 64, 100)]
