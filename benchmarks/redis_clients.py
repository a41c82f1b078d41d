"""How fast kvraft serves Redis clients, beside redis-server with `appendfsync always` and etcd.

The load on kvraft and on Redis is redis-benchmark's. Redis is alone: it replicates nothing, and has each write on its
disk before it answers. etcd gets as many requests in flight from the load generator of `benchmarks.throughput`, in its
own protocol and in two shapes. The three are measured in turn, a short while each, and started anew every few rounds.
"""

import argparse
import csv
import io
import shutil
import statistics
import subprocess
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.cluster import (
    HOST,
    BenchmarkError,
    Cluster,
    EtcdCluster,
    KvraftCluster,
)
from benchmarks.command import bounded, run
from benchmarks.measure import KEYS, VALUE_BYTES, Load, load_generator, run_load, spread, wait_until_quiet
from benchmarks.peers import RedisServer
from benchmarks.throughput import CONNECTIONS_MAX, IN_FLIGHT_MAX, ROUNDS_A_START, ROUNDS_MAX, prepare, reference_loads

SECONDS_MAX: Final = 30
FIRST_REQUESTS: Final = 10_000
"""Requests of the first measurement, which decides how many the others take."""
REQUESTS_MAX: Final = 5_000_000
SLACK_SECONDS: Final = 60
RATE: Final = "rps"


class Benchmark:
    """redis-benchmark, of one operation and shape, for one server."""

    def __init__(self, name: str, options: argparse.Namespace, pids: Callable[[], Sequence[int]], port: int) -> None:
        self._name = name
        self._options = options
        self._pids = pids
        self._port = port
        self._requests = FIRST_REQUESTS

    def measure(self) -> float:
        """Return requests a second; the next measurement takes about as long as is asked for."""
        wait_until_quiet(self._pids())
        rate = self._run(self._requests)
        self._requests = min(REQUESTS_MAX, max(FIRST_REQUESTS, int(rate * self._options.seconds)))
        print(f"  {self._name:7s} {rate:9,.0f}/s", flush=True)
        return rate

    def fill(self) -> None:
        """Write about every key once, and find how many requests a measurement takes."""
        self._run(KEYS, op="set", in_flight=64)
        self._requests = int(self._run(FIRST_REQUESTS) * self._options.seconds)

    def _run(self, requests: int, op: str | None = None, in_flight: int | None = None) -> float:
        program = shutil.which("redis-benchmark")
        if program is None:
            raise BenchmarkError("redis-benchmark is not installed; install it (redis-tools)")
        options = {
            "-p": self._port,
            "-h": HOST,
            "-t": op or self._options.op,
            "-c": self._options.connections,
            "-P": in_flight or self._options.in_flight,
            "-n": requests,
            "-d": VALUE_BYTES,
            "-r": KEYS,
        }
        words = [str(word) for pair in options.items() for word in pair]
        with suppress(subprocess.TimeoutExpired):
            done = subprocess.run(
                [program, *words, "--csv"],
                capture_output=True,
                text=True,
                check=False,
                timeout=self._options.seconds + SLACK_SECONDS,
            )
            rows = [*csv.DictReader(io.StringIO(done.stdout))]
            if done.returncode == 0 and len(rows) == 1 and RATE in rows[0]:
                return float(rows[0][RATE])
            raise BenchmarkError(f"{self._name}: redis-benchmark has failed: {done.stdout}{done.stderr}")
        raise BenchmarkError(f"{self._name}: redis-benchmark has not come to an end")


def start(
    program: Path, options: argparse.Namespace, stack: ExitStack, *, swapped: bool
) -> dict[str, Callable[[], float]]:
    """Start all servers, in one order or the other; return what measures each."""
    ours, redis = KvraftCluster(), RedisServer()
    etcd = EtcdCluster() if options.reference == "etcd" else None
    load = Load(options.op, options.connections, options.in_flight, options.seconds, warmup=0)
    servers = [each for each in (ours, redis, etcd) if each is not None]
    for server in reversed(servers) if swapped else servers:
        stack.enter_context(server)
    benchmarks = [
        Benchmark("kvraft", options, lambda: [*ours.pids.values()], ours.client_ports[ours.await_leader()]),
        Benchmark("redis", options, lambda: [*redis.pids.values()], redis.port),
    ]
    for each in benchmarks:
        each.fill()
    contenders: dict[str, Callable[[], float]] = {
        name: each.measure for name, each in zip(("kvraft", "redis"), benchmarks, strict=True)
    }
    if etcd is not None:
        prepare(program, etcd, load)
        for shape in reference_loads(load):
            contenders[f"etcd {shape.connections} x {shape.in_flight}"] = partial(measure, program, etcd, shape)
    return contenders


def measure(program: Path, cluster: Cluster, load: Load) -> float:
    """Put a load on etcd."""
    result = run_load(program, cluster, load)
    print(f"  {cluster.name:7s} {result.describe()}", flush=True)
    return result.rps


def compare(options: argparse.Namespace) -> None:
    """Measure all rounds and print each and what they come to."""
    results: defaultdict[str, list[float]] = defaultdict(list)
    with load_generator() as program:
        for first in range(0, options.rounds, ROUNDS_A_START):
            with ExitStack() as stack:
                contenders = start(program, options, stack, swapped=first // ROUNDS_A_START % 2 == 1)
                for number in range(first, min(first + ROUNDS_A_START, options.rounds)):
                    print(f"round {number + 1} of {options.rounds}: {options.op.upper()}", flush=True)
                    turns = list(contenders)
                    begin = number % len(turns)  # what drifts during a round then favours none
                    for name in turns[begin:] + turns[:begin]:
                        results[name].append(contenders[name]())
    ours = results.pop("kvraft")
    print(f"kvraft {statistics.median(ours):,.0f}/s (median)")
    for name, theirs in results.items():
        ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
        print(f"{name} {statistics.median(theirs):,.0f}/s (median); kvraft : {name} = {spread(ratios)}")


def main() -> None:
    """Read the command line and compare."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.redis_clients", description=__doc__.partition("\n")[0])
    parser.add_argument("--op", choices=["set", "get"], default="set", help="kvraft's and etcd's GET is linearizable")
    parser.add_argument("--connections", type=bounded(1, CONNECTIONS_MAX), default=50)
    parser.add_argument("--in-flight", type=bounded(1, IN_FLIGHT_MAX), default=16, help="on each connection")
    parser.add_argument("--seconds", type=bounded(1, SECONDS_MAX), default=2, help="of each measurement, about")
    parser.add_argument("--rounds", type=bounded(1, ROUNDS_MAX), default=10)
    parser.add_argument("--reference", choices=["etcd", "none"], default="etcd", help="none: Redis alone")
    run(compare, parser.parse_args())


if __name__ == "__main__":
    main()
