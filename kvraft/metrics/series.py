"""The last ten minutes, one point a second, for the page."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import attrs

from kvraft.metrics.histogram import BOUNDS_S, quantile
from kvraft.metrics.requests import Effect, RequestCounts

POINTS_MAX: Final = 600
"""Points that are kept, one a second."""
POINT_S: Final = 1.0
"""Time between two points, seconds."""


@attrs.define
class _Sums:
    """How much was counted of one effect until a point."""

    requests: int = 0
    counts: Sequence[int] = (0,) * (len(BOUNDS_S) + 1)


class Series:
    """The points of the last ten minutes, oldest first."""

    def __init__(self) -> None:
        self.points: deque[dict[str, Any]] = deque(maxlen=POINTS_MAX)
        self._before: dict[Effect, _Sums] = {}
        self._revision: int | None = None
        self._at = 0.0

    @property
    def newest(self) -> dict[str, Any] | None:
        """The newest point; None before the first second is over."""
        return self.points[-1] if self.points else None

    def take(self, at: float, time: float, requests: Iterable[RequestCounts], gauges: Mapping[str, float]) -> None:
        """Add a point: what was counted since the one before, and the gauges as they are.

        `at` is the time of a clock that never goes back, `time` the time of day; both in seconds.
        """
        passed = at - self._at
        sums = _sum_up(requests)
        point: dict[str, Any] = {"time": round(time, 3)}
        for effect, name in ((Effect.WRITE, "write"), (Effect.READ, "read")):
            now, before = sums[effect], self._before.get(effect, _Sums())
            counts = [each - earlier for each, earlier in zip(now.counts, before.counts, strict=True)]
            point[f"{name}s"] = _rate(now.requests - before.requests, passed)
            point[f"{name}_p50_ms"] = _milliseconds(quantile(counts, 0.5))
            point[f"{name}_p99_ms"] = _milliseconds(quantile(counts, 0.99))
        revision = int(gauges["revision"])
        point["changes"] = _rate(revision - (self._revision or 0), passed)
        is_first = self._revision is None
        self._before, self._revision, self._at = sums, revision, at
        if not is_first:  # the first second may have been shorter or longer
            self.points.append({**point, **gauges})


def _sum_up(requests: Iterable[RequestCounts]) -> dict[Effect, _Sums]:
    sums = {effect: _Sums() for effect in Effect}
    for protocol in requests:
        for command in protocol:
            of_effect = sums[command.effect]
            of_effect.requests += command.requests
            pairs = zip(of_effect.counts, command.seconds.counts, strict=True)
            of_effect.counts = [one + other for one, other in pairs]
    return sums


def _rate(count: int, seconds: float) -> float:
    return round(max(0, count) / seconds, 1) if seconds > 0 else 0.0


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
