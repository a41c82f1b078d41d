"""How many disk syncs a burst costs: a thousand SETs in one chunk, and the fdatasyncs of the leader meanwhile.

The reference is a store that syncs once for each SET.
"""

import argparse
import socket
import statistics
import time
from typing import Final

from benchmarks.cluster import HOST, BenchmarkError, KvraftCluster
from benchmarks.command import bounded, run
from benchmarks.measure import spread

BURST_SECONDS_MAX: Final = 30.0
SETTLE_SECONDS: Final = 0.5
COMMANDS_MAX: Final = 10_000
RUNS_MAX: Final = 100
OK: Final = b'{"status":"OK"}\n'


def syncs(cluster: KvraftCluster, member: int) -> int:
    """How many fdatasyncs a member has counted."""
    return int(cluster.status(member)["disk"]["syncs"])


def burst(cluster: KvraftCluster, leader: int, commands: int) -> tuple[int, float]:
    """Send the commands with one call; return the leader's syncs meanwhile and the seconds until all were answered."""
    chunk = b"".join(b"SET burst:%06d value\n" % number for number in range(commands))
    with socket.create_connection((HOST, cluster.client_ports[leader]), BURST_SECONDS_MAX) as connection:
        answers = connection.makefile("rb")
        connection.sendall(b"KEEP\n")
        if answers.readline() != OK:
            raise BenchmarkError("the leader refused KEEP")
        before, began = syncs(cluster, leader), time.monotonic()
        connection.sendall(chunk)
        for number in range(commands):
            answer = answers.readline()
            if answer != OK:
                raise BenchmarkError(f"SET {number + 1} of {commands} was answered with {answer!r}")
        elapsed = time.monotonic() - began
        return syncs(cluster, leader) - before, elapsed


def measure(options: argparse.Namespace) -> None:
    """Send all bursts and print each and what they come to."""
    counts: list[int] = []
    with KvraftCluster() as cluster:
        for number in range(options.runs):
            time.sleep(SETTLE_SECONDS)
            count, elapsed = burst(cluster, cluster.await_leader(), options.commands)
            counts.append(count)
            print(f"run {number + 1} of {options.runs}: {count} syncs, {elapsed * 1000:.1f} ms", flush=True)
    if min(counts) < 1:
        raise BenchmarkError("the leader counted no sync at all: it acknowledged what was not on its disk")
    print(f"fdatasyncs on the leader for {options.commands} SETs: {spread(counts, '{:g}')}")
    print(f"a sync for each SET : kvraft = {options.commands / statistics.median(counts):g}")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batch", description=__doc__.partition("\n")[0])
    parser.add_argument("--commands", type=bounded(1, COMMANDS_MAX), default=1000)
    parser.add_argument("--runs", type=bounded(1, RUNS_MAX), default=9)
    run(measure, parser.parse_args())


if __name__ == "__main__":
    main()
