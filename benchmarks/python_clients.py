"""SETs through Python clients: those of kvraft, and those of etcd against Debian's etcd, in turn."""

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Final

from benchmarks.cluster import REPOSITORY, BenchmarkError, Cluster, EtcdCluster, KvraftCluster
from benchmarks.command import bounded, run
from benchmarks.measure import spread

LOAD: Final = Path(__file__).with_name("python_client_load.py")
OURS: Final = ("AsyncClient", "Twisted")
THEIRS: Final = ("etcd3gw", "aetcd")
SPARE_SECONDS: Final = 30.0


def rate(python: str, name: str, cluster: Cluster, concurrency: int, seconds: int) -> float:
    """Return the requests a second of one client, in a process of its own, on the leader.

    Raises:
        BenchmarkError: it has failed; most often it is not installed.
    """
    leader = cluster.await_leader()
    nodes = ",".join(cluster.address(member) for member in sorted(cluster.pids, key=lambda member: member != leader))
    path = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [python, str(LOAD), name, nodes, str(concurrency), str(seconds)],
        env={**os.environ, **({"PYTHONPATH": path} if name in OURS else {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds + SPARE_SECONDS,
    )
    if done.returncode:
        raise BenchmarkError(f"{name} has failed (pip install etcd3gw aetcd):\n{done.stderr[-2000:]}")
    return float(done.stdout)


def measure(options: argparse.Namespace) -> None:
    """Start both clusters, and let each client load its own in turn."""
    theirs = [name for name in THEIRS if name not in options.without]
    rates: dict[str, list[float]] = {name: [] for name in (*OURS, *theirs)}
    with KvraftCluster() as kvraft, EtcdCluster() as etcd:
        for number in range(options.rounds):
            for name in rates if number % 2 == 0 else reversed(rates):
                python, cluster = (sys.executable, kvraft) if name in OURS else (options.etcd_python, etcd)
                rates[name].append(rate(python, name, cluster, options.concurrency, options.seconds))
    print(f"SET, 64 bytes, {options.concurrency} requests in flight, {options.rounds} rounds of {options.seconds} s:")
    for name, found in rates.items():
        print(f"  {name:12} {statistics.median(found):8.0f} requests a second")
    for ours in OURS:
        for other in theirs:
            ratios = [one / two for one, two in zip(rates[ours], rates[other], strict=True)]
            print(f"  {ours} to {other}: {spread(ratios)}", flush=True)


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.python_clients", description=__doc__)
    parser.add_argument("--concurrency", type=bounded(1, 512), default=64, help="requests in flight")
    parser.add_argument("--rounds", type=bounded(1, 50), default=7)
    parser.add_argument("--seconds", type=bounded(1, 30), default=3)
    parser.add_argument("--etcd-python", default=sys.executable, help="a Python that has etcd's clients")
    parser.add_argument("--without", nargs="*", default=[], choices=THEIRS, help="clients that are not installed")
    run(measure, parser.parse_args())


if __name__ == "__main__":
    main()
