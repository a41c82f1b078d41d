"""What watches cost: a write that many clients follow, and unrelated writes beside many watches that are idle."""

import argparse
import selectors
import socket
import statistics
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from benchmarks.cluster import BenchmarkError, KvraftCluster
from benchmarks.command import bounded, run
from benchmarks.measure import Load, fill, load_generator, run_load, spread
from benchmarks.restart import READ_BYTES, ask, keep, read_answer

HOT: Final = b"hot"
"""The key that all clients of the first part follow."""
WATCHES_A_CONNECTION: Final = 100
"""Of the second part."""
ROUND_SECONDS: Final = 2
EVENT_SECONDS_MAX: Final = 30.0
PAUSE_SECONDS: Final = 0.05
RESET: Final = struct.pack("ii", 1, 0)
"""A connection is closed by a reset: after a half-close its watches would go on until the next progress message."""


@contextmanager
def following(cluster: KvraftCluster, clients: int) -> Iterator[list[socket.socket]]:
    """Open so many connections that each watch the hot key."""
    leader = cluster.await_leader()
    with ExitStack() as stack:
        connections = [stack.enter_context(keep(cluster, leader)) for _ in range(clients)]
        for connection in connections:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            ask(connection, b"WATCH " + HOT)
        yield connections


@contextmanager
def idle_watches(cluster: KvraftCluster, watches: int) -> Iterator[None]:
    """Watch so many keys that nothing writes to."""
    leader = cluster.await_leader()
    with ExitStack() as stack:
        for first in range(0, watches, WATCHES_A_CONNECTION):
            connection = stack.enter_context(keep(cluster, leader))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            for number in range(first, min(first + WATCHES_A_CONNECTION, watches)):
                ask(connection, b"WATCH idle:%d" % number)
        yield


def measure_fan_out(cluster: KvraftCluster, clients: int, rounds: int) -> None:
    """Write to the hot key again and again, and print when its watchers have received the event."""
    leader = cluster.await_leader()
    medians, lasts = [], []
    with (
        following(cluster, clients) as connections,
        keep(cluster, leader) as writer,
        selectors.EpollSelector() as ready,
    ):
        for connection in connections:
            connection.setblocking(False)
            ready.register(connection, selectors.EVENT_READ)
        for number in range(rounds):
            began = time.monotonic()
            writer.sendall(b"SET %b %d\n" % (HOT, number))
            delays = [(arrived - began) * 1000 for arrived in arrivals(ready, clients)]
            read_answer(writer)
            medians.append(statistics.median(delays))
            lasts.append(max(delays))
            time.sleep(PAUSE_SECONDS)
    print(f"one write to a key with {clients} watchers, ms from the request until an event is read:")
    print(f"  median of the watchers {spread(medians, '{:.1f}')}")
    print(f"  the last of them       {spread(lasts, '{:.1f}')}", flush=True)


def arrivals(ready: selectors.BaseSelector, count: int) -> Iterator[float]:
    """Return when each of `count` clients has read its event.

    Raises:
        BenchmarkError: some have not in time.
    """
    deadline = time.monotonic() + EVENT_SECONDS_MAX
    while count:
        for key, _ in ready.select(EVENT_SECONDS_MAX):
            assert isinstance(key.fileobj, socket.socket)
            if key.fileobj.recv(READ_BYTES).endswith(b"\n"):
                count -= 1
                yield time.monotonic()
        if time.monotonic() > deadline:
            raise BenchmarkError(f"{count} watchers have read nothing after {EVENT_SECONDS_MAX:.0f} s")


def measure_idle(cluster: KvraftCluster, program: Path, watches: int, rounds: int) -> None:
    """Put the same load on the leader without the idle watches and with them, in turn."""
    load = Load("set", connections=64, in_flight=1, seconds=ROUND_SECONDS, warmup=0)
    fill(program, cluster)
    run_load(program, cluster, load)
    rates, costs = [], []
    for _ in range(rounds):
        alone = run_load(program, cluster, load)
        with idle_watches(cluster, watches):
            beside = run_load(program, cluster, load)
        rates.append(beside.rps / alone.rps)
        costs.append((sum(beside.server_cores) / beside.rps) / (sum(alone.server_cores) / alone.rps))
    print(f"SET, 64 connections, beside {watches} watches of other keys, as a ratio to none:")
    print(f"  requests a second            {spread(rates, '{:.3f}')}")
    print(f"  processor time of a request  {spread(costs, '{:.3f}')}", flush=True)


def measure(options: argparse.Namespace) -> None:
    """Start a cluster and measure both."""
    with load_generator() as program, KvraftCluster() as cluster:
        measure_fan_out(cluster, options.watchers, options.rounds)
        measure_idle(cluster, program, options.idle, options.rounds)


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.watchers", description=__doc__)
    parser.add_argument("--watchers", type=bounded(1, 5_000), default=1_000, help="connections that follow one key")
    parser.add_argument("--idle", type=bounded(1, 10_000), default=10_000, help="watches of other keys")
    parser.add_argument("--rounds", type=bounded(1, 100), default=10)
    run(measure, parser.parse_args())


if __name__ == "__main__":
    main()
