"""A picture of throughput against latency, as SVG: a line for each contender, a point for each load.

`python -m benchmarks.chart benchmarks/results/throughput-….json docs/images/throughput.svg` draws it from a file of
results.
"""

import math
import statistics
import sys
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.samples import Sample, Samples, median_rate

WIDTH: Final = 760
HEIGHT: Final = 460
LEFT, RIGHT, TOP, BOTTOM = 70, 150, 46, 56
COLOURS: Final = ("#d1495b", "#2a6fbb", "#3a923a", "#b8860b", "#7d5ba6", "#555555")
STYLE: Final = (
    "text{font:12px sans-serif;fill:#24292f}.grid{stroke:#d0d7de}.axis{stroke:#57606a}.paper{fill:#ffffff}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.grid{stroke:#30363d}.axis{stroke:#8b949e}.paper{fill:#0d1117}}"
)


class Point(msgspec.Struct, frozen=True):
    """One load."""

    label: str
    rate: float
    latency_ms: float


class Axis:
    """A logarithmic axis whose ends are 1, 2 or 5 times a power of ten."""

    def __init__(self, values: Sequence[float], begin: float, end: float) -> None:
        steps = list(decades(min(values), max(values)))
        self.ticks = steps
        self._low, self._high = math.log(steps[0]), math.log(steps[-1])
        self._begin, self._end = begin, end

    def place(self, value: float) -> float:
        """Where a value is drawn."""
        share = (math.log(value) - self._low) / (self._high - self._low)
        return self._begin + share * (self._end - self._begin)


def decades(low: float, high: float) -> Iterator[float]:
    """The steps 1, 2 and 5 times a power of ten that enclose both values; at least two."""
    if low <= 0:
        raise ValueError("a logarithmic axis has no place for zero")
    exponent = math.floor(math.log10(low))
    steps = [step * 10.0**power for power in range(exponent, exponent + 20) for step in (1, 2, 5)]
    first = max(index for index, step in enumerate(steps) if step <= low * (1 + 1e-9))
    last = next(index for index, step in enumerate(steps) if step >= high and index > first)
    yield from steps[first : last + 1]


def series(samples: Samples, op: str = "set") -> dict[str, list[Point]]:
    """The medians of each contender under each load with this operation, by rising throughput."""
    found: dict[str, list[Point]] = {}
    for contender in samples.contenders():
        points = []
        for shape in samples.shapes(contender):
            if shape.op == op:
                these = samples.of(contender, shape)
                latency = statistics.median(sample.p50_ms for sample in these)
                label = f"{shape.connections}x{shape.in_flight}{' RESP' if shape.resp else ''}"
                points.append(Point(label, median_rate(these), latency))
        if points:
            found[contender] = sorted(points, key=lambda point: point.rate)
    return found


def tick_text(value: float) -> str:
    """A number at an axis."""
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"  # noqa: PLR2004 - thousands


def draw(title: str, lines: dict[str, list[Point]]) -> str:
    """The picture.

    Raises:
        ValueError: there is nothing to draw.
    """
    points = [point for line in lines.values() for point in line]
    if not points:
        raise ValueError("there is nothing to draw")
    across = Axis([point.rate for point in points], LEFT, WIDTH - RIGHT)
    up = Axis([point.latency_ms for point in points], HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>',
        f'<text x="{LEFT}" y="24" style="font-weight:bold">{escape(title)}</text>',
        *grid(across, up),
    ]
    for number, (name, line) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        places = [(across.place(point.rate), up.place(point.latency_ms)) for point in line]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{path}"/>')
        for (x, y), point in zip(places, line, strict=True):
            hint = f"{name} {point.label}: {point.rate:,.0f}/s, {point.latency_ms:.2f} ms"
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}">')
            parts.append(f"<title>{escape(hint)}</title></circle>")
            parts.append(f'<text x="{x + 6:.1f}" y="{y - 6:.1f}" style="font-size:9px">{escape(point.label)}</text>')
        y = TOP + 8 + 20 * number
        parts.append(f'<circle cx="{WIDTH - RIGHT + 34}" cy="{y}" r="5" fill="{colour}"/>')
        parts.append(f'<text x="{WIDTH - RIGHT + 46}" y="{y + 4}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def grid(across: Axis, up: Axis) -> Iterator[str]:
    """Both axes with their numbers."""
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    for tick in across.ticks:
        x = across.place(tick)
        yield f'<line class="grid" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{bottom}"/>'
        yield f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{tick_text(tick)}</text>'
    for tick in up.ticks:
        y = up.place(tick)
        yield f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>'
        yield f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick_text(tick)}</text>'
    yield f'<path class="axis" fill="none" d="M{LEFT} {TOP}V{bottom}H{right}"/>'
    yield f'<text x="{(LEFT + right) / 2:.0f}" y="{HEIGHT - 14}" text-anchor="middle">operations a second</text>'
    turned = f"translate(20 {(TOP + bottom) / 2:.0f}) rotate(-90)"
    yield f'<text transform="{turned}" text-anchor="middle">median latency, ms</text>'


class Stored(msgspec.Struct):
    """What is read of a file of results."""

    taken: str
    commit: str
    data: list[Sample]

    def draw(self) -> str:
        """The picture of these results."""
        rounds = len({sample.round for sample in self.data})
        title = f"SET on three durable nodes: medians of {rounds} rounds ({self.taken[:10]}, {self.commit})"
        return draw(title, series(Samples(self.data)))


def read(path: Path) -> Stored:
    """Read a file of results."""
    return msgspec.json.decode(path.read_bytes(), type=Stored)


def main() -> None:
    """Draw the picture of a file of results."""
    source, target = map(Path, sys.argv[1:])
    target.write_text(read(source).draw())


if __name__ == "__main__":
    main()
