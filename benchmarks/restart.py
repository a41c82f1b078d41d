"""How long a cluster takes from its start to its first answer when it holds many keys, and how a snapshot stalls it.

It begins with a snapshot and the log after it, or with `--replay` with nothing but the log.
"""

import argparse
import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from benchmarks.cluster import (
    ANSWER_SECONDS_MAX,
    HOST,
    MEMBERS,
    POLL_SECONDS,
    REPOSITORY,
    BenchmarkError,
    KvraftCluster,
)
from benchmarks.command import bounded, checkout, run
from benchmarks.measure import Load, load_generator, run_load, spread

FILL_SECONDS_MAX: Final = 250
SERVING_SECONDS_MAX: Final = 120.0
SNAPSHOT_SECONDS_MAX: Final = 120.0
STALL_VALUE_BYTES: Final = 32 * 1024
REPLAY_LIMITS: Final = {"log_bytes": 1024**3}
"""No snapshot is taken before the log has this size."""
PINGS_A_LOOK: Final = 20
"""Between two looks at the log."""
READ_BYTES: Final = 65_536
TOOK: Final = "took a snapshot"


def await_serving(cluster: KvraftCluster) -> float:
    """Wait until a linearizable read is answered; return how long that took, seconds."""
    began = time.monotonic()
    while time.monotonic() - began < SERVING_SECONDS_MAX:
        for port in cluster.client_ports:
            try:
                with socket.create_connection((HOST, port), ANSWER_SECONDS_MAX) as connection:
                    connection.sendall(b"GET bench:0000000001\n")
                    if connection.makefile("rb").readline().startswith(b'{"value":"'):
                        return time.monotonic() - began
            except OSError:
                pass
        time.sleep(POLL_SECONDS)
    raise BenchmarkError(f"no answer {SERVING_SECONDS_MAX:.0f} s after the start")


def restart(cluster: KvraftCluster) -> None:
    """Kill all members and start them again."""
    for member in range(MEMBERS):
        cluster.kill(member)
    cluster.prepare()
    for member in range(MEMBERS):
        cluster.start(member)


def measure_stall(cluster: KvraftCluster) -> None:
    """Overwrite one key with long values until the members take snapshots, and ping a follower meanwhile.

    The members take theirs at nearly the same time, on processors that they share.
    """
    leader = cluster.await_leader()
    follower = next(member for member in range(MEMBERS) if member != leader)
    taken = len(cluster.said(follower, TOOK))
    pings: list[tuple[float, float]] = []
    deadline = time.monotonic() + SNAPSHOT_SECONDS_MAX
    with keep(cluster, leader) as writes, keep(cluster, follower) as reads:
        while len(cluster.said(follower, TOOK)) == taken:
            if time.monotonic() > deadline:
                raise BenchmarkError(f"no snapshot within {SNAPSHOT_SECONDS_MAX:.0f} s")
            for _ in range(PINGS_A_LOOK):
                ask(writes, b"SET stall " + bytes(STALL_VALUE_BYTES).replace(b"\0", b"x"))
                began = time.monotonic()
                ask(reads, b"PING")
                pings.append((began, (time.monotonic() - began) * 1000))
    line = cluster.said(follower, TOOK)[-1]
    seconds = float(line.rsplit(" in ", 1)[1].split()[0])
    begins = pings[-1][0] - seconds
    print(f"  {line}")
    print(f"while a snapshot is taken: {describe([delay for began, delay in pings if began >= begins])}")
    print(f"before:                    {describe([delay for began, delay in pings if began < begins])}")


@contextmanager
def keep(cluster: KvraftCluster, member: int) -> Iterator[socket.socket]:
    """Open a connection that stays."""
    with socket.create_connection((HOST, cluster.client_ports[member]), ANSWER_SECONDS_MAX) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ask(connection, b"KEEP")
        yield connection


def ask(connection: socket.socket, line: bytes) -> bytes:
    """Send one request and return its answer.

    Raises:
        BenchmarkError: it is an error.
    """
    connection.sendall(line + b"\n")
    return read_answer(connection)


def read_answer(connection: socket.socket) -> bytes:
    """Read the answer to the one request that has none yet.

    Raises:
        BenchmarkError: it is an error, or the connection ended.
    """
    answer = b""
    while not answer.endswith(b"\n"):
        piece = connection.recv(READ_BYTES)
        if not piece:
            raise BenchmarkError("the connection ended before the answer")
        answer += piece
    if answer.startswith(b'{"error"'):
        raise BenchmarkError(answer.decode())
    return answer


def describe(delays: list[float]) -> str:
    """The delays in one line."""
    worst = ", ".join(f"{delay:.1f}" for delay in sorted(delays)[-5:])
    return f"{len(delays)} pings, median {statistics.median(delays):.2f} ms, the longest {worst} ms"


def measure(options: argparse.Namespace) -> list[float]:
    """Fill the store, then restart it again and again."""
    limits = REPLAY_LIMITS if options.replay else None
    source = options.build or REPOSITORY
    with load_generator() as program, KvraftCluster(limits=limits, source=source) as cluster:
        fill = Load("fill", connections=8, in_flight=64, seconds=FILL_SECONDS_MAX, warmup=0, keys=options.keys)
        print(f"  filled  {run_load(program, cluster, fill).describe()}", flush=True)
        cluster.await_in_step()
        times = []
        for _ in range(options.rounds):
            restart(cluster)
            times.append(await_serving(cluster))
            print(f"  serving after {times[-1]:.2f} s", flush=True)
            cluster.await_in_step()
        for line in (cluster.said(member, " entries from ")[-1] for member in range(MEMBERS)):
            print(f"  {line}")
        print(f"{options.keys:,} keys of 64 bytes: serving after {spread(times)} s")
        if options.stall:
            measure_stall(cluster)
    return times


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.restart", description=__doc__.partition("\n")[0])
    parser.add_argument("--keys", type=bounded(2, 10_000_000), default=1_000_000)
    parser.add_argument("--rounds", type=bounded(1, 20), default=3)
    parser.add_argument("--stall", action="store_true", help="also ping a follower while it takes a snapshot")
    parser.add_argument("--replay", action="store_true", help="take no snapshot, so that every entry is replayed")
    parser.add_argument("--build", type=checkout, metavar="FOLDER", help="measure the kvraft of another checkout")
    run(measure, parser.parse_args())


if __name__ == "__main__":
    main()
