"""How long turns and writes become while many keys expire at once: each by its own deadline, or all with one lease."""

import argparse
import json
import socket
import time
from collections.abc import Callable
from typing import Final

from benchmarks.cluster import MEMBERS, BenchmarkError
from benchmarks.command import bounded, run
from benchmarks.restart import ask, keep
from benchmarks.turns import POLL_SECONDS, Pinger, TimedCluster, describe_pings, describe_turns, for_seconds

BATCH_KEYS: Final = 100
"""Written by one transaction."""
LEAD_SECONDS: Final = 3.0
"""From the last write to the deadline of all keys, at least."""
FILL_KEYS_A_SECOND: Final = 5_000
"""The keys are written at least this fast."""
EXPIRED_SECONDS_MAX: Final = 60.0
CALM_SECONDS: Final = 3
SETTINGS: Final = {"log_bytes": 1024 * 1024 * 1024}
"""No snapshot meanwhile."""


class Writer(Pinger):
    """Writes to one key again and again, inside the `with` block, from a thread."""

    request = b"SET unrelated x"


def write_with_deadlines(cluster: TimedCluster, keys: int) -> float:
    """Write keys that all expire in the same second; return when, by the monotonic clock."""
    lasts = keys / FILL_KEYS_A_SECOND + LEAD_SECONDS
    due = time.monotonic() + lasts
    with keep(cluster, cluster.await_leader()) as connection:
        for first in range(0, keys, BATCH_KEYS):
            left = max(due - time.monotonic(), 0.001)
            write(connection, first, keys, {"ttl": round(left, 3)})
    return due


def write_with_lease(cluster: TimedCluster, keys: int) -> float:
    """Write keys of one lease; return when it ends, by the monotonic clock."""
    lasts = keys / FILL_KEYS_A_SECOND + LEAD_SECONDS
    with keep(cluster, cluster.await_leader()) as connection:
        due = time.monotonic() + lasts
        lease = json.loads(ask(connection, b"LEASE GRANT %d" % lasts))["lease"]
        for first in range(0, keys, BATCH_KEYS):
            write(connection, first, keys, {"lease": lease})
    return due


def write(connection: socket.socket, first: int, keys: int, life: dict[str, object]) -> None:
    """Write some of the keys by one transaction."""
    numbers = range(first, min(first + BATCH_KEYS, keys))
    steps = [{"set": f"short:{number:08d}", "value": "x" * 64, **life} for number in numbers]
    answer = ask(connection, b"TXN " + json.dumps({"then": steps}).encode())
    if not answer.startswith(b'{"succeeded":true'):
        raise BenchmarkError(f"a transaction was answered {answer.decode(errors='replace')}")


def count(cluster: TimedCluster) -> int:
    """Return how many of the keys can be read."""
    with keep(cluster, cluster.await_leader()) as connection:
        return int(json.loads(ask(connection, b"PREFIX short: COUNT"))["count"])


def watch(cluster: TimedCluster, title: str, done: Callable[[], bool]) -> None:
    """Wait until `done`, and print what turns and writes took meanwhile."""
    leader = cluster.await_leader()
    began = time.monotonic()
    with Writer(cluster, leader) as writer:
        while not done():
            if time.monotonic() > began + EXPIRED_SECONDS_MAX:
                raise BenchmarkError(f"{title}: not done after {EXPIRED_SECONDS_MAX:.0f} s")
            time.sleep(POLL_SECONDS)
    ended = time.monotonic()
    print(f"{title}, {ended - began:.1f} s")
    for member in range(MEMBERS):
        role = "leader" if member == leader else "follower"
        print(f"  {role:10} {describe_turns(cluster.turns(member, began, ended), began)}")
    print(f"  {'':10} {describe_pings(writer.delays, 'writes')}", flush=True)


def expired(cluster: TimedCluster, kept: int) -> Callable[[], bool]:
    """Return what is done when the keys have been removed on all members, where so many others stay."""

    def done() -> bool:
        return all(cluster.status(member)["keys"] <= kept for member in range(MEMBERS))

    return done


def measure(options: argparse.Namespace) -> None:
    """Measure keys with deadlines, and then keys of one lease."""
    with TimedCluster(limits=SETTINGS) as cluster:
        watch(cluster, "nothing expires", for_seconds(CALM_SECONDS))
        kept = int(cluster.status(cluster.await_leader())["keys"])
        for title, fill in (("deadlines", write_with_deadlines), ("one lease", write_with_lease)):
            due = fill(cluster, options.keys)
            print(f"{count(cluster)} keys are there; {due - time.monotonic():.1f} s are left")
            time.sleep(max(due - time.monotonic() - 1, 0))
            watch(cluster, f"{options.keys} keys expire: {title}", expired(cluster, kept))


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.expiry", description=__doc__)
    parser.add_argument("--keys", type=bounded(1, 1_000_000), default=100_000)
    run(measure, parser.parse_args())


if __name__ == "__main__":
    main()
