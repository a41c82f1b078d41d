"""A histogram of durations: a list of plain numbers."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Final

BOUNDS_S: Final = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
)
"""The upper bounds of the buckets, in seconds. One more holds what is longer."""


class Histogram:
    """Counts durations by their length. One thread adds to it; others may read it at any time."""

    __slots__ = ("counts", "total_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        """Durations in each bucket, not those of the buckets below it."""
        self.total_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.total_s += seconds

    def observe_all(self, seconds: list[float]) -> None:
        """Count many. The list is sorted."""
        seconds.sort()
        below = 0
        for place, bound in enumerate(BOUNDS_S):
            end = bisect_right(seconds, bound, below)
            self.counts[place] += end - below
            below = end
        self.counts[-1] += len(seconds) - below
        self.total_s += sum(seconds)

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(self.counts)


def quantile(counts: Sequence[int], share: float) -> float | None:
    """Return the duration below which that share lies, in seconds; None where nothing was counted.

    Within a bucket the durations are taken as spread evenly. What is longer than all bounds is taken for the last one.
    """
    rank, below = share * sum(counts), 0
    if not rank:
        return None
    for place, count in enumerate(counts[:-1]):
        if count and below + count >= rank:
            lower = BOUNDS_S[place - 1] if place else 0.0
            return lower + (BOUNDS_S[place] - lower) * (rank - below) / count
        below += count
    return BOUNDS_S[-1]
