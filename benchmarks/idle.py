"""What a cluster costs without requests: each member's share of one processor core."""

import argparse
import time
from contextlib import ExitStack
from typing import Final

from benchmarks.cluster import Cluster, EtcdCluster, KvraftCluster
from benchmarks.command import bounded, run
from benchmarks.measure import process_seconds

SETTLE_SECONDS: Final = 3.0
SECONDS_MAX: Final = 600


def measure(options: argparse.Namespace) -> None:
    """Let the clusters idle side by side and print what each member used.

    Together, because an idle cluster leaves room for another, and what disturbs one then disturbs both.
    """
    with ExitStack() as stack:
        clusters: list[Cluster] = [stack.enter_context(KvraftCluster())]
        if options.reference == "etcd":
            clusters.append(stack.enter_context(EtcdCluster()))
        time.sleep(SETTLE_SECONDS)
        leaders = {cluster.name: cluster.await_leader() for cluster in clusters}
        pids = {(cluster.name, member): pid for cluster in clusters for member, pid in cluster.pids.items()}
        before, began = {who: process_seconds(pid) for who, pid in pids.items()}, time.monotonic()
        time.sleep(options.seconds)
        elapsed = time.monotonic() - began
        percent = {who: 100 * (process_seconds(pid) - before[who]) / elapsed for who, pid in pids.items()}
    totals: dict[str, float] = {}
    for (name, member), share in percent.items():
        role = "leader" if leaders[name] == member else "follower"
        print(f"{name} member {member} ({role}): {share:.2f} % of a core")
        totals[name] = totals.get(name, 0.0) + share
    for name, total in totals.items():
        print(f"{name}, all members: {total:.2f} %")
    if totals.get("etcd"):
        print(f"kvraft : etcd = {totals['kvraft'] / totals['etcd']:.2f}")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.idle", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=bounded(5, SECONDS_MAX), default=20)
    parser.add_argument("--reference", choices=["etcd", "none"], default="none")
    run(measure, parser.parse_args())


if __name__ == "__main__":
    main()
