"""What a leader still answers while a follower that missed many writes catches up, as a share of what it did before."""

import argparse
import statistics
import time
from collections import deque
from contextlib import suppress
from typing import Final

from benchmarks.cluster import MEMBERS, BenchmarkError, KvraftCluster
from benchmarks.command import bounded, run
from benchmarks.measure import Load, begin_load, load_generator

LOAD_SECONDS: Final = 240
STEADY_SECONDS: Final = 10.0
SAMPLE_SECONDS: Final = 0.25
IN_STEP_SECONDS: Final = 1.0
"""A follower is in step when it has applied what the leader had so many seconds before."""
CATCH_UP_SECONDS_MAX: Final = 120.0


def revision(cluster: KvraftCluster, member: int) -> int:
    """How many writes a member has applied; 0 while it does not answer."""
    with suppress(OSError):
        return int(cluster.status(member)["revision"])
    return 0


class Meter:
    """Looks at a leader's revision again and again."""

    def __init__(self, cluster: KvraftCluster, leader: int) -> None:
        self._cluster = cluster
        self._leader = leader
        self.seen: deque[tuple[float, int]] = deque()

    def look(self) -> int:
        """Wait for the next sample and return it."""
        time.sleep(SAMPLE_SECONDS)
        now = revision(self._cluster, self._leader)
        self.seen.append((time.monotonic(), now))
        return now

    def rate(self, since: float) -> float:
        """Writes a second from `since` to the last sample."""
        seen = [sample for sample in self.seen if sample[0] >= since and sample[1]]
        return (seen[-1][1] - seen[0][1]) / (seen[-1][0] - seen[0][0])

    def lowest(self, since: float) -> float:
        """The lowest rate of four samples in a row."""
        seen = [sample for sample in self.seen if sample[0] >= since and sample[1]]
        spans = zip(seen, seen[4:], strict=False)
        return min(((b[1] - a[1]) / (b[0] - a[0]) for a, b in spans), default=self.rate(since))

    def before(self, seconds: float) -> int:
        """The revision so many seconds ago."""
        then = time.monotonic() - seconds
        return max((count for at, count in self.seen if at <= then), default=0)


def miss_and_catch_up(cluster: KvraftCluster, missed: int) -> float:
    """Let a follower miss writes and come back; return the leader's throughput meanwhile as a share of before."""
    leader = cluster.await_leader()
    late = next(member for member in range(MEMBERS) if member != leader)
    meter = Meter(cluster, leader)
    began = time.monotonic()
    while time.monotonic() < began + STEADY_SECONDS:
        meter.look()
    steady = meter.rate(began + 1)
    killed, at = time.monotonic(), meter.look()
    cluster.kill(late)
    while meter.look() < at + missed:
        pass
    alone = meter.rate(killed)
    started = time.monotonic()
    cluster.start(late)
    while revision(cluster, late) < meter.before(IN_STEP_SECONDS):
        meter.look()
        if time.monotonic() > started + CATCH_UP_SECONDS_MAX:
            raise BenchmarkError(f"the follower is not in step after {CATCH_UP_SECONDS_MAX:.0f} s")
    took = time.monotonic() - started
    if cluster.await_leader() != leader:
        raise BenchmarkError("another member leads now; nothing can be compared")
    meanwhile = meter.rate(started)
    print(
        f"  {steady:,.0f} writes/s with three in step, {alone:,.0f} with two, {meanwhile:,.0f} while the third caught "
        f"up in {took:.1f} s (lowest second {meter.lowest(started):,.0f}); "
        f"{len(cluster.said(late, 'installed a snapshot'))} snapshots installed",
        flush=True,
    )
    return meanwhile / steady


def measure(options: argparse.Namespace) -> None:
    """Measure all rounds, each on a fresh cluster."""
    shares = []
    with load_generator() as program:
        load = Load("set", options.connections, options.in_flight, LOAD_SECONDS, warmup=0, keys=options.keys)
        for _ in range(options.rounds):
            with KvraftCluster() as cluster, begin_load(program, cluster, load):
                shares.append(miss_and_catch_up(cluster, options.missed))
    print(f"while it catches up the leader keeps {min(shares):.0%} to {max(shares):.0%}, median ", end="")
    print(f"{statistics.median(shares):.0%}, of its throughput")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.catchup", description=__doc__.partition("\n")[0])
    parser.add_argument("--missed", type=bounded(1, 10_000_000), default=1_000_000)
    parser.add_argument("--keys", type=bounded(1, 10_000_000), default=100_000)
    parser.add_argument("--connections", type=bounded(1, 1000), default=16)
    parser.add_argument("--in-flight", type=bounded(1, 1024), default=16, help="on each connection")
    parser.add_argument("--rounds", type=bounded(1, 20), default=1)
    run(measure, parser.parse_args())


if __name__ == "__main__":
    main()
