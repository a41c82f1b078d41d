"""What was measured, round by round, and what it comes to: medians, ratios with their spread, and a table."""

import statistics
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from benchmarks.shapes import Shape

OURS: Final = "kvraft"


class Sample(msgspec.Struct, frozen=True):
    """One contender under one load in one round."""

    contender: str
    shape: Shape
    round: int
    rate: float
    """Operations a second."""
    p50_ms: float
    p99_ms: float
    p999_ms: float
    leader_us: float
    """Processor time of the leader for an operation."""
    follower_us: float
    """The same of a follower, the mean of all; 0 where there is none."""
    other_cores: float
    """What other programs took of the processors meanwhile."""


class Spread(msgspec.Struct, frozen=True):
    """How values are distributed."""

    low: float
    quarter: float
    median: float
    three_quarters: float
    high: float

    def describe(self, pattern: str = "{:.2f}") -> str:
        """The median, and in brackets the minimum, the quartiles and the maximum."""
        low, quarter, median, upper, high = (pattern.format(value) for value in msgspec.structs.astuple(self))
        return f"{median} ({low} [{quarter} {upper}] {high})"


def spread_of(values: Iterable[float]) -> Spread:
    """Summarise at least one value; quartiles are interpolated between the values, which include both ends."""
    ordered = sorted(values)
    if len(ordered) == 1:
        return Spread(*ordered * 5)
    quarter, median, upper = statistics.quantiles(ordered, n=4, method="inclusive")
    return Spread(ordered[0], quarter, median, upper, ordered[-1])


class Samples:
    """All samples of one run."""

    def __init__(self, samples: Iterable[Sample] = ()) -> None:
        self.all: list[Sample] = list(samples)

    def add(self, sample: Sample) -> None:
        """Take one more."""
        self.all.append(sample)

    def of(self, contender: str, shape: Shape) -> list[Sample]:
        """One contender under one load, in the order of the rounds."""
        found = (sample for sample in self.all if sample.contender == contender and sample.shape == shape)
        return sorted(found, key=lambda sample: sample.round)

    def shapes(self, contender: str) -> list[Shape]:
        """The loads that a contender was measured under, in the order in which they came."""
        return list(dict.fromkeys(sample.shape for sample in self.all if sample.contender == contender))

    def contenders(self) -> list[str]:
        """All, in the order in which they came."""
        return list(dict.fromkeys(sample.contender for sample in self.all))

    def best_shape(self, contender: str, op: str) -> Shape | None:
        """The load at which a contender did most operations a second, by the medians."""
        shapes = [shape for shape in self.shapes(contender) if shape.op == op]
        return max(shapes, key=lambda shape: median_rate(self.of(contender, shape)), default=None)


def median_rate(samples: Sequence[Sample]) -> float:
    """The median of the operations a second."""
    return statistics.median(sample.rate for sample in samples)


def paired(ours: Sequence[Sample], theirs: Sequence[Sample]) -> list[tuple[Sample, Sample]]:
    """The samples of the rounds in which both were measured."""
    by_round = {sample.round: sample for sample in theirs}
    return [(sample, by_round[sample.round]) for sample in ours if sample.round in by_round]


def rate_ratio(pairs: Iterable[tuple[Sample, Sample]]) -> Spread:
    """Operations a second, ours to theirs."""
    return spread_of(one.rate / other.rate for one, other in pairs)


def p50_ratio(pairs: Iterable[tuple[Sample, Sample]]) -> Spread:
    """The median latency, ours to theirs."""
    return spread_of(one.p50_ms / other.p50_ms for one, other in pairs)


HEAD: Final = (
    f"{'':24}{'ops/s':>9}{'p50':>8}{'p99':>8}{'p99.9 ms':>10}{'leader':>8}{'follower us/op':>15}"
    "   kvraft : it, operations a second; median latency"
)


def row(name: str, samples: Sequence[Sample], ours: Sequence[Sample]) -> str:
    """One line of the table: medians and, for a peer, the ratios with min, quartiles and max over the rounds."""
    values = [
        statistics.median(getattr(sample, field) for sample in samples)
        for field in ("rate", "p50_ms", "p99_ms", "p999_ms", "leader_us", "follower_us")
    ]
    rate, p50, p99, p999, leader, follower = values
    follower_text = f"{follower:.1f}" if follower else "-"
    line = f"{name:24}{rate:>9,.0f}{p50:>8.2f}{p99:>8.2f}{p999:>10.2f}{leader:>8.1f}{follower_text:>15}"
    pairs = paired(ours, samples)
    if samples and ours and samples[0].contender != OURS and pairs:
        line += f"   {rate_ratio(pairs).describe()}; {p50_ratio(pairs).describe()}"
    return line


def table(samples: Samples, shapes: Sequence[Shape], peer_shapes: dict[Shape, dict[str, list[Shape]]]) -> str:
    """The whole table: for each load kvraft, each peer in each shape, and the best that the peer did at any load."""
    lines = [HEAD]
    for shape in shapes:
        ours = samples.of(OURS, shape)
        lines.append(f"{shape.title}, {len({sample.round for sample in ours})} rounds")
        if ours:
            lines.append(row("  kvraft", ours, ours))
        for peer, theirs in peer_shapes[shape].items():
            found = [(each, samples.of(peer, each)) for each in theirs]
            lines += [row(f"  {peer} {each.connections} x {each.in_flight}", of, ours) for each, of in found if of]
            best = samples.best_shape(peer, shape.op)
            if best is not None and best not in theirs:
                name = f"  {peer}'s best, {best.connections} x {best.in_flight}"
                lines.append(row(name, samples.of(peer, best), ours))
    return "\n".join(lines)
