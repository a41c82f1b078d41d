"""What many watchers over HTTP (server-sent events) cost one node: memory, and time of other writes."""

import argparse
import contextlib
import json
import resource
import selectors
import socket
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from typing_extensions import override

from benchmarks.cluster import HOST, MEMBERS, BenchmarkError, KvraftCluster
from benchmarks.command import bounded, run
from benchmarks.measure import spread
from benchmarks.restart import keep, read_answer

KEY: Final = "hot"
"""The key that all of them watch."""
BEGUN: Final = b"event: begun"
TOGETHER: Final = 200
"""Watchers that are connected before their answers are awaited: fewer than a listening socket holds."""
ANSWER_SECONDS_MAX: Final = 30.0
FILES_SPARE: Final = 500
"""Open files of a node beside its watchers."""
WRITES: Final = 200
"""Writes in one round, one after the other."""
PAUSE_SECONDS: Final = 0.005
READ_BYTES: Final = 65536


class HttpCluster(KvraftCluster):
    """Three members that serve HTTP, each with room for so many connections."""

    def __init__(self, clients: int) -> None:
        super().__init__(limits={"clients": clients + FILES_SPARE, "watches": clients + FILES_SPARE})
        self.http_ports = self.peer_ports

    @override
    def ports_needed(self) -> int:
        return 2 * MEMBERS

    @override
    def prepare(self) -> None:
        """Write config.json with an address for HTTP in each entry."""
        super().prepare()
        path = self.folder / "config.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        for peer, port in zip(config["peers"], self.http_ports, strict=True):
            peer["http"] = f"{HOST}:{port}"
        path.write_text(json.dumps(config), encoding="utf-8")


def resident_mib(pid: int) -> float:
    """Return the memory that a process holds."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise BenchmarkError(f"process {pid} has ended")


def allow_files(count: int) -> None:
    """Let this process, and the nodes that it starts, open so many files.

    Raises:
        BenchmarkError: the system does not allow it.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        with contextlib.suppress(ValueError, PermissionError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))
            return
        raise BenchmarkError(f"{count} open files are needed and {hard} are allowed: raise `ulimit -n`")
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


@contextlib.contextmanager
def watching(cluster: HttpCluster, member: int, count: int) -> Iterator[list[socket.socket]]:
    """Open so many watches of the hot key on one member."""
    request = f"GET /watch?key={KEY} HTTP/1.1\r\nHost: {HOST}:{cluster.http_ports[member]}\r\n\r\n".encode()
    opened: list[socket.socket] = []
    try:
        while len(opened) < count:
            fresh = []
            for _ in range(min(TOGETHER, count - len(opened))):
                connection = socket.create_connection((HOST, cluster.http_ports[member]), ANSWER_SECONDS_MAX)
                connection.sendall(request)
                fresh.append(connection)
            opened += fresh
            for connection in fresh:
                _await_begun(connection)
        yield opened
    finally:
        for connection in opened:
            connection.close()


def _await_begun(connection: socket.socket) -> None:
    said = b""
    while BEGUN not in said:
        data = connection.recv(READ_BYTES)
        if not data:
            raise BenchmarkError(f"a watch was refused: {said.decode(errors='replace')}")
        said += data


def other_writes(cluster: KvraftCluster, member: int) -> float:
    """Write keys without a watch, one at a time; return the median time of one, milliseconds."""
    times = []
    with keep(cluster, member) as writer:
        for number in range(WRITES):
            began = time.monotonic()
            writer.sendall(b"SET other:%d x\n" % number)
            read_answer(writer)
            times.append((time.monotonic() - began) * 1000)
            time.sleep(PAUSE_SECONDS)
    return statistics.median(times)


def fan_out(cluster: HttpCluster, member: int, watchers: list[socket.socket]) -> tuple[float, float]:
    """Write the hot key once; return when its answer and the last event had come, milliseconds from the request on."""
    with keep(cluster, member) as writer, selectors.EpollSelector() as ready:
        for connection in watchers:
            ready.register(connection, selectors.EVENT_READ)
        began = time.monotonic()
        writer.sendall(f"SET {KEY} {began}\n".encode())
        read_answer(writer)
        answered = time.monotonic()
        left = len(watchers)
        while left:
            events = ready.select(ANSWER_SECONDS_MAX)
            if not events:
                raise BenchmarkError(f"{left} watchers have read nothing after {ANSWER_SECONDS_MAX:.0f} s")
            for key, _ in events:
                assert isinstance(key.fileobj, socket.socket)
                if b"data: {" in key.fileobj.recv(READ_BYTES):
                    left -= 1
        return (answered - began) * 1000, (time.monotonic() - began) * 1000


def measure(options: argparse.Namespace) -> None:
    """Measure one node without its watchers, with them, and without them again, in turn."""
    allow_files(options.watchers + FILES_SPARE)
    memory, alone, beside, answers, lasts = [], [], [], [], []
    for _ in range(options.rounds):
        with HttpCluster(options.watchers) as cluster:
            leader = cluster.await_leader()
            other_writes(cluster, leader)
            alone.append(other_writes(cluster, leader))
            before = resident_mib(cluster.pids[leader])
            with watching(cluster, leader, options.watchers) as watchers:
                memory.append(resident_mib(cluster.pids[leader]) - before)
                beside.append(other_writes(cluster, leader))
                answered, last = fan_out(cluster, leader, watchers)
                answers.append(answered)
                lasts.append(last)
    print(f"{options.watchers} watchers of one key over HTTP on the leader, {options.rounds} rounds:")
    print(f"  memory of the node, MiB more           {spread(memory, '{:.0f}')}")
    print(f"  other writes, median ms, without them  {spread(alone)}")
    print(f"  other writes, median ms, beside them   {spread(beside)}")
    print(f"  a write to their key, ms to its answer {spread(answers, '{:.0f}')}")
    print(f"  ms until the last one has its event    {spread(lasts, '{:.0f}')}", flush=True)


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sse_watchers", description=__doc__)
    parser.add_argument("--watchers", type=bounded(1, 50_000), default=10_000)
    parser.add_argument("--rounds", type=bounded(1, 20), default=3)
    run(measure, parser.parse_args())


if __name__ == "__main__":
    main()
