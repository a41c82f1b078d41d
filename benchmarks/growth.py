"""How the cost of a SET grows: with the size of values, the keys, connections, members, watches and leases.

Each step is a fresh cluster that gets the same kind of load; one line each, with the processor time that a SET takes on
the leader and on a follower. Read a step against the others of the same run: each is measured within minutes.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks import results
from benchmarks.cluster import MEMBERS, BenchmarkError, KvraftCluster
from benchmarks.command import bounded, run
from benchmarks.measure import KEYS, Load, load_generator, run_load
from benchmarks.memory import memory_mib
from benchmarks.restart import keep
from benchmarks.rounds import to_sample
from benchmarks.samples import OURS, Sample
from benchmarks.shapes import Shape
from benchmarks.watchers import idle_watches

BYTES_AT_ONCE: Final = 64 * 1024 * 1024
"""Most bytes of keys' values that a run writes at first: large values go to fewer keys."""
FILL_SECONDS_MAX: Final = 300
WARMUP_SECONDS: Final = 1
LEASE_SECONDS: Final = 3600
CLIENTS: Final = 20_000
"""The limit of connections, above the most that are opened here."""


class Step(msgspec.Struct, frozen=True):
    """One cluster, and what it is asked."""

    label: str
    connections: int = 64
    in_flight: int = 1
    keys: int = KEYS
    value_bytes: int = 64
    members: int = MEMBERS
    watches: int = 0
    leases: int = 0


STEPS: Final[Mapping[str, Sequence[Step]]] = {
    "values": [Step(f"{size:,} bytes", value_bytes=size) for size in (64, 1024, 64 * 1024, 1_048_000)],
    "keys": [Step(f"{keys:,} keys", keys=keys) for keys in (10_000, 100_000, 1_000_000, 10_000_000)],
    "connections": [Step(f"{count:,} connections", connections=count) for count in (1, 10, 100, 1_000, 10_000)],
    "members": [Step(f"{members} members", members=members) for members in (1, 3, 5, 7)],
    "watches": [Step(f"{count:,} watches of other keys", watches=count) for count in (0, 10_000)],
    "leases": [Step(f"{count:,} leases", leases=count) for count in (0, 10_000, 100_000)],
}


@contextmanager
def idle_leases(cluster: KvraftCluster, leases: int) -> Iterator[None]:
    """Grant so many leases, which are not renewed and outlast the measurement."""
    batch = 500
    with keep(cluster, cluster.await_leader()) as connection:
        for first in range(0, leases, batch):
            count = min(batch, leases - first)
            connection.sendall(b"LEASE GRANT %d\n" % LEASE_SECONDS * count)
            answers = connection.makefile("rb")
            for _ in range(count):
                if "lease" not in json.loads(answers.readline()):
                    raise BenchmarkError("a lease was not granted")
    yield


def beside(cluster: KvraftCluster, step: Step) -> AbstractContextManager[None]:
    """What is there while the load runs."""
    if step.watches:
        return idle_watches(cluster, step.watches)
    return idle_leases(cluster, step.leases) if step.leases else nullcontext()


def measure_step(program: Path, step: Step, seconds: int, rounds: int) -> tuple[list[Sample], float]:
    """Measure one step; return its samples, and the leader's memory at the end, MiB."""
    keys = max(1, min(step.keys, BYTES_AT_ONCE // step.value_bytes)) if step.value_bytes > 1024 else step.keys  # noqa: PLR2004
    load = Load("set", step.connections, step.in_flight, seconds, WARMUP_SECONDS, keys, step.value_bytes)
    with KvraftCluster(members=step.members, limits={"clients": CLIENTS}) as cluster:
        few = min(64, max(1, BYTES_AT_ONCE // step.value_bytes // 64))
        run_load(program, cluster, Load("fill", 8, few, FILL_SECONDS_MAX, 0, keys, step.value_bytes))
        samples = []
        with beside(cluster, step):
            for number in range(rounds):
                leader = cluster.await_leader()
                result = run_load(program, cluster, load)
                samples.append(to_sample(OURS, Shape("set", step.connections, step.in_flight), number, result, leader))
        return samples, memory_mib(cluster.pids[cluster.await_leader()])


def describe(step: Step, samples: Sequence[Sample], memory: float) -> str:
    """One line: the medians."""
    middle: Callable[[str], float] = lambda field: statistics.median(getattr(sample, field) for sample in samples)  # noqa: E731
    return (
        f"{step.label:32} {middle('rate'):9,.0f}/s   p50 {middle('p50_ms'):7.2f} ms   p99 {middle('p99_ms'):7.2f} ms   "
        f"us a SET: leader {middle('leader_us'):7.1f}, follower {middle('follower_us'):7.1f}   "
        f"leader {memory:,.0f} MiB, others {middle('other_cores'):.2f} cores"
    )


def measure(options: argparse.Namespace) -> None:
    """Measure each step of what is asked for."""
    found: list[dict[str, Any]] = []
    path = results.new_path(options.what, results.FOLDER)
    with load_generator() as program:
        for step in STEPS[options.what]:
            if options.only and not step.label.startswith(options.only):
                continue
            samples, memory = measure_step(program, step, options.seconds, options.rounds)
            print(describe(step, samples, memory), flush=True)
            found.append({"step": step, "samples": samples, "leader_mib": round(memory)})
            results.write(path, {"what": options.what, "seconds": options.seconds}, found)
    print(f"written: {path.name}")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=[*STEPS])
    parser.add_argument("--seconds", type=bounded(1, 60), default=4, help="of each measurement")
    parser.add_argument("--rounds", type=bounded(1, 20), default=3)
    parser.add_argument("--only", metavar="BEGINNING", help="only the steps whose label begins so")
    run(measure, parser.parse_args())


if __name__ == "__main__":
    main()
