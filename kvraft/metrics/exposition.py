"""Makes Prometheus' text of the numbers of a node, in pieces, so that no turn of the reactor waits for all of it."""

from collections.abc import Iterable, Iterator
from itertools import accumulate, chain
from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import (
    Metric as Family,
)
from prometheus_client.registry import Collector

from kvraft.metrics.catalogue import METRICS, Sample, Type
from kvraft.metrics.histogram import BOUNDS_S, Histogram

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
_BOUNDS: Final = (*(f"{bound:g}" for bound in BOUNDS_S), "+Inf")
HISTOGRAMS_A_PIECE: Final = 4
"""Most histograms in one piece: each has twenty lines."""


class NodeCollector(Collector):
    """Gives the samples of a node to prometheus_client, as families.

    Args:
        samples: the numbers as they are now.
    """

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._samples = samples

    def collect(self) -> Iterator[Family]:
        """Yield each family; one with many histograms in several parts."""
        by_name: dict[str, list[Sample]] = {}
        for sample in self._samples:
            by_name.setdefault(sample.name, []).append(sample)
        for name, samples in by_name.items():
            yield _family(name, samples)


class _Process:
    """The facts of the process, which prometheus_client reads from the kernel."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._collectors = (ProcessCollector(registry=registry), PlatformCollector(registry), GCCollector(registry))

    def collect(self) -> Iterator[Family]:
        """Yield their families."""
        for collector in self._collectors:
            yield from collector.collect()


class _One(Collector):
    """One family, as something to be collected."""

    def __init__(self, family: Family) -> None:
        self._family = family

    def collect(self) -> Iterator[Family]:
        """Yield it."""
        yield self._family


class Exposition:
    """Writes the text of one node, piece by piece."""

    def __init__(self) -> None:
        self._process = _Process()

    def pieces(self, samples: Iterable[Sample]) -> Iterator[bytes]:
        """Yield the text in pieces of about a millisecond each.

        The samples are read when each piece is made, so the numbers of one answer may be some milliseconds apart.
        """
        for family in chain(NodeCollector(samples).collect(), self._process.collect()):
            yield from _parts(family)


def _parts(family: Family) -> Iterator[bytes]:
    """Yield the text of one family; its head stands only before the first part."""
    size = HISTOGRAMS_A_PIECE * (len(_BOUNDS) + 2)
    samples = family.samples
    for place in range(0, max(1, len(samples)), size):
        part = Family(family.name, family.documentation, family.type, family.unit)
        part.samples = samples[place : place + size]
        text = generate_latest(_One(part))
        if place:
            text = b"".join(line for line in text.splitlines(keepends=True) if not line.startswith(b"#"))
        yield text


def _family(name: str, samples: Iterable[Sample]) -> Family:
    metric = METRICS[name]
    match metric.type:
        case Type.COUNTER:
            counter = CounterMetricFamily(name.removesuffix("_total"), metric.help, labels=metric.labels)
            for sample in samples:
                counter.add_metric(sample.labels, _number(sample))
            return counter
        case Type.GAUGE:
            gauge = GaugeMetricFamily(name, metric.help, labels=metric.labels)
            for sample in samples:
                gauge.add_metric(sample.labels, _number(sample))
            return gauge
        case Type.HISTOGRAM:
            histogram = HistogramMetricFamily(name, metric.help, labels=metric.labels)
            for sample in samples:
                assert isinstance(sample.value, Histogram), f"{name} is a histogram"
                counts = zip(_BOUNDS, accumulate(sample.value.counts), strict=True)
                histogram.add_metric(sample.labels, [*counts], sample.value.total_s)
            return histogram


def _number(sample: Sample) -> float:
    assert not isinstance(sample.value, Histogram), f"{sample.name} is one number"
    return sample.value
