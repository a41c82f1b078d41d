"""Durations by their length, and what lies below a share of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvraft.metrics.histogram import BOUNDS_S, Histogram, quantile


def test_a_duration_is_counted_in_the_bucket_that_it_just_fits_in() -> None:
    """A bound belongs to its bucket, as Prometheus' `le` says; what is longer than all stands in the last one."""
    histogram = Histogram()
    for seconds in (0.0, BOUNDS_S[0], BOUNDS_S[0] * 1.01, BOUNDS_S[-1], 100.0):
        histogram.observe(seconds)
    assert histogram.counts == [2, 1, *[0] * (len(BOUNDS_S) - 3), 1, 1]
    assert histogram.count == 5
    assert histogram.total_s == pytest.approx(110.0002, abs=0.001)


@given(st.lists(st.sampled_from((0.0, *BOUNDS_S)) | st.floats(0.0, 20.0)))
def test_many_are_counted_as_each_alone(durations: list[float]) -> None:
    """In the same buckets, and to the same total."""
    alone, together = Histogram(), Histogram()
    for seconds in durations:
        alone.observe(seconds)
    together.observe_all([*durations])
    assert together.counts == alone.counts
    assert together.total_s == pytest.approx(alone.total_s)


def test_bounds_grow() -> None:
    """The search for a bucket needs them in order."""
    assert [*BOUNDS_S] == sorted(set(BOUNDS_S))


def test_a_quantile_lies_within_its_bucket() -> None:
    """Of ten durations between 1 and 2.5 ms, half lie below the middle; none give none; the longest are the last."""
    counts = [0] * (len(BOUNDS_S) + 1)
    assert quantile(counts, 0.5) is None
    counts[BOUNDS_S.index(0.0025)] = 10
    assert quantile(counts, 0.5) == pytest.approx(0.00175)
    assert quantile(counts, 1.0) == pytest.approx(0.0025)
    counts[-1] = 1000
    assert quantile(counts, 0.99) == BOUNDS_S[-1]
