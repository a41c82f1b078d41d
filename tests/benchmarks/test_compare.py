"""The command line of `make bench`, and what becomes of what it measures."""

import json
from pathlib import Path

import pytest

from benchmarks import results
from benchmarks.chart import read
from benchmarks.compare import QUICK_ROUNDS, SELECTIONS, arguments, parse
from benchmarks.measure import LoadResult
from benchmarks.pysyncobj_node import percentile
from benchmarks.rounds import FACTORIES, PEERS, Contender, to_load, to_sample
from benchmarks.samples import OURS, Sample
from benchmarks.shapes import Shape


def test_nothing_said_is_a_quick_comparison_with_all_peers() -> None:
    """Few rounds of throughput."""
    options = parse([])
    assert (options.selection, options.rounds, options.peers) == ("throughput", QUICK_ROUNDS, [*PEERS])


def test_peers_and_loads_are_named() -> None:
    """Separated by commas."""
    options = parse(["throughput", "--peers", "etcd,redis", "--loads", "set-1x1", "--rounds", "20"])
    assert (options.peers, options.loads, options.rounds) == (["etcd", "redis"], [Shape("set", 1, 1)], 20)


@pytest.mark.parametrize(
    "words", [["everything"], ["--peers", "oracle"], ["--loads", "set"], ["--rounds", "0"], ["--seconds", "61"]]
)
def test_a_wrong_word_ends_it_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is started."""
    with pytest.raises(SystemExit) as exited:
        parse(words)
    assert exited.value.code == 2
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize("selection", [*SELECTIONS])
def test_what_was_asked_for_is_kept_without_folders(selection: str) -> None:
    """Results say how they were made, and not where."""
    kept = arguments(parse([selection, "--results", "/somewhere"]))
    assert kept["selection"] == selection
    assert "/somewhere" not in json.dumps(kept)


def test_results_are_read_as_they_were_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the machine, the versions and the commit."""
    monkeypatch.setattr(results, "PROGRAMS", {"redis": ("no-such-program",)})
    sample = Sample("etcd", Shape("set", 1, 1), 0, 10.0, 1.0, 2.0, 3.0, leader_us=4, follower_us=5, other_cores=0.5)
    path = results.new_path("throughput", tmp_path)
    results.write(path, {"rounds": 1}, [sample])
    assert read(path).data == [sample]
    assert {"cores", "kernel", "python"} <= json.loads(path.read_text())["machine"].keys()
    assert "<svg" in read(path).draw()


def test_processor_time_is_divided_by_operations() -> None:
    """The leader's own, and the mean of the others'."""
    result = LoadResult(1, 1, 100, 0, 10_000.0, 1.0, 2.0, 3.0, 4.0, [0.1, 0.5, 0.3], 0.1, 0.2, 0.05, "")
    sample = to_sample(OURS, Shape("set", 1, 1), 0, result, leader=1)
    assert sample.leader_us == pytest.approx(50)
    assert sample.follower_us == pytest.approx(20)
    assert sample.other_cores == pytest.approx(0.25)


def test_contenders_get_the_loads_that_can_be_compared() -> None:
    """Redis' protocol is kvraft's second one; PySyncObj's reads ask no other node."""
    contenders = {name: Contender(name, object(), Path()) for name in FACTORIES}  # type: ignore[arg-type]
    shape = Shape("get", 64, 1, resp=True)
    assert contenders[OURS].shapes(shape) == [shape]
    assert contenders["redis"].shapes(shape) == [shape]
    assert contenders["pysyncobj"].shapes(shape) == []
    assert contenders["etcd"].shapes(shape) == [Shape("get", 64, 1), Shape("get", 4, 16)]
    assert to_load(shape, 2, OURS).protocol == "resp"
    assert to_load(shape, 2, "redis").protocol is None


def test_percentiles_of_a_peer_that_times_itself() -> None:
    """The value that so many do not exceed."""
    ordered = [float(value) for value in range(1, 1001)]
    assert [percentile(ordered, percent) for percent in (50, 99, 99.9, 100)] == [501, 991, 1000, 1000]
    assert percentile([], 50) == 0.0
