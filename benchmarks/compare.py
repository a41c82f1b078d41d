"""kvraft against etcd, ZooKeeper, redis-server alone and PySyncObj, side by side: `make bench`.

    make bench                                         a quick look, some minutes
    make bench ARGS="throughput --full --rounds 20"    what the goals are stated for, more than an hour
    make bench ARGS="open|failover|silent|once|memory|replay"

The goals are medians of at least 20 rounds of 2 s. What is measured goes to benchmarks/results as JSON, after each
round; `--add-to FILE` goes on with a file of results. A peer that is not installed is skipped, with a word.
"""

import argparse
import statistics
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks import failover, memory, restart, results, shapes
from benchmarks.chart import read
from benchmarks.cluster import REPOSITORY, BenchmarkError
from benchmarks.command import bounded, checkout, run
from benchmarks.measure import Load, LoadResult, load_generator
from benchmarks.rounds import PEERS, Contender, measure_round, start, to_load
from benchmarks.samples import OURS, Samples, spread_of, table
from benchmarks.shapes import Shape

ROUNDS_MAX: Final = 200
SECONDS_MAX: Final = 60
ROUNDS_A_START: Final = 5
"""Clusters are started anew after so many, the other one first: the order of the starts was seen to matter."""
ROUNDS_OF_GOALS: Final = 20
SECONDS_OF_GOALS: Final = 2
QUICK_ROUNDS: Final = 3
PICTURE: Final = REPOSITORY / "docs" / "images" / "throughput.svg"
OPEN_SHAPE: Final = Shape("set", 64, 64)
"""Connections of the open loop, and requests in flight on each: enough that hardly any waits before it leaves."""
PEAK_SHAPES: Final = (Shape("set", 64, 16), Shape("set", 16, 64))
OPEN_WARMUP_SECONDS: Final = 1
ONCE_SHAPE: Final = Shape("set", 64, 1)


def throughput(options: argparse.Namespace) -> None:
    """Closed loops: every contender under every load, round after round."""
    loads = options.loads or shapes.parse_all(",".join(shapes.FULL if options.full else shapes.QUICK))
    path = options.add_to or results.new_path("throughput", options.results)
    samples = Samples(read(path).data if options.add_to else ())
    begin = 1 + max((sample.round for sample in samples.all), default=-1)
    peer_shapes: dict[Shape, dict[str, list[Shape]]] = {shape: {} for shape in loads}
    with load_generator() as program:
        for first in range(begin, begin + options.rounds, ROUNDS_A_START):
            with ExitStack() as stack:
                swapped = first // ROUNDS_A_START % 2 == 1
                contenders = start([OURS, *options.peers], program, stack, swapped=swapped, when_quiet=not options.busy)
                for shape in loads:
                    peer_shapes[shape] = {n: c.shapes(shape) for n, c in contenders.items() if n != OURS}
                for number in range(first, min(first + ROUNDS_A_START, begin + options.rounds)):
                    print(f"round {number - begin + 1} of {options.rounds}", flush=True)
                    for sample in measure_round(contenders, loads, options.seconds, number):
                        samples.add(sample)
                    results.write(path, arguments(options), samples.all)
    print(table(samples, loads, peer_shapes))
    print("ratios: median (minimum [quartiles] maximum) over the rounds")
    if options.rounds + begin < ROUNDS_OF_GOALS or options.seconds < SECONDS_OF_GOALS:
        print(f"few rounds: the goals are medians of at least {ROUNDS_OF_GOALS} rounds of {SECONDS_OF_GOALS} s")
    print(f"written: {path}")
    if options.picture:
        options.picture.write_text(read(path).draw())
        print(f"drawn: {options.picture}")


def in_turn(
    options: argparse.Namespace,
    names: list[str],
    before: Callable[[Mapping[str, Contender]], dict[str, Load]],
    file: str,
) -> dict[str, list[LoadResult]]:
    """Measure kvraft and peers in turn, each under the load that `before` names; write the results."""
    found: dict[str, list[LoadResult]] = {name: [] for name in names}
    path = results.new_path(file, options.results)
    with load_generator() as program, ExitStack() as stack:
        contenders = start(names, program, stack, swapped=False, when_quiet=not options.busy)
        if missing := set(names) - set(contenders):
            raise BenchmarkError(f"there is nothing to compare with: {', '.join(missing)}")
        loads = before(contenders)
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", flush=True)
            for name in names if number % 2 == 0 else names[::-1]:
                with contenders[name].turn():
                    result, _ = contenders[name].measure(loads[name])
                print(f"  {name:10} {result.describe()}", flush=True)
                found[name].append(result)
            results.write(path, arguments(options) | {"loads": loads}, found)
    print(f"written: {path}")
    return found


def open_loop(options: argparse.Namespace) -> None:
    """SETs at a fixed rate, half of what etcd reaches at its best: latency from when each was due."""

    def loads(contenders: Mapping[str, Contender]) -> dict[str, Load]:
        with contenders["etcd"].turn():
            peaks = [contenders["etcd"].measure(to_load(shape, options.seconds, "etcd"))[0] for shape in PEAK_SHAPES]
        peak = max(result.rps for result in peaks)
        rate = options.rate or int(peak / 2)
        print(f"etcd at its best: {peak:,.0f}/s; the open loop: {rate:,}/s", flush=True)
        connections, waiting = OPEN_SHAPE.connections, OPEN_SHAPE.in_flight
        load = Load("set", connections, waiting, options.seconds, OPEN_WARMUP_SECONDS, rate=rate)
        return {OURS: load, "etcd": load}

    found = in_turn(options, [OURS, "etcd"], loads, "open")
    for field in ("p50_ms", "p99_ms", "p999_ms", "max_ms"):
        ours, theirs = ([getattr(result, field) for result in found[name]] for name in (OURS, "etcd"))
        ratio = spread_of(one / other for one, other in zip(ours, theirs, strict=True))
        medians = f"kvraft {statistics.median(ours):.2f} ms, etcd {statistics.median(theirs):.2f} ms (medians)"
        print(f"{field[:-3]}: {medians}; kvraft : etcd = {ratio.describe()}")


def once(options: argparse.Namespace) -> None:
    """One connection a request with kvraft, against connections that stay with etcd."""

    def loads(_: Mapping[str, Contender]) -> dict[str, Load]:
        theirs = to_load(ONCE_SHAPE, options.seconds, "etcd")
        return {OURS: msgspec.structs.replace(theirs, protocol="once"), "etcd": theirs}

    found = in_turn(options, [OURS, "etcd"], loads, "once")
    ratio = spread_of(one.rps / other.rps for one, other in zip(found[OURS], found["etcd"], strict=True))
    print(f"SET, 64 at once, one connection a request : etcd's 64 that stay = {ratio.describe()}")


def failovers(options: argparse.Namespace, *, silent: bool = False) -> None:
    """Kill or silence leaders, of kvraft and of etcd."""
    runs = options.runs
    arranged = argparse.Namespace(runs=runs, silent=silent, reference="etcd", reference_runs=runs)
    path = results.new_path("silent" if silent else "failover", options.results)
    results.write(path, arguments(options), failover.compare(arranged))
    print(f"written: {path}")


def memories(options: argparse.Namespace) -> None:
    """The memory of this build, and of another one if it is named."""
    found = {}
    for name, build in {"this build": None, "the other build": options.build}.items():
        if name == "this build" or build is not None:
            print(name, flush=True)
            arranged = {"rate": 50_000, "seconds": 15, "missed_seconds": 10, "rest_seconds": 60, "build": build}
            found[name] = memory.measure(argparse.Namespace(**arranged))
    path = results.new_path("memory", options.results)
    results.write(path, arguments(options), found)
    print(f"written: {path}")


def replays(options: argparse.Namespace) -> None:
    """Open and replay a journal of 1,000,000 entries, with this build and with another one if it is named."""
    found = {}
    for name, build in {"this build": None, "the other build": options.build}.items():
        if name == "this build" or build is not None:
            print(name, flush=True)
            arranged = {"keys": 1_000_000, "rounds": options.rounds, "stall": False, "replay": True, "build": build}
            found[name] = restart.measure(argparse.Namespace(**arranged))
    if len(found) > 1:
        ours, theirs = (statistics.median(times) for times in found.values())
        print(f"this build : the other one = {ours / theirs:.2f} (medians)")
    path = results.new_path("replay", options.results)
    results.write(path, arguments(options), found)
    print(f"written: {path}")


SELECTIONS: Final[Mapping[str, Callable[[argparse.Namespace], None]]] = {
    "throughput": throughput,
    "open": open_loop,
    "once": once,
    "failover": failovers,
    "silent": lambda options: failovers(options, silent=True),
    "memory": memories,
    "replay": replays,
}


def arguments(options: argparse.Namespace) -> dict[str, Any]:
    """What was asked for, for the file of results; folders of this machine are left out."""
    kept = {"selection", "rounds", "seconds", "peers", "runs", "rate", "full", "busy"}
    return {name: value for name, value in vars(options).items() if name in kept}


def peers(text: str) -> list[str]:
    """Read names of peers."""
    names = list(dict.fromkeys(filter(None, text.split(","))))
    if unknown := set(names) - set(PEERS):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: the peers are {', '.join(PEERS)}")
    return names


def loads_of(text: str) -> list[Shape]:
    """Read names of loads."""
    try:
        return shapes.parse_all(text)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from problem


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("selection", nargs="?", choices=[*SELECTIONS], default="throughput")
    parser.add_argument("--rounds", type=bounded(1, ROUNDS_MAX), default=QUICK_ROUNDS)
    parser.add_argument("--seconds", type=bounded(1, SECONDS_MAX), default=SECONDS_OF_GOALS, help="of a measurement")
    parser.add_argument("--runs", type=bounded(1, failover.RUNS_MAX), default=10, help="of failover and silent")
    parser.add_argument("--peers", type=peers, default=[*PEERS], help=f"some of {','.join(PEERS)}")
    parser.add_argument("--loads", type=loads_of, help=f"such as {','.join(shapes.FULL)}")
    parser.add_argument("--full", action="store_true", help="all loads that a goal is stated for")
    parser.add_argument("--busy", action="store_true", help="do not wait until other programs are quiet")
    parser.add_argument("--rate", type=bounded(1, 1_000_000), help="of open; half of etcd's peak unless said")
    parser.add_argument("--build", type=checkout, metavar="FOLDER", help="of memory and replay: another checkout")
    parser.add_argument("--results", type=Path, default=results.FOLDER, metavar="FOLDER")
    parser.add_argument("--add-to", type=Path, metavar="FILE", help="go on with these results of throughput")
    parser.add_argument("--picture", type=Path, nargs="?", const=PICTURE, metavar="FILE", help="draw one, in docs")
    return parser.parse_args(words)


def main() -> None:
    """Measure what is asked for."""
    options = parse()
    run(SELECTIONS[options.selection], options)


if __name__ == "__main__":
    main()
