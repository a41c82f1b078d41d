"""Where a request's microseconds go, on the leader and on a follower: a budget that sums to what is measured.

    python -m benchmarks.budget                                 SET, 64 connections with one request in flight each
    python -m benchmarks.budget --connections 1                 a client alone
    python -m benchmarks.budget --load get --in-flight 16       linearizable GET
    python -m benchmarks.budget --load once                     SET, and a connection for each
    python -m benchmarks.budget --load replay                   a start with a journal of 1,000,000 SETs and no snapshot

The members run under `benchmarks.budget_probe`, which samples the reactor's thread. The processor time of each thread,
in user mode and in the kernel, comes from /proc; the reactor's is divided as its samples are, and other threads stand
for themselves. What a call into the kernel takes counts for the function that makes it. `--strace` counts the system
calls of the leader meanwhile, in a run of its own, because it slows them down.
"""

import argparse
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from benchmarks import results
from benchmarks.budget_probe import SAMPLES_FILE
from benchmarks.cluster import BenchmarkError, KvraftCluster, ProbedCluster
from benchmarks.command import bounded, run
from benchmarks.measure import TICKS_PER_SECOND, Load, begin_load, fill, finish_load, load_generator, run_load
from benchmarks.restart import FILL_SECONDS_MAX, REPLAY_LIMITS, await_serving, restart

SETTLE_SECONDS: Final = 1.0
STRACE_SECONDS: Final = 3
CALLS_SHOWN: Final = 10
REPLAYED: Final = 1_000_000
"""SETs in the journal that is replayed."""
LOADS: Final = {"set": "SET", "get": "GET", "once": "SET, one connection a request", "replay": "replayed SET"}
SYSTEM_CALL: Final = re.compile(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)\s*$")
"""A line of strace's summary: share, seconds, microseconds a call, calls, errors if any, name."""

PLACES: Final[Sequence[tuple[str, str, str]]] = (
    # The beginning of the file, the function or "", and its text for the reader.
    ("twisted/internet/epollreactor.py", "doPoll", "waiting for events: epoll_wait"),
    ("twisted/internet/tcp.py", "doRead", "sockets: recv"),
    ("twisted/internet/tcp.py", "writeSomeData", "sockets: send"),
    ("twisted/", "", "Twisted's reactor and transports"),
    ("kvraft/server/", "", "server: read requests, write answers"),
    ("kvraft/commands/", "", "commands: encode and decode"),
    ("kvraft/store/", "", "store: apply"),
    ("kvraft/replica/", "", "replica: turns, proposals, answers"),
    ("kvraft/raft/", "", "raft: the core"),
    ("kvraft/peers/", "", "peers: messages between members"),
    ("kvraft/net/", "", "net: connections"),
    ("kvraft/storage/", "", "storage: lay out and save"),
    ("kvraft/metrics/", "", "metrics"),
)
OTHER: Final = "the rest"


class Thread(msgspec.Struct, frozen=True):
    """Processor time of a thread, seconds."""

    user: float
    kernel: float

    @property
    def total(self) -> float:
        """Both."""
        return self.user + self.kernel


def place(file: str, function: str) -> str:
    """What a sample is counted for."""
    for beginning, name, title in PLACES:
        if file.startswith(beginning) and name in {"", function}:
            return title
    return OTHER


def budget(samples: Iterable[tuple[str, str]], reactor_us: float) -> dict[str, float]:
    """Divide the processor time of the reactor's thread as the samples are divided; the parts sum to it.

    Raises:
        BenchmarkError: there are no samples.
    """
    counts = Counter(place(file, function) for file, function in samples)
    total = counts.total()
    if not total:
        raise BenchmarkError("the reactor's thread was never sampled: is the load too small?")
    return {title: reactor_us * count / total for title, count in counts.most_common()}


def threads(pid: int) -> dict[int, Thread]:
    """The processor time of each thread of a process; the reactor's has the number of the process."""
    found = {}
    for folder in Path(f"/proc/{pid}/task").iterdir():
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        found[int(folder.name)] = Thread(int(fields[11]) / TICKS_PER_SECOND, int(fields[12]) / TICKS_PER_SECOND)
    return found


def system_calls(summary: str) -> dict[str, int]:
    """How often each system call was made, from the summary that `strace -c` prints."""
    matches = map(SYSTEM_CALL.match, summary.splitlines())
    return {match[2]: int(match[1]) for match in matches if match is not None and match[2] != "total"}


class SampledCluster(ProbedCluster):
    """Members whose reactors' threads are sampled."""

    probe = "benchmarks.budget_probe"
    file_variable = SAMPLES_FILE

    def samples(self, member: int, since: float, until: float) -> list[tuple[str, str]]:
        """File and function of the samples of a span of time."""
        found = []
        for line in self.probe_file(member).read_text().splitlines():
            moment, file, function = line.split(" ", 2)
            if since <= float(moment) <= until:
                found.append((file, function))
        return found


class MemberBudget(msgspec.Struct, frozen=True):
    """What a request costs one member, microseconds."""

    role: str
    user_us: float
    kernel_us: float
    parts: dict[str, float]

    def describe(self) -> str:
        """Lines for people."""
        total = self.user_us + self.kernel_us
        modes = f"{self.user_us:.1f} in user mode and {self.kernel_us:.1f} in the kernel"
        lines = [f"{self.role}: {total:.1f} us a request, {modes}"]
        lines += [f"  {us:6.1f}  {us / total:5.0%}  {title}" for title, us in self.parts.items()]
        return "\n".join([*lines, f"  {sum(self.parts.values()):6.1f}   sum"])


def of_member(
    role: str,
    before: Mapping[int, Thread],
    after: Mapping[int, Thread],
    pid: int,
    requests: float,
    found: Sequence[tuple[str, str]],
) -> MemberBudget:
    """Make one member's budget of what its threads have used for so many requests, and of its samples."""
    none = Thread(0.0, 0.0)
    used = {
        thread: Thread(now.user - before.get(thread, none).user, now.kernel - before.get(thread, none).kernel)
        for thread, now in after.items()
    }
    each = 1e6 / requests
    parts = budget(found, used[pid].total * each)
    others = [thread for number, thread in used.items() if number != pid]
    parts["other threads, in user mode"] = sum(thread.user for thread in others) * each
    parts["other threads, in the kernel: write, fdatasync, wake-ups"] = sum(thread.kernel for thread in others) * each
    user = sum(thread.user for thread in used.values()) * each
    kernel = sum(thread.kernel for thread in used.values()) * each
    return MemberBudget(role, user, kernel, parts)


def count_calls(cluster: KvraftCluster, program: Path, load: Load, leader: int) -> str:
    """Count the leader's system calls under the load, and say how many a SET takes."""
    strace = shutil.which("strace")
    if strace is None:
        return "strace is not installed: no system calls are counted"
    with begin_load(program, cluster, load) as process:
        time.sleep(SETTLE_SECONDS)
        command = [strace, "-f", "-c", "-p", str(cluster.pids[leader])]
        tracer = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        first = int(cluster.status(leader)["revision"])
        time.sleep(STRACE_SECONDS)
        sets = int(cluster.status(leader)["revision"]) - first
        tracer.send_signal(signal.SIGINT)
        _, summary = tracer.communicate(timeout=30)
        finish_load(process, cluster, load)
    calls = sorted(system_calls(summary).items(), key=lambda item: -item[1])
    shares = ", ".join(f"{name} {count / max(sets, 1):.3f}" for name, count in calls[:CALLS_SHOWN])
    return f"system calls of the leader a SET: {shares}"


def measure_load(options: argparse.Namespace, load: Load) -> tuple[object, list[MemberBudget]]:
    """Put the load on and divide what a request costs: what the load did, and the leader's and a follower's budgets."""
    with load_generator() as program, SampledCluster() as cluster:
        fill(program, cluster)
        leader = cluster.await_leader()
        with begin_load(program, cluster, load) as process:
            time.sleep(SETTLE_SECONDS)
            before = {member: threads(pid) for member, pid in cluster.pids.items()}
            since = time.monotonic()
            time.sleep(options.seconds)
            after = {member: threads(pid) for member, pid in cluster.pids.items()}
            until = time.monotonic()
            result = finish_load(process, cluster, load)
        print(f"{LOADS[options.load]}, {result.describe()}")
        budgets = members(cluster, leader, before, after, result.rps * (until - since), since, until)
        if options.strace:
            print(count_calls(cluster, program, msgspec.structs.replace(load, seconds=STRACE_SECONDS + 4), leader))
    return result, budgets


def measure_replay() -> tuple[object, list[MemberBudget]]:
    """Start with a long journal and divide what each of its SETs costs: how long it took, and two members' budgets."""
    with load_generator() as program, SampledCluster(limits=REPLAY_LIMITS) as cluster:
        written = Load("fill", connections=8, in_flight=64, seconds=FILL_SECONDS_MAX, warmup=0, keys=REPLAYED)
        run_load(program, cluster, written, when_quiet=False)
        cluster.await_in_step()
        since = time.monotonic()
        restart(cluster)
        took = await_serving(cluster)
        after = {member: threads(pid) for member, pid in cluster.pids.items()}
        until = time.monotonic()
        print(f"{REPLAYED:,} SETs of 64 bytes: serving after {took:.2f} s")
        nothing: dict[int, dict[int, Thread]] = {member: {} for member in cluster.pids}
        budgets = members(cluster, cluster.await_leader(), nothing, after, REPLAYED, since, until)
    return took, budgets


def members(
    cluster: SampledCluster,
    leader: int,
    before: Mapping[int, Mapping[int, Thread]],
    after: Mapping[int, Mapping[int, Thread]],
    requests: float,
    since: float,
    until: float,
) -> list[MemberBudget]:
    """Make and print the budgets of the leader and of a follower."""
    budgets = []
    for member in sorted(cluster.pids, key=lambda member: member != leader)[:2]:
        role = "leader" if member == leader else "follower"
        found = cluster.samples(member, since, until)
        budgets.append(of_member(role, before[member], after[member], cluster.pids[member], requests, found))
        print(budgets[-1].describe(), flush=True)
    return budgets


def measure(options: argparse.Namespace) -> None:
    """Divide what a request costs, and write it to a file.

    Raises:
        BenchmarkError: the options contradict each other.
    """
    if options.strace and options.load in {"get", "replay"}:
        raise BenchmarkError("--strace counts the calls of a SET; leave it out, or take --load set or once")
    shape = f"{options.connections}x{options.in_flight}"
    if options.load == "replay":
        name, (result, budgets) = "replay", measure_replay()
        settings = {"replayed": REPLAYED}
    else:
        op, protocol = ("set", "once") if options.load == "once" else (options.load, None)
        seconds = options.seconds + 2 * int(SETTLE_SECONDS)
        load = Load(op, options.connections, options.in_flight, seconds, warmup=0, protocol=protocol)
        name, (result, budgets) = f"{options.load}-{shape}", measure_load(options, load)
        settings = {"seconds": options.seconds}
    path = results.new_path(f"budget-{name}")
    results.write(path, settings, {"load": result, "members": budgets})
    print(f"written: {path.name}")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.budget", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--load", choices=LOADS, default="set", help="what is asked")
    parser.add_argument("--connections", type=bounded(1, 1000), default=64)
    parser.add_argument("--in-flight", type=bounded(1, 1024), default=1, help="on each connection")
    parser.add_argument("--seconds", type=bounded(2, 60), default=10)
    parser.add_argument("--strace", action="store_true", help="count system calls of a SET as well")
    run(measure, parser.parse_args())


if __name__ == "__main__":
    main()
