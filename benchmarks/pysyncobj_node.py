"""One member of a PySyncObj cluster: a program of `benchmarks.peers`, which speaks JSON lines to it on loopback.

PySyncObj is a library without a protocol for clients. So the load runs in this process, on a member's replicated
dictionary: that saves it the cost of a client's connection. A write is in flight from `set` to its callback.
"""

import importlib
import json
import socketserver
import sys
import threading
import time
from random import Random
from typing import Any, Final

HOST: Final = "127.0.0.1"
UNFINISHED_SECONDS_MAX: Final = 20.0


def percentile(ordered: list[float], percent: float) -> float:
    """The value that `percent` of the ordered values do not exceed; 0 where there are none."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0


class Node:
    """A member with one replicated dictionary."""

    def __init__(self, journal: str, own: str, others: list[str]) -> None:
        library: Any = importlib.import_module("pysyncobj")  # not typed, and needed by this program alone
        batteries: Any = importlib.import_module("pysyncobj.batteries")
        self._success = library.FAIL_REASON.SUCCESS
        self._dict = batteries.ReplDict()
        settings = library.SyncObjConf(journalFile=journal, fullDumpFile=f"{journal}.dump")
        self._node = library.SyncObj(own, others, settings, consumers=[self._dict])

    def status(self) -> dict[str, Any]:
        """Whether it leads, whether it is ready, and how far it has applied."""
        status = self._node.getStatus()
        return {
            "leader": str(status["leader"]) == str(status["self"]),
            "ready": bool(self._node.isReady()),
            "term": status["raft_term"],
            "applied": status["last_applied"],
        }

    def load(self, in_flight: int, seconds: float, warmup: float, keys: int, value_bytes: int) -> dict[str, Any]:
        """Keep `in_flight` writes in flight: each callback begins the next one."""
        run = ClosedLoop(seconds, warmup, in_flight)
        value, random = "v" * value_bytes, Random()

        def issue() -> None:
            began = time.perf_counter()

            def done(_result: object, reason: object) -> None:
                if run.book(began, failed=reason != self._success):
                    issue()

            self._dict.set(f"bench:{random.randrange(keys):010d}", value, callback=done)

        for _ in range(in_flight):
            issue()
        return run.result()


class ClosedLoop:
    """Counts and times what was begun and ended within the measured time."""

    def __init__(self, seconds: float, warmup: float, in_flight: int) -> None:
        self._seconds = seconds
        self._from = time.perf_counter() + warmup
        self._until = self._from + seconds
        self._pending = in_flight
        self._errors = 0
        self._latencies: list[float] = []
        self._over = threading.Event()

    def book(self, began: float, *, failed: bool) -> bool:
        """Take note of one answer; return whether the next request is to be sent."""
        now = time.perf_counter()
        if failed:
            self._errors += 1
        elif began >= self._from and now < self._until:
            self._latencies.append((now - began) * 1000)
        if now < self._until:
            return True
        self._pending -= 1
        if not self._pending:
            self._over.set()
        return False

    def result(self) -> dict[str, Any]:
        """Wait for the end, and summarise."""
        self._over.wait(max(0.0, self._until - time.perf_counter()) + UNFINISHED_SECONDS_MAX)
        ordered = sorted(self._latencies)
        return {
            "ok": len(ordered),
            "err": self._errors + self._pending,
            "rps": len(ordered) / self._seconds,
            "p50_ms": percentile(ordered, 50),
            "p99_ms": percentile(ordered, 99),
            "p999_ms": percentile(ordered, 99.9),
            "max_ms": percentile(ordered, 100),
        }


def main() -> None:
    """Serve requests, one a connection, until the process is ended."""
    port, journal, own, *others = sys.argv[1:]
    node = Node(journal, own, others)

    class Control(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            request = json.loads(self.rfile.readline())
            answer = node.load(**request) if request.pop("do") == "load" else node.status()
            self.wfile.write(json.dumps(answer).encode() + b"\n")

    with socketserver.ThreadingTCPServer((HOST, int(port)), Control) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
