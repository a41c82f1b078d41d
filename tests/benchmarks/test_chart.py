"""The picture of throughput against latency."""

from xml.etree import ElementTree as ET

import pytest

from benchmarks.chart import Axis, Point, decades, draw, series, tick_text
from benchmarks.samples import Sample, Samples
from benchmarks.shapes import Shape

SVG = "{http://www.w3.org/2000/svg}"


def test_the_picture_is_xml_with_a_line_and_points_for_each_contender() -> None:
    """Names are escaped."""
    lines = {"a<b": [Point("1x1", 100, 1), Point("64x1", 10_000, 5)], "other": [Point("1x1", 50, 2)]}
    root = ET.fromstring(draw("this & that", lines))
    assert len(root.findall(f"{SVG}polyline")) == 2
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert {"this & that", "a<b", "other", "64x1"} <= set(texts)


def test_steps_enclose_all_values() -> None:
    """1, 2 and 5 times a power of ten; two of them where all values are one."""
    assert list(decades(1.5, 60)) == pytest.approx([1, 2, 5, 10, 20, 50, 100])
    assert list(decades(10, 10)) == pytest.approx([10, 20])
    with pytest.raises(ValueError, match="zero"):
        list(decades(0, 1))


def test_an_axis_is_logarithmic() -> None:
    """Each factor of ten is as far."""
    axis = Axis([1, 100], 0, 200)
    assert [axis.place(value) for value in (1, 10, 100)] == pytest.approx([0, 100, 200])


def test_nothing_cannot_be_drawn() -> None:
    """That is said, not drawn."""
    with pytest.raises(ValueError, match="nothing"):
        draw("empty", {})


def test_points_are_medians_in_the_order_of_throughput() -> None:
    """Of loads with the same operation."""
    samples = Samples([
        Sample("etcd", Shape("set", 64, 1), number, rate, 3.0, 4.0, 5.0, leader_us=1, follower_us=1, other_cores=0)
        for number, rate in enumerate((100, 300, 200))
    ])  # fmt: skip
    samples.add(Sample("etcd", Shape("set", 1, 1), 0, 10, 1.0, 4.0, 5.0, leader_us=1, follower_us=1, other_cores=0))
    samples.add(Sample("etcd", Shape("get", 1, 1), 0, 99, 1.0, 4.0, 5.0, leader_us=1, follower_us=1, other_cores=0))
    assert series(samples) == {"etcd": [Point("1x1", 10, 1.0), Point("64x1", 200, 3.0)]}


def test_thousands_are_short() -> None:
    """As 20k, while latencies keep their decimals."""
    assert [tick_text(value) for value in (0.5, 20, 20_000)] == ["0.5", "20", "20k"]
