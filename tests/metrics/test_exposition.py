"""Prometheus' text of a node's numbers."""

from typing import Final

import pytest
from prometheus_client.parser import text_string_to_metric_families

from kvraft.metrics import Histogram
from kvraft.metrics.catalogue import METRICS, Sample, Type
from kvraft.metrics.exposition import HISTOGRAMS_A_PIECE, Exposition

DURATION: Final = Histogram()
DURATION.observe(0.002)
DURATION.observe(99.0)


def parsed(*samples: Sample) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Write samples, and read them as Prometheus does."""
    text = b"".join(Exposition().pieces(samples)).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_gauges_and_counters_keep_their_labels() -> None:
    """A number of each label is a line of its own."""
    found = parsed(
        Sample("kvraft_raft_term", 7),
        Sample("kvraft_raft_elections_total", 2, ("silence",)),
        Sample("kvraft_raft_elections_total", 1, ("transfer",)),
    )
    assert found["kvraft_raft_term", ()] == 7
    assert found["kvraft_raft_elections_total", (("reason", "silence"),)] == 2
    assert found["kvraft_raft_elections_total", (("reason", "transfer"),)] == 1


def test_a_histogram_is_cumulative() -> None:
    """Each bucket counts those below it, and the last one all."""
    found = parsed(Sample("kvraft_turn_seconds", DURATION))
    assert found["kvraft_turn_seconds_bucket", (("le", "0.001"),)] == 0
    assert found["kvraft_turn_seconds_bucket", (("le", "0.0025"),)] == 1
    assert found["kvraft_turn_seconds_bucket", (("le", "+Inf"),)] == 2
    assert found["kvraft_turn_seconds_count", ()] == 2
    assert found["kvraft_turn_seconds_sum", ()] == pytest.approx(99.002)


def test_a_large_family_comes_in_pieces_and_is_one_family() -> None:
    """Its head stands once, and nothing is lost between two pieces."""
    samples = [Sample("kvraft_request_seconds", DURATION, ("line", f"c{number}")) for number in range(50)]
    pieces = [*Exposition().pieces(samples)]
    text = b"".join(pieces).decode()
    assert text.count("# TYPE kvraft_request_seconds histogram") == 1
    assert text.count("kvraft_request_seconds_count{") == 50
    assert len(parsed(*samples)) > 50 * len(DURATION.counts)
    longest = max(piece.count(b"kvraft_request_seconds_bucket{") for piece in pieces)
    assert longest <= (HISTOGRAMS_A_PIECE + 1) * (len(DURATION.counts) + 1)


def test_the_facts_of_the_process_are_told() -> None:
    """Those that prometheus_client reads from the kernel, under the names that every dashboard uses."""
    found = {name for name, _ in parsed()}
    assert {"python_info", "python_gc_collections_total"} <= found


@pytest.mark.parametrize("name", METRICS)
def test_names_follow_the_habits_of_prometheus(name: str) -> None:
    """A counter ends in _total, a duration in _seconds, and only a counter ends so."""
    metric = METRICS[name]
    assert name.endswith("_total") == (metric.type is Type.COUNTER)
    assert name.startswith("kvraft_")
    assert metric.type is not Type.HISTOGRAM or name.endswith("_seconds")
    assert metric.help.endswith(".")
