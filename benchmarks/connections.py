"""What many Redis clients that ask nothing cost one node: memory a connection, processor time, and other writes."""

import argparse
import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Final

import hiredis

from benchmarks.cluster import HOST, BenchmarkError, KvraftCluster
from benchmarks.command import bounded, run
from benchmarks.measure import process_seconds, spread
from benchmarks.sse_watchers import FILES_SPARE, allow_files, other_writes, resident_mib

TOGETHER: Final = 200
"""Connections that are opened before their answers are awaited: fewer than a listening socket holds."""
ANSWER_SECONDS_MAX: Final = 30.0
READ_BYTES: Final = 65_536
KIB: Final = 1024


def encoded(line: str) -> bytes:
    """Return a command, written as words, as clients send it."""
    words = line.encode().split()
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


GREETING: Final = tuple(
    encoded(line)
    for line in ("HELLO 3", "CLIENT SETINFO LIB-NAME redis-py", "CLIENT SETINFO LIB-VER 8.1.0", "GET something")
)
"""What redis-py sends as it connects, and a read, so that the connection is one that has used the leader."""
PING: Final = encoded("PING")


@contextlib.contextmanager
def connected(cluster: KvraftCluster, member: int, count: int) -> Iterator[list[socket.socket]]:
    """Open so many connections to one member, each of which has been answered."""
    opened: list[socket.socket] = []
    try:
        while len(opened) < count:
            fresh = []
            for _ in range(min(TOGETHER, count - len(opened))):
                connection = socket.create_connection((HOST, cluster.client_ports[member]), ANSWER_SECONDS_MAX)
                connection.sendall(b"".join(GREETING))
                fresh.append(connection)
            opened += fresh
            for connection in fresh:
                await_answers(connection, len(GREETING))
        yield opened
    finally:
        for connection in opened:
            connection.close()


def await_answers(connection: socket.socket, count: int) -> None:
    """Read so many answers.

    Raises:
        BenchmarkError: one is an error, or the connection has ended.
    """
    reader = hiredis.Reader(notEnoughData=...)
    while count:
        data = connection.recv(READ_BYTES)
        if not data:
            raise BenchmarkError("the node has closed a connection that asked nothing")
        reader.feed(data)
        while (answer := reader.gets()) is not ...:
            if isinstance(answer, hiredis.ReplyError):
                raise BenchmarkError(f"a connection was answered {answer}")
            count -= 1


def measure(options: argparse.Namespace) -> None:
    """Measure the leader without the connections, while they idle, and then ask all of them whether they are there."""
    count, rounds = options.connections, options.rounds
    allow_files(count + FILES_SPARE)
    kib, share, alone, beside = [], [], [], []
    for _ in range(rounds):
        with KvraftCluster(limits={"clients": count + FILES_SPARE}) as cluster:
            leader = cluster.await_leader()
            pid = cluster.pids[leader]
            other_writes(cluster, leader)
            alone.append(other_writes(cluster, leader))
            before = resident_mib(pid)
            with connected(cluster, leader, count) as connections:
                kib.append((resident_mib(pid) - before) * KIB / count)
                began, used = time.monotonic(), process_seconds(pid)
                time.sleep(options.seconds)
                share.append(100 * (process_seconds(pid) - used) / (time.monotonic() - began))
                beside.append(other_writes(cluster, leader))
                for connection in connections:
                    connection.sendall(PING)
                for connection in connections:
                    await_answers(connection, 1)
    print(f"{count:,} idle RESP connections to the leader, {rounds} rounds; all were held and answered at the end:")
    print(f"  memory a connection, KiB               {spread(kib, '{:.1f}')}")
    print(f"  all of them, MiB                       {spread([each * count / KIB for each in kib], '{:.0f}')}")
    print(f"  the leader's share of a core, %        {spread(share)}")
    print(f"  other writes, median ms, without them  {spread(alone)}")
    print(f"  other writes, median ms, beside them   {spread(beside)}", flush=True)


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.connections", description=__doc__)
    parser.add_argument("--connections", type=bounded(1, 50_000), default=10_000)
    parser.add_argument("--seconds", type=bounded(1, 600), default=10, help="for which they idle")
    parser.add_argument("--rounds", type=bounded(1, 20), default=3)
    run(measure, parser.parse_args())


if __name__ == "__main__":
    main()
