"""How long the reactor's turns become while a snapshot of many keys is taken, sent, received and loaded."""

import argparse
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

import msgspec

from benchmarks.cluster import MEMBERS, BenchmarkError, KvraftCluster, ProbedCluster
from benchmarks.command import bounded, run
from benchmarks.measure import Load, begin_load, load_generator, run_load
from benchmarks.probe import TURNS_FILE
from benchmarks.restart import ask, keep

FILL_SECONDS_MAX: Final = 250
LOAD_SECONDS: Final = 300
SNAPSHOT_SECONDS_MAX: Final = 120.0
PING_SECONDS: Final = 0.003
LONGEST: Final = 5
"""So many of the longest turns are shown."""
LIMIT_MS: Final = 10.0
POLL_SECONDS: Final = 0.05
ABSENT_SECONDS: Final = 6
"""After that nothing of the log is kept for a member that is away."""
LIMITS: Final = {"log_bytes": 1024 * 1024 * 1024, "log_kept_bytes": 1024}
"""No snapshot before it is asked for, and then no log that could take its place."""


class Turn(msgspec.Struct, frozen=True):
    """One line of the probe, milliseconds but for the first."""

    end: float
    duration: float
    processor: float
    collection: float


class TimedCluster(ProbedCluster):
    """Members whose reactors are watched."""

    probe = "benchmarks.probe"
    file_variable = TURNS_FILE

    def turns(self, member: int, since: float, until: float) -> list[Turn]:
        """The turns of a member that ended in a span of time, as far as the probe writes them down."""
        lines = self.probe_file(member).read_text().splitlines()
        turns = [Turn(*map(float, line.split())) for line in lines if line.count(" ") == 3]  # noqa: PLR2004
        return [turn for turn in turns if since <= turn.end <= until]


class Pinger:
    """Pings a member again and again, inside the `with` block, from a thread."""

    request = b"PING"

    def __init__(self, cluster: KvraftCluster, member: int) -> None:
        self._cluster = cluster
        self._member = member
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ping)
        self.delays: list[float] = []
        """Milliseconds to each answer."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _ping(self) -> None:
        with keep(self._cluster, self._member) as connection:
            while not self._over.wait(PING_SECONDS):
                began = time.monotonic()
                ask(connection, self.request)
                self.delays.append((time.monotonic() - began) * 1000)


def watch(cluster: TimedCluster, title: str, members: dict[int, str], done: Callable[[], bool]) -> None:
    """Wait until `done`, and print what turns and pings took meanwhile."""
    began = time.monotonic()
    pingers = {member: Pinger(cluster, member) for member in members}
    try:
        for pinger in pingers.values():
            pinger.__enter__()
        while not done():
            if time.monotonic() > began + SNAPSHOT_SECONDS_MAX:
                raise BenchmarkError(f"{title}: not done after {SNAPSHOT_SECONDS_MAX:.0f} s")
            time.sleep(POLL_SECONDS)
    finally:
        for pinger in pingers.values():
            pinger.__exit__()
    ended = time.monotonic()
    print(f"{title}, {ended - began:.1f} s", flush=True)
    for member, role in members.items():
        print(f"  {role:10} {describe_turns(cluster.turns(member, began, ended), began)}")
        print(f"  {'':10} {describe_pings(pingers[member].delays)}", flush=True)


def describe_turns(turns: list[Turn], began: float) -> str:
    """The turns in one line."""
    longest = sorted(turns, key=lambda turn: turn.duration)[-LONGEST:]
    shown = ", ".join(
        f"{turn.duration:.1f} ({turn.processor:.1f}, gc {turn.collection:.1f}, at {turn.end - began:.1f} s)"
        for turn in longest
    )
    counts = [sum(turn.duration >= limit for turn in turns) for limit in (1, 2, 5, LIMIT_MS)]
    busiest = max((turn.processor for turn in turns), default=0.0)
    return (
        f"turns of >=1, 2, 5, 10 ms: {', '.join(map(str, counts))}; most processor time {busiest:.1f} ms; "
        f"longest (of it processor, gc; when): {shown} ms"
    )


def describe_pings(delays: list[float], what: str = "pings") -> str:
    """The pings in one line, or what else was asked."""
    if not delays:
        return f"no {what}"
    worst = ", ".join(f"{delay:.1f}" for delay in sorted(delays)[-LONGEST:])
    p99 = statistics.quantiles(delays, n=100)[-1] if len(delays) > 1 else delays[0]
    return f"{len(delays)} {what}, median {statistics.median(delays):.2f} ms, p99 {p99:.1f}, longest {worst} ms"


def for_seconds(seconds: float) -> Callable[[], bool]:
    """Return what is done after so many seconds."""
    ends = time.monotonic() + seconds
    return lambda: time.monotonic() > ends


def once_said(cluster: KvraftCluster, member: int, needle: str) -> Callable[[], bool]:
    """Return what is done when a member says `needle` once more."""
    before = len(cluster.said(member, needle))
    return lambda: len(cluster.said(member, needle)) > before


def take_snapshot(cluster: KvraftCluster, member: int) -> Callable[[], bool]:
    """Have a member take a snapshot; return what is done when it is there."""
    done = once_said(cluster, member, "took a snapshot")

    def ask_for_it() -> None:
        with keep(cluster, member) as connection:
            connection.settimeout(SNAPSHOT_SECONDS_MAX)
            ask(connection, b"SNAPSHOT")

    threading.Thread(target=ask_for_it, daemon=True).start()
    return done


def measure_taking(cluster: TimedCluster, program: Path, load: Load, seconds: int) -> None:
    """Measure without a snapshot, and while a follower and then the leader takes one."""
    leader = cluster.await_leader()
    follower = next(member for member in range(MEMBERS) if member != leader)
    both = {leader: "leader", follower: "follower"}
    with begin_load(program, cluster, load):
        watch(cluster, "no snapshot", both, for_seconds(seconds))
        watch(cluster, "a follower takes one", both, take_snapshot(cluster, follower))
        watch(cluster, "the leader takes one", both, take_snapshot(cluster, leader))
        watch(cluster, "no snapshot", both, for_seconds(seconds))


def measure_installing(cluster: TimedCluster, program: Path, load: Load, seconds: int) -> None:
    """Measure without a snapshot, and while one is sent to a member, which holds as many keys and replaces them."""
    leader = cluster.await_leader()
    late = next(member for member in range(MEMBERS) if member != leader)
    await_snapshot(cluster, late)  # so that it begins with all keys
    cluster.kill(late)
    with begin_load(program, cluster, load):
        time.sleep(ABSENT_SECONDS)
    await_snapshot(cluster, leader)
    with begin_load(program, cluster, load):
        installed = once_said(cluster, late, "installed a snapshot")
        cluster.start(late)
        await_answer(cluster, late)
        both = {leader: "leader", late: "receiver"}
        watch(cluster, "one is sent and installed", both, installed)
        watch(cluster, "after that", both, for_seconds(seconds))


def await_snapshot(cluster: TimedCluster, member: int) -> None:
    """Have a member take a snapshot, and wait for it."""
    done = take_snapshot(cluster, member)
    while not done():
        time.sleep(POLL_SECONDS)


def await_answer(cluster: TimedCluster, member: int) -> None:
    """Wait until a member that was started answers: its first turn, which reads its disk, is over then."""
    while True:
        with suppress(OSError), keep(cluster, member):
            return
        time.sleep(POLL_SECONDS)


def measure(options: argparse.Namespace) -> None:
    """Fill a cluster and measure."""
    with load_generator() as program, TimedCluster(limits=LIMITS) as cluster:
        fill = Load("fill", connections=8, in_flight=64, seconds=FILL_SECONDS_MAX, warmup=0, keys=options.keys)
        print(f"  filled  {run_load(program, cluster, fill).describe()}", flush=True)
        cluster.await_in_step()
        load = Load("set", options.connections, options.in_flight, LOAD_SECONDS, warmup=0, keys=options.keys)
        if options.only != "installing":
            measure_taking(cluster, program, load, options.seconds)
        if options.only != "taking":
            measure_installing(cluster, program, load, options.seconds)


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.turns", description=__doc__.partition("\n")[0])
    parser.add_argument("--keys", type=bounded(2, 10_000_000), default=1_000_000)
    parser.add_argument("--connections", type=bounded(1, 1000), default=4)
    parser.add_argument("--in-flight", type=bounded(1, 1024), default=1, help="on each connection")
    parser.add_argument("--seconds", type=bounded(1, 60), default=5, help="of each measurement without a snapshot")
    parser.add_argument("--only", choices=("taking", "installing"), help="a part of it; both unless said")
    run(measure, parser.parse_args())


if __name__ == "__main__":
    main()
