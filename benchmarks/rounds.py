"""Rounds in which kvraft and its peers are measured in turn, each alone: the others are halted meanwhile.

An idle cluster still elects and sends heartbeats. So all members of those whose turn it is not are halted with SIGSTOP.
When their turn comes they go on, find a leader again if they have to, and only then get the load.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.cluster import BenchmarkError, Cluster, EtcdCluster, KvraftCluster, NotInstalledError
from benchmarks.measure import KEYS, Load, LoadResult, fill, machine_seconds, process_seconds, run_load
from benchmarks.peers import PySyncObjCluster, RedisServer, ZooKeeperCluster
from benchmarks.samples import OURS, Sample
from benchmarks.shapes import Shape, for_peer

FACTORIES: Final[Mapping[str, Callable[[], Cluster]]] = {
    OURS: KvraftCluster,
    "etcd": EtcdCluster,
    "zookeeper": ZooKeeperCluster,
    "redis": RedisServer,
    "pysyncobj": PySyncObjCluster,
}
PEERS: Final = tuple(name for name in FACTORIES if name != OURS)
SETTLE_SECONDS: Final = 0.4
"""After a halt: longer than an election that is due then takes to begin."""
ATTEMPTS: Final = 2
WARMUP_SECONDS: Final = 2


class Contender:
    """A cluster that is running, and halted but for its turns."""

    def __init__(self, name: str, cluster: Cluster, program: Path, *, when_quiet: bool = True) -> None:
        self.name = name
        self._when_quiet = when_quiet
        self.cluster = cluster
        self._program = program

    def shapes(self, shape: Shape) -> list[Shape]:
        """The shapes in which this contender is given a load of kvraft's; none where it does not compare."""
        if self.name in {OURS, "redis"}:
            return [shape]
        if self.name == "pysyncobj":  # reads its dictionary without asking anyone
            return [msgspec.structs.replace(shape, resp=False)] if shape.op == "set" else []
        return for_peer(shape)

    def prepare(self) -> None:
        """Write every key and warm up, then halt."""
        warm = Load("set", 16, 4, WARMUP_SECONDS, warmup=0)
        if isinstance(self.cluster, PySyncObjCluster):  # a new key costs it what an old one costs
            self.cluster.load(64, WARMUP_SECONDS, 0, KEYS, warm.value_bytes)
        else:
            fill(self._program, self.cluster)
            run_load(self._program, self.cluster, warm, when_quiet=False)
        self.cluster.pause()

    @contextmanager
    def turn(self) -> Iterator[Cluster]:
        """Let it go on for as long as the block runs."""
        self.cluster.resume()
        time.sleep(SETTLE_SECONDS)
        self.cluster.await_in_step()
        yield self.cluster
        self.cluster.pause()

    def measure(self, load: Load) -> tuple[LoadResult, int]:
        """Put `load` on it; return what came of it and who led.

        A measurement in which a request failed is made once more: an election costs requests, and says so.

        Raises:
            BenchmarkError: requests failed again.
        """
        for attempt in range(ATTEMPTS):
            try:
                leader = self.cluster.await_leader()
                result = self._run(load, leader)
            except BenchmarkError as problem:
                if attempt + 1 == ATTEMPTS:
                    raise
                print(f"  {self.name}: measured again: {problem}", flush=True)
                self.cluster.await_in_step()
            else:
                return result, leader
        raise AssertionError("every attempt returns or raises")

    def _run(self, load: Load, leader: int) -> LoadResult:
        if isinstance(self.cluster, PySyncObjCluster):
            return run_in_process(self.cluster, load)
        result = run_load(self._program, self.cluster, load, when_quiet=self._when_quiet)
        if self.cluster.await_leader() != leader:
            raise BenchmarkError("the leader changed")
        return result


def run_in_process(cluster: PySyncObjCluster, load: Load) -> LoadResult:
    """Have PySyncObj's leader put the load on itself."""
    pids = list(cluster.pids.values())
    began, machine, own = time.monotonic(), machine_seconds(), [process_seconds(pid) for pid in pids]
    in_flight = load.connections * load.in_flight
    answer = cluster.load(in_flight, load.seconds, load.warmup, load.keys, load.value_bytes)
    elapsed = time.monotonic() - began
    used = [(process_seconds(pid) - before) / elapsed for pid, before in zip(pids, own, strict=True)]
    others = (machine_seconds() - machine) / elapsed - sum(used)
    if answer["err"]:
        raise BenchmarkError(f"{cluster.name}: {answer['err']} requests failed")
    return LoadResult(
        connections=load.connections,
        in_flight=load.in_flight,
        ok=answer["ok"],
        err=0,
        rps=answer["rps"],
        p50_ms=answer["p50_ms"],
        p99_ms=answer["p99_ms"],
        p999_ms=answer["p999_ms"],
        max_ms=answer["max_ms"],
        server_cores=used,
        load_cores=0.0,
        other_cores=others,
        steal_cores=0.0,
        first_error="",
    )


def to_sample(contender: str, shape: Shape, number: int, result: LoadResult, leader: int) -> Sample:
    """Make the sample of one measurement."""
    followers = [cores for member, cores in enumerate(result.server_cores) if member != leader]
    a_core = 1e6 / result.rps
    return Sample(
        contender=contender,
        shape=shape,
        round=number,
        rate=result.rps,
        p50_ms=result.p50_ms,
        p99_ms=result.p99_ms,
        p999_ms=result.p999_ms,
        leader_us=result.server_cores[leader] * a_core,
        follower_us=sum(followers) / len(followers) * a_core if followers else 0.0,
        other_cores=result.other_cores + result.steal_cores,
    )


def to_load(shape: Shape, seconds: int, contender: str) -> Load:
    """The arguments of the load generator."""
    protocol = "resp" if shape.resp and contender == OURS else None
    return Load(shape.op, shape.connections, shape.in_flight, seconds, warmup=0, protocol=protocol)


def start(
    names: Sequence[str], program: Path, stack: ExitStack, *, swapped: bool, when_quiet: bool
) -> dict[str, Contender]:
    """Start and prepare contenders, in this order or the other; what is not installed is left out, with a word."""
    contenders: dict[str, Contender] = {}
    for name in reversed(names) if swapped else names:
        try:
            cluster = stack.enter_context(FACTORIES[name]())
        except NotInstalledError as problem:
            print(f"skipped: {problem}", flush=True)
            continue
        contenders[name] = Contender(name, cluster, program, when_quiet=when_quiet)
        print(f"started: {name}", flush=True)
        contenders[name].prepare()
    return {name: contenders[name] for name in names if name in contenders}


def measure_round(
    contenders: Mapping[str, Contender], shapes: Sequence[Shape], seconds: int, number: int
) -> Iterator[Sample]:
    """Measure each contender under each load once; the one that begins changes with the round."""
    done: set[tuple[str, Shape]] = set()
    names = list(contenders)
    begin = number % len(names)  # what drifts during a round then favours none
    for shape in shapes:
        for name in names[begin:] + names[:begin]:
            contender = contenders[name]
            due = [each for each in contender.shapes(shape) if (name, each) not in done]
            if not due:
                continue
            with contender.turn():
                for each in due:
                    result, leader = contender.measure(to_load(each, seconds, name))
                    done.add((name, each))
                    print(f"  {name:10} {each.op} {result.describe()}", flush=True)
                    yield to_sample(name, each, number, result, leader)
