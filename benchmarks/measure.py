"""What all benchmarks need: the load generator, a quiet machine to begin on, processor time, and honest summaries."""

import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.cluster import BenchmarkError, Cluster

QUIET_CORES: Final = 0.3
"""What other programs may use of the processors when a measurement begins."""
QUIET_SECONDS_MAX: Final = 15.0
"""How long to wait for that; then the measurement begins all the same."""
QUIET_SAMPLE_SECONDS: Final = 0.5
LOAD_SLACK_SECONDS: Final = 60
TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
VALUE_BYTES: Final = 64
KEYS: Final = 100_000


class Load(msgspec.Struct, frozen=True):
    """What to ask of a cluster's leader: connections, requests in flight on each, seconds, and of how many keys.

    With a `rate` the loop is open: so many requests are due a second, and latency runs from when each was due.
    """

    op: str
    connections: int
    in_flight: int
    seconds: int = 8
    warmup: int = 2
    keys: int = KEYS
    value_bytes: int = VALUE_BYTES
    rate: int = 0
    protocol: str | None = None
    """Other than the cluster's own, where it speaks several."""


class LoadResult(msgspec.Struct, frozen=True):
    """What came of it. Cores are processor seconds a second; `other_cores` is what strangers used meanwhile."""

    connections: int
    in_flight: int
    ok: int
    err: int
    rps: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    server_cores: list[float]
    load_cores: float
    other_cores: float
    steal_cores: float
    first_error: str

    def describe(self) -> str:
        """One line for people."""
        return (
            f"{self.connections:4d} x {self.in_flight:<4d} {self.rps:9,.0f}/s   p50 {self.p50_ms:7.2f} ms   "
            f"p99 {self.p99_ms:7.2f} ms   cores: servers {sum(self.server_cores):.2f}, load {self.load_cores:.2f}, "
            f"others {self.other_cores + self.steal_cores:.2f}"
        )


@contextmanager
def load_generator() -> Iterator[Path]:
    """Build the load generator for as long as the block runs."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise BenchmarkError("the load generator is written in C; install a C compiler (gcc or clang)")
    here = Path(__file__).resolve().parent
    with tempfile.TemporaryDirectory(prefix="load-") as folder:
        program = Path(folder) / "load"
        subprocess.run([compiler, "-O2", "-o", program, *sorted(here.glob("load*.c"))], check=True)
        yield program


def run_load(program: Path, cluster: Cluster, load: Load, *, when_quiet: bool = True) -> LoadResult:
    """Put `load` on the leader, once others are quiet, unless that does not matter.

    Raises:
        BenchmarkError: a request failed; what is left is no measurement.
    """
    if when_quiet:
        wait_until_quiet(list(cluster.pids.values()))
    with begin_load(program, cluster, load) as process:
        return finish_load(process, cluster, load)


@contextmanager
def begin_load(program: Path, cluster: Cluster, load: Load) -> Iterator["subprocess.Popen[str]"]:
    """Put `load` on the leader at once; it is ended with the block, at the latest."""
    leader = cluster.await_leader()
    pids = cluster.pids
    options = {
        "protocol": load.protocol or cluster.protocol,
        "op": load.op,
        "address": cluster.address(leader),
        "connections": load.connections,
        "in-flight": load.in_flight,
        "seconds": load.seconds,
        "warmup": load.warmup,
        "keys": load.keys,
        "value-bytes": load.value_bytes,
        "pids": ",".join(map(str, pids.values())),
    }
    if load.rate:
        options["rate"] = load.rate
    command = [str(program), *(f"--{name}={value}" for name, value in options.items())]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def finish_load(process: "subprocess.Popen[str]", cluster: Cluster, load: Load) -> LoadResult:
    """Wait for the end of a load that was begun.

    Raises:
        BenchmarkError: a request failed, or the load did not end; what is left is no measurement.
    """
    seconds_max = load.seconds + load.warmup + LOAD_SLACK_SECONDS
    try:
        output, errors = process.communicate(timeout=seconds_max)
    except subprocess.TimeoutExpired as problem:
        raise BenchmarkError(f"{cluster.name}: the load has not ended after {seconds_max} s") from problem
    if not output:
        raise BenchmarkError(f"{cluster.name}: {errors.strip() or f'the load ended with {process.returncode}'}")
    result = msgspec.json.decode(output, type=LoadResult)
    if result.err or result.first_error:
        raise BenchmarkError(
            f"{cluster.name}: {result.err} requests failed, the first with: {result.first_error or 'no answer in time'}"
        )
    return result


def fill(program: Path, cluster: Cluster) -> None:
    """Write every key of the keyspace once, so that every GET finds something."""
    load = Load(op="fill", connections=8, in_flight=64, seconds=120, warmup=0)
    run_load(program, cluster, load, when_quiet=False)


def process_seconds(pid: int) -> float:
    """Processor time that a process has used, in seconds, to a hundredth; 0 for one that has gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    fields = text.rpartition(")")[2].split()  # a name may hold spaces and brackets
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def machine_seconds() -> float:
    """Processor time that the whole machine has used, in seconds."""
    user, nice, system, _idle, _iowait, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / TICKS_PER_SECOND


def wait_until_quiet(own_pids: Sequence[int]) -> None:
    """Wait until programs other than `own_pids` leave the processors alone, for a bounded time."""
    deadline = time.monotonic() + QUIET_SECONDS_MAX
    while time.monotonic() < deadline:
        began, machine, own = time.monotonic(), machine_seconds(), sum(map(process_seconds, own_pids))
        time.sleep(QUIET_SAMPLE_SECONDS)
        others = machine_seconds() - machine - (sum(map(process_seconds, own_pids)) - own)
        if others / (time.monotonic() - began) < QUIET_CORES:
            return


def spread(values: Sequence[float], pattern: str = "{:.2f}") -> str:
    """Describe `values` by their median and what they lie between."""
    median, low, high = (pattern.format(value) for value in (statistics.median(values), min(values), max(values)))
    return f"{median} (median of {len(values)}, {low} to {high})"
