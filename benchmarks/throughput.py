"""How many requests a second kvraft answers, as a multiple of a reference measured in turn with it.

The reference is etcd with as many requests in flight, in whichever of two shapes suits it better: the connections that
kvraft gets, or a sixteenth of them with sixteen times the streams, as Go's client would. Without etcd it is the disk
alone: a loop that appends one record and syncs it, which is what a durable SET costs at least when each has its own.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.cluster import Cluster, EtcdCluster, KvraftCluster, fresh_folder
from benchmarks.command import bounded, run
from benchmarks.measure import Load, LoadResult, fill, load_generator, run_load, spread, wait_until_quiet

ROUNDS_MAX: Final = 20
SECONDS_MAX: Final = 120
CONNECTIONS_MAX: Final = 1000
IN_FLIGHT_MAX: Final = 1024
DISK_SECONDS: Final = 3.0
RECORD_BYTES: Final = 128
"""About what one SET of a 64-byte value takes in a log."""
STREAMS_A_CONNECTION: Final = 16


def measure(program: Path, make_cluster: Callable[[], Cluster], loads: list[Load]) -> LoadResult:
    """Start a fresh cluster, put each of `loads` on it, and return the result with the highest throughput."""
    results: list[LoadResult] = []
    with make_cluster() as cluster:
        if loads[0].op == "get":
            fill(program, cluster)
        for load in loads:
            result = run_load(program, cluster, load)
            print(f"  {cluster.name:7s} {result.describe()}", flush=True)
            results.append(result)
    return max(results, key=lambda result: result.rps)


def measure_disk() -> float:
    """Append a record and sync it, over and over: how many a second."""
    wait_until_quiet([])
    folder = fresh_folder("disk")
    path = folder / "log"
    record = bytes(RECORD_BYTES)
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    try:
        count, began = 0, time.monotonic()
        while time.monotonic() - began < DISK_SECONDS:
            os.write(descriptor, record)
            os.fdatasync(descriptor)
            count += 1
        rate = count / (time.monotonic() - began)
    finally:
        os.close(descriptor)
        path.unlink()
        folder.rmdir()
    print(f"  disk    append + fdatasync {rate:9,.0f}/s", flush=True)
    return rate


def reference_loads(load: Load) -> list[Load]:
    """The shapes in which etcd is given the same number of requests in flight."""
    connections, rest = divmod(load.connections, STREAMS_A_CONNECTION)
    in_flight = load.in_flight * STREAMS_A_CONNECTION
    if rest or not connections or in_flight > IN_FLIGHT_MAX:
        return [load]
    return [load, msgspec.structs.replace(load, connections=connections, in_flight=in_flight)]


def compare(options: argparse.Namespace) -> None:
    """Measure all rounds and print each and what they come to."""
    load = Load(options.op, options.connections, options.in_flight, options.seconds)
    ours: list[float] = []
    reference: list[float] = []
    with load_generator() as program:

        def measure_ours() -> None:
            ours.append(measure(program, KvraftCluster, [load]).rps)

        def measure_reference() -> None:
            if options.reference == "none":
                reference.append(measure_disk())
            else:
                reference.append(measure(program, EtcdCluster, reference_loads(load)).rps)

        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}: {options.op.upper()}", flush=True)
            # Each takes its turn to go first: what drifts during a round then favours nobody.
            turns = [measure_ours, measure_reference]
            for take_turn in turns if number % 2 == 0 else reversed(turns):
                take_turn()
            print(f"  ratio   {ours[-1] / reference[-1]:.2f}", flush=True)
    name = "disk" if options.reference == "none" else options.reference
    print(f"kvraft {statistics.median(ours):,.0f}/s, {name} {statistics.median(reference):,.0f}/s (medians)")
    print(f"kvraft : {name} = {spread([a / b for a, b in zip(ours, reference, strict=True)])}")


def main() -> None:
    """Read the command line and compare."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput", description=__doc__.partition("\n")[0])
    parser.add_argument("--op", choices=["set", "get"], default="set", help="a GET is linearizable on both sides")
    parser.add_argument("--connections", type=bounded(1, CONNECTIONS_MAX), default=64)
    parser.add_argument("--in-flight", type=bounded(1, IN_FLIGHT_MAX), default=1, help="on each connection")
    parser.add_argument("--seconds", type=bounded(1, SECONDS_MAX), default=8, help="of each measurement")
    parser.add_argument("--rounds", type=bounded(1, ROUNDS_MAX), default=3)
    parser.add_argument("--reference", choices=["etcd", "none"], default="etcd", help="none: the disk alone")
    run(compare, parser.parse_args())


if __name__ == "__main__":
    main()
