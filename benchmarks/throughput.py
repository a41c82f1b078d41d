"""How many requests a second kvraft answers, as a multiple of a reference measured in turn with it.

The reference is etcd with as many requests in flight, in two shapes: the connections that kvraft gets, and a sixteenth
of them with sixteen times the streams, as Go's client would. Another checkout of kvraft can stand in its place: a
change is measured against the build before it. Without either it is the disk alone: a loop that appends one record and
syncs it, which is what a durable SET costs at least when each has its own.

The clusters run side by side and get the load in turn, a short while each: a machine that others share may be twice as
fast in a minute, and only what was measured within seconds can be compared. They are started anew every few rounds, the
other one first: of two clusters of the same build the one that was started first was 3 to 5 % slower (measured).
"""

import argparse
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.cluster import Cluster, EtcdCluster, KvraftCluster, fresh_folder
from benchmarks.command import bounded, checkout, run
from benchmarks.measure import Load, fill, load_generator, run_load, spread, wait_until_quiet

ROUNDS_MAX: Final = 100
SECONDS_MAX: Final = 120
CONNECTIONS_MAX: Final = 1000
IN_FLIGHT_MAX: Final = 1024
WARMUP_SECONDS: Final = 2
ROUNDS_A_START: Final = 5
RECORD_BYTES: Final = 128
"""About what one SET of a 64-byte value takes in a log."""
STREAMS_A_CONNECTION: Final = 16


def prepare(program: Path, cluster: Cluster, load: Load) -> None:
    """Bring a new cluster into the state that it is to be measured in."""
    fill(program, cluster)  # a SET that is measured replaces a value, wherever in the run it comes
    run_load(program, cluster, msgspec.structs.replace(load, seconds=WARMUP_SECONDS))


class Measured(msgspec.Struct, frozen=True):
    """What one measurement gave."""

    rate: float
    """Requests a second."""
    cost_us: float = 0.0
    """Processor time of all members for a request, in microseconds; 0 where none is measured."""


def measure(program: Path, cluster: Cluster, load: Load) -> Measured:
    """Put `load` on the cluster."""
    result = run_load(program, cluster, load)
    print(f"  {cluster.name:7s} {result.describe()}", flush=True)
    return Measured(result.rps, sum(result.server_cores) / result.rps * 1e6)


def measure_disk(seconds: float) -> Measured:
    """Append a record and sync it, over and over."""
    wait_until_quiet([])
    folder = fresh_folder("disk")
    path = folder / "log"
    record = bytes(RECORD_BYTES)
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    try:
        count, began = 0, time.monotonic()
        while time.monotonic() - began < seconds:
            os.write(descriptor, record)
            os.fdatasync(descriptor)
            count += 1
        rate = count / (time.monotonic() - began)
    finally:
        os.close(descriptor)
        path.unlink()
        folder.rmdir()
    print(f"  disk    append + fdatasync {rate:9,.0f}/s", flush=True)
    return Measured(rate)


def reference_loads(load: Load) -> list[Load]:
    """The shapes in which etcd is given the same number of requests in flight."""
    connections, rest = divmod(load.connections, STREAMS_A_CONNECTION)
    in_flight = load.in_flight * STREAMS_A_CONNECTION
    if rest or not connections or in_flight > IN_FLIGHT_MAX:
        return [load]
    return [load, msgspec.structs.replace(load, connections=connections, in_flight=in_flight)]


def start(
    program: Path, load: Load, options: argparse.Namespace, clusters: ExitStack, *, swapped: bool
) -> dict[str, Callable[[], Measured]]:
    """Start the clusters that are compared, in one order or the other; return what measures each contender."""
    ours = KvraftCluster()
    theirs: Cluster | None = None
    if options.build is not None:
        theirs = KvraftCluster(source=options.build)
    elif options.reference == "etcd":
        theirs = EtcdCluster()
    for cluster in (theirs, ours) if swapped else (ours, theirs):
        if cluster is not None:
            clusters.enter_context(cluster)
            prepare(program, cluster, load)
    contenders: dict[str, Callable[[], Measured]] = {"kvraft": partial(measure, program, ours, load)}
    if theirs is None:
        contenders["disk"] = partial(measure_disk, options.seconds)
    elif options.build is not None:
        contenders["before"] = partial(measure, program, theirs, load)
    else:
        for shape in reference_loads(load):
            contenders[f"etcd {shape.connections} x {shape.in_flight}"] = partial(measure, program, theirs, shape)
    return contenders


def compare(options: argparse.Namespace) -> None:
    """Measure all rounds and print each and what they come to."""
    load = Load(options.op, options.connections, options.in_flight, options.seconds, warmup=0)
    results: defaultdict[str, list[Measured]] = defaultdict(list)
    with load_generator() as program:
        for first in range(0, options.rounds, ROUNDS_A_START):
            with ExitStack() as clusters:
                contenders = start(program, load, options, clusters, swapped=first // ROUNDS_A_START % 2 == 1)
                for number in range(first, min(first + ROUNDS_A_START, options.rounds)):
                    print(f"round {number + 1} of {options.rounds}: {options.op.upper()}", flush=True)
                    turns = list(contenders)
                    begin = number % len(turns)  # what drifts during a round then favours none
                    for name in turns[begin:] + turns[:begin]:
                        results[name].append(contenders[name]())
    ours = results.pop("kvraft")
    print(f"kvraft {describe(ours)}")
    for name, theirs in results.items():
        pairs = list(zip(ours, theirs, strict=True))
        print(f"{name} {describe(theirs)}; kvraft : {name} = {spread([a.rate / b.rate for a, b in pairs])}")
        if all(b.cost_us for _, b in pairs):
            print(f"  in processor time a request: {spread([a.cost_us / b.cost_us for a, b in pairs])}")


def describe(measured: Sequence[Measured]) -> str:
    """The medians, in words."""
    rate = f"{statistics.median(one.rate for one in measured):,.0f}/s"
    cost = statistics.median(one.cost_us for one in measured)
    return f"{rate} (median)" if not cost else f"{rate}, {cost:.1f} us of processor time a request (medians)"


def main() -> None:
    """Read the command line and compare."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput", description=__doc__.partition("\n")[0])
    ops = "get: linearizable on both sides; txn: a transaction of two gets and two sets"
    parser.add_argument("--op", choices=["set", "get", "txn"], default="set", help=ops)
    parser.add_argument("--connections", type=bounded(1, CONNECTIONS_MAX), default=64)
    parser.add_argument("--in-flight", type=bounded(1, IN_FLIGHT_MAX), default=1, help="on each connection")
    parser.add_argument("--seconds", type=bounded(1, SECONDS_MAX), default=2, help="of each measurement")
    parser.add_argument("--rounds", type=bounded(1, ROUNDS_MAX), default=20)
    parser.add_argument("--reference", choices=["etcd", "none"], default="etcd", help="none: the disk alone")
    parser.add_argument("--build", type=checkout, metavar="FOLDER", help="compare with the kvraft of another checkout")
    run(compare, parser.parse_args())


if __name__ == "__main__":
    main()
