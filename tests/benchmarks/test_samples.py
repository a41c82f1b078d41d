"""What rounds come to: medians, ratios of the same round, and a table."""

import pytest

from benchmarks.samples import OURS, Sample, Samples, p50_ratio, paired, rate_ratio, spread_of, table
from benchmarks.shapes import Shape

SHAPE = Shape("set", 64, 1)
WIDE = Shape("set", 4, 16)
WIDEST = Shape("set", 16, 64)


def sample(contender: str, number: int, rate: float, shape: Shape = SHAPE, p50_ms: float = 1.0) -> Sample:
    """A sample of which only these fields matter."""
    return Sample(contender, shape, number, rate, p50_ms, 2.0, 3.0, leader_us=20.0, follower_us=10.0, other_cores=0.1)


def test_a_spread_has_ends_and_quartiles() -> None:
    """Quartiles are those of the values themselves; a single value is all of them."""
    spread = spread_of([5, 1, 4, 2, 3])
    assert (spread.low, spread.quarter, spread.median, spread.three_quarters, spread.high) == (1, 2, 3, 4, 5)
    assert spread_of([7]).describe("{:.0f}") == "7 (7 [7 7] 7)"


def test_ratios_are_of_the_same_round() -> None:
    """A round in which one of both is missing gives none."""
    ours = [sample(OURS, 0, 300), sample(OURS, 1, 100), sample(OURS, 2, 900)]
    theirs = [sample("etcd", 2, 300), sample("etcd", 0, 100)]
    pairs = paired(ours, theirs)
    assert [(one.round, other.round) for one, other in pairs] == [(0, 0), (2, 2)]
    assert rate_ratio(pairs).median == pytest.approx(3)


def test_latency_is_compared_as_ours_to_theirs() -> None:
    """Below 1, kvraft answers sooner."""
    pairs = [(sample(OURS, 0, 1, p50_ms=0.5), sample("etcd", 0, 1, p50_ms=2.0))]
    assert p50_ratio(pairs).median == pytest.approx(0.25)


def test_the_best_of_a_peer_is_that_of_its_medians() -> None:
    """One lucky round does not make a load the best."""
    samples = Samples([
        *(sample("etcd", number, rate, SHAPE) for number, rate in enumerate((10, 10, 1000))),
        *(sample("etcd", number, 20, WIDE) for number in range(3)),
    ])  # fmt: skip
    assert samples.best_shape("etcd", "set") == WIDE
    assert samples.best_shape("etcd", "get") is None


def test_the_table_has_each_shape_and_the_best_at_any_load() -> None:
    """Each peer's line ends with both ratios; kvraft's has none."""
    samples = Samples([
        sample(OURS, 0, 30_000, p50_ms=1.0),
        sample("etcd", 0, 10_000, p50_ms=2.0),
        sample("etcd", 0, 15_000, WIDE),
        sample("etcd", 0, 20_000, WIDEST),
    ])  # fmt: skip
    lines = table(samples, [SHAPE], {SHAPE: {"etcd": [SHAPE, WIDE]}}).splitlines()
    assert lines[1] == "SET, 64 x 1, 1 rounds"
    assert lines[2].split() == ["kvraft", "30,000", "1.00", "2.00", "3.00", "20.0", "10.0"]
    assert lines[3].endswith("3.00 (3.00 [3.00 3.00] 3.00); 0.50 (0.50 [0.50 0.50] 0.50)")
    assert lines[4].startswith("  etcd 4 x 16")
    assert lines[5].startswith("  etcd's best, 16 x 64")
    assert "1.50 (" in lines[5]


def test_a_contender_without_followers_has_no_cost_of_them() -> None:
    """Its line says so with a dash."""
    alone = Sample("redis", SHAPE, 0, 10.0, 1.0, 2.0, 3.0, leader_us=5.0, follower_us=0.0, other_cores=0.0)
    text = table(Samples([sample(OURS, 0, 10), alone]), [SHAPE], {SHAPE: {"redis": [SHAPE]}})
    assert text.splitlines()[-1].split()[:9] == ["redis", "64", "x", "1", "10", "1.00", "2.00", "3.00", "5.0"]
    assert text.splitlines()[-1].split()[9] == "-"
