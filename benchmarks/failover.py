"""How long writes stop when the leader is killed, or falls silent: from then to the next acknowledged write.

Every survivor is sent a write every few milliseconds, each on a connection of its own, so that one which hangs hides
nothing; the first acknowledgement ends the run. Then the killed member is started again, and the next run begins when
all three are in step and have been for a while. A leader that is to fall silent is halted with SIGSTOP: its connections
stay open, and no node gets an event.
"""

import argparse
import asyncio
import contextlib
import random
import statistics
import time
from collections.abc import Callable
from typing import Final

from benchmarks.cluster import HOST, MEMBERS, BenchmarkError, Cluster, EtcdCluster, KvraftCluster
from benchmarks.command import bounded, run
from benchmarks.measure import spread

PROBE_SECONDS: Final = 0.005
OUTAGE_SECONDS_MAX: Final = 30.0
PROBES_WAITING_MAX: Final = 600
"""A probe that is due while so many still wait for an answer is left out."""
SETTLE_SECONDS: Final = 1.0
PHASE_SECONDS: Final = 0.5
"""Kills are spread evenly over so long, lest they fall into step with the heartbeats."""
RUNS_MAX: Final = 200
ANSWER_BYTES_MAX: Final = 4096


async def probe(cluster: Cluster, member: int, key: str, acknowledged: asyncio.Event) -> None:
    """Send one write to one member; set `acknowledged` if it says that it is done."""
    with contextlib.suppress(OSError):  # refused or cut off: this one says nothing
        reader, writer = await asyncio.open_connection(HOST, cluster.client_ports[member])
        try:
            writer.write(cluster.write_request(key))
            if cluster.acknowledges(await reader.read(ANSWER_BYTES_MAX)):
                acknowledged.set()
        finally:
            writer.close()


async def outage(cluster: Cluster, leader: int, strike: Callable[[int], None]) -> float:
    """Strike the leader and return the seconds until a survivor acknowledges a write that was sent after that."""
    survivors = [member for member in range(MEMBERS) if member != leader]
    acknowledged = asyncio.Event()
    probes: set[asyncio.Task[None]] = set()
    began = time.monotonic()
    strike(leader)
    number = 0
    try:
        while not acknowledged.is_set():
            if time.monotonic() - began > OUTAGE_SECONDS_MAX:
                raise BenchmarkError(f"{cluster.name}: no write was acknowledged for {OUTAGE_SECONDS_MAX:.0f} s")
            for member in survivors if len(probes) < PROBES_WAITING_MAX else ():
                task = asyncio.create_task(probe(cluster, member, f"probe:{number % 1000}", acknowledged))
                probes.add(task)
                task.add_done_callback(probes.discard)
                number += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(acknowledged.wait(), PROBE_SECONDS)
        return time.monotonic() - began
    finally:
        for task in probes:
            task.cancel()
        await asyncio.gather(*probes, return_exceptions=True)


def measure(make_cluster: Callable[[], Cluster], runs: int, *, silent: bool = False) -> list[float]:
    """Kill or silence `runs` leaders of one cluster, one after the other: the outages in milliseconds."""
    outages: list[float] = []
    with make_cluster() as cluster:
        for number in range(runs):
            time.sleep(SETTLE_SECONDS + random.uniform(0, PHASE_SECONDS))
            leader = cluster.await_leader()
            strike, repair = (cluster.pause, cluster.resume) if silent else (cluster.kill, cluster.start)
            outages.append(asyncio.run(outage(cluster, leader, strike)) * 1000)
            print(f"  {cluster.name} run {number + 1} of {runs}: {outages[-1]:.0f} ms", flush=True)
            repair(leader)
            cluster.await_in_step()
        name = cluster.name
    print(f"{name}: {spread(outages, '{:.0f}')} ms")
    print(f"{name}, all, sorted: {' '.join(f'{outage:.0f}' for outage in sorted(outages))}")
    return outages


def compare(options: argparse.Namespace) -> dict[str, list[float]]:
    """Measure kvraft, and the reference if one is named, and print what it comes to."""
    outages = {"kvraft": measure(KvraftCluster, options.runs, silent=options.silent)}
    if options.reference == "etcd":
        outages["etcd"] = measure(EtcdCluster, options.reference_runs, silent=options.silent)
        ours, reference = (statistics.median(each) for each in outages.values())
        worst = max(outages["kvraft"]) / reference
        print(f"kvraft : etcd = {ours / reference:.3f} (medians); etcd : kvraft = {reference / ours:.1f}")
        print(f"the worst of kvraft : the median of etcd = {worst:.3f}")
    return outages


def main() -> None:
    """Read the command line and compare."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.failover", description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=bounded(1, RUNS_MAX), default=30)
    parser.add_argument("--silent", action="store_true", help="halt the leader with SIGSTOP instead of killing it")
    parser.add_argument("--reference", choices=["etcd", "none"], default="none")
    parser.add_argument("--reference-runs", type=bounded(1, RUNS_MAX), default=10)
    run(compare, parser.parse_args())


if __name__ == "__main__":
    main()
