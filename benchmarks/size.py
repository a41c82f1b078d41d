"""How large data directories become: the most that any member's took while many SETs overwrote few keys."""

import argparse
import threading
import time
from typing import Final, Self

from benchmarks.cluster import MEMBERS, BenchmarkError, KvraftCluster
from benchmarks.command import bounded, run
from benchmarks.measure import KEYS, Load, load_generator, run_load

WRITES_MAX: Final = 100_000_000
LOAD_SECONDS: Final = 15
SECONDS_MAX: Final = 1_800
SAMPLE_SECONDS: Final = 0.2
MIB: Final = 1024 * 1024


class Watch:
    """Looks at all data directories again and again, inside the `with` block, and keeps the largest of each."""

    def __init__(self, cluster: KvraftCluster) -> None:
        self._cluster = cluster
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.largest = [0] * MEMBERS

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            for member in range(MEMBERS):
                self.largest[member] = max(self.largest[member], self._cluster.data_bytes(member))


def measure(options: argparse.Namespace) -> None:
    """Write until enough is written, and print what the directories took."""
    load = Load("set", options.connections, options.in_flight, LOAD_SECONDS, warmup=0)
    began = time.monotonic()
    with load_generator() as program, KvraftCluster() as cluster, Watch(cluster) as watch:
        written = 0
        while written < options.writes:
            if time.monotonic() - began > SECONDS_MAX:
                raise BenchmarkError(f"only {written:,} writes in {SECONDS_MAX} s; ask for fewer with --writes")
            result = run_load(program, cluster, load)
            written = int(cluster.status(cluster.await_leader())["revision"])
            print(f"  {written:12,} written   {result.describe()}", flush=True)
        cluster.await_in_step()
        for member in range(MEMBERS):
            taken, installed = (len(cluster.said(member, what)) for what in ("took a snapshot", "installed a snapshot"))
            print(
                f"member {member}: at most {watch.largest[member] / MIB:.0f} MiB, "
                f"{cluster.data_bytes(member) / MIB:.0f} MiB at the end; {taken} snapshots taken, {installed} installed"
            )
    print(f"{written:,} SETs of 64 bytes over {KEYS:,} keys: at most {max(watch.largest) / MIB:.0f} MiB a member")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.size", description=__doc__.partition("\n")[0])
    parser.add_argument("--writes", type=bounded(1, WRITES_MAX), default=10_000_000)
    parser.add_argument("--connections", type=bounded(1, 1000), default=16)
    parser.add_argument("--in-flight", type=bounded(1, 1024), default=64, help="on each connection")
    run(measure, parser.parse_args())


if __name__ == "__main__":
    main()
