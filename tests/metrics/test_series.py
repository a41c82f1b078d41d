"""One point a second, for ten minutes."""

from kvraft.commands import get_key, set_key
from kvraft.metrics import RequestCounts, Series
from kvraft.metrics.series import POINTS_MAX


def test_a_point_tells_what_was_done_since_the_one_before() -> None:
    """Rates are those of the time that has passed, also when a point comes late; gauges are as they are."""
    series, counts = Series(), RequestCounts("line")
    counts.note([set_key(b"k", b"v")], [1], 0.002)
    series.take(100.0, 1000.0, [counts], {"revision": 5, "keys": 1})
    assert series.newest is None, "nobody knows how long the first second was"
    counts.note([set_key(b"k", b"v")] * 10, [1] * 10, 0.002)
    counts.note([get_key(b"k")] * 4, [None] * 4, 0.0002)
    series.take(102.0, 1002.0, [counts], {"revision": 15, "keys": 1})
    point = series.newest
    assert point is not None
    assert (point["time"], point["writes"], point["reads"], point["changes"]) == (1002.0, 5.0, 2.0, 5.0)
    assert 1.0 < point["write_p50_ms"] <= point["write_p99_ms"] <= 2.5
    assert 0.1 < point["read_p99_ms"] <= 0.25
    assert point["keys"] == 1


def test_a_second_without_requests_has_no_latency() -> None:
    """There is none, which is not the same as a fast one."""
    series = Series()
    series.take(1.0, 1.0, [], {"revision": 5})
    series.take(2.0, 2.0, [], {"revision": 5})
    point = series.newest
    assert point is not None
    assert (point["writes"], point["write_p99_ms"], point["read_p50_ms"]) == (0.0, None, None)


def test_the_ring_holds_ten_minutes() -> None:
    """The oldest point gives way to the newest."""
    series = Series()
    for second in range(POINTS_MAX + 10):
        series.take(float(second), float(second), [], {"revision": second})
    assert len(series.points) == POINTS_MAX == 600
    assert (series.points[0]["time"], series.points[-1]["time"]) == (10.0, 609.0)


def test_a_store_that_goes_back_is_no_negative_rate() -> None:
    """An installed snapshot may only be newer; a rate below zero would be nonsense all the same."""
    series = Series()
    series.take(1.0, 1.0, [], {"revision": 5})
    series.take(2.0, 2.0, [], {"revision": 3})
    point = series.newest
    assert point is not None
    assert point["changes"] == 0.0
