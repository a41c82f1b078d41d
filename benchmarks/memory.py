"""What a leader's memory comes to under a stream of large writes, and that of a member that catches up meanwhile.

The load is open: so many SETs a second of 1 kB each, over 10 MB of data. A follower is killed, misses some seconds of
it, and comes back under the same load. Then the load ends, and memory is looked at once more a minute later.
"""

import argparse
import time
from pathlib import Path
from typing import Final

from benchmarks.catchup import revision
from benchmarks.cluster import REPOSITORY, BenchmarkError, KvraftCluster
from benchmarks.command import bounded, checkout, run
from benchmarks.measure import Load, begin_load, load_generator

KEYS: Final = 10_000
VALUE_BYTES: Final = 1000
CONNECTIONS: Final = 64
IN_FLIGHT: Final = 64
BEHIND_MAX: Final = 100_000
"""A member that lacks no more writes than this has caught up: the load goes on, so there are always some."""
CATCH_UP_SECONDS_MAX: Final = 60.0
POLL_SECONDS: Final = 0.2
MIB: Final = 1024


def memory_mib(pid: int, field: str = "VmRSS") -> float:
    """Memory of a process that is resident, or with "VmHWM" the most that ever was."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(fields[field].split()[0]) / MIB


def catch_up(cluster: KvraftCluster, leader: int, late: int) -> float:
    """Start a member and wait until it has nearly what the leader has; return how long that took, seconds."""
    began = time.monotonic()
    cluster.start(late)
    while revision(cluster, late) + BEHIND_MAX < revision(cluster, leader) or not revision(cluster, late):
        if time.monotonic() > began + CATCH_UP_SECONDS_MAX:
            raise BenchmarkError(f"the member has not caught up after {CATCH_UP_SECONDS_MAX:.0f} s")
        time.sleep(POLL_SECONDS)
    return time.monotonic() - began


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Put the load on, and look."""
    total = options.seconds + options.missed_seconds + int(CATCH_UP_SECONDS_MAX)
    load = Load("set", CONNECTIONS, IN_FLIGHT, total, 0, KEYS, VALUE_BYTES, options.rate)
    found: dict[str, float] = {}
    with load_generator() as program, KvraftCluster(source=options.build or REPOSITORY) as cluster:
        leader = cluster.await_leader()
        late = (leader + 1) % cluster.members
        found["leader at rest"] = memory_mib(cluster.pids[leader])
        with begin_load(program, cluster, load):
            first, began = revision(cluster, leader), time.monotonic()
            time.sleep(options.seconds)
            found["writes a second"] = (revision(cluster, leader) - first) / (time.monotonic() - began)
            found["leader under load"] = memory_mib(cluster.pids[leader])
            cluster.kill(late)
            time.sleep(options.missed_seconds)
            found["seconds to catch up"] = catch_up(cluster, leader, late)
            found["member that has caught up, at most"] = memory_mib(cluster.pids[late], "VmHWM")
            found["member that has caught up"] = memory_mib(cluster.pids[late])
            found["leader under load, at most"] = memory_mib(cluster.pids[leader], "VmHWM")
        time.sleep(options.rest_seconds)
        found[f"leader {options.rest_seconds} s after the load"] = memory_mib(cluster.pids[leader])
        found[f"that member {options.rest_seconds} s after the load"] = memory_mib(cluster.pids[late])
        if cluster.await_leader() != leader:
            raise BenchmarkError("another member leads now; nothing can be compared")
    for what, value in found.items():
        print(f"{what}: {value:,.0f}{'' if 'second' in what and 'load' not in what else ' MiB'}")
    return found


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this measurement."""
    parser.add_argument("--rate", type=bounded(100, 200_000), default=50_000, help="SETs a second, of 1 kB each")
    parser.add_argument("--seconds", type=bounded(1, 120), default=15, help="of the load before a member is killed")
    parser.add_argument("--missed-seconds", type=bounded(1, 60), default=10, help="that the member is away")
    parser.add_argument("--rest-seconds", type=bounded(1, 120), default=60, help="from the end of the load")
    parser.add_argument("--build", type=checkout, metavar="FOLDER", help="measure the kvraft of another checkout")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__.partition("\n")[0])
    add_options(parser)
    run(measure, parser.parse_args())


if __name__ == "__main__":
    main()
