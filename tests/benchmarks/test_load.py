"""The load generator: what a stall of the server costs in a closed loop, and in an open one."""

import json
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.measure import load_generator
from tests.conftest import require_tool

STALL_SECONDS = 0.3
RATE = 1000


@pytest.fixture(scope="module")
def program() -> Iterator[Path]:
    """The load generator, built."""
    require_tool("cc")
    with load_generator() as built:
        yield built


class Stalling(socketserver.StreamRequestHandler):
    """Answers each line with OK, and stalls once, half a second after the connection was opened."""

    disable_nagle_algorithm = True

    def handle(self) -> None:
        """Serve one connection until it is closed."""
        stalls_at: float | None = time.monotonic() + 0.5
        for _ in self.rfile:
            if stalls_at is not None and time.monotonic() > stalls_at:
                time.sleep(STALL_SECONDS)
                stalls_at = None
            self.wfile.write(b'{"status":"OK"}\n')


def put_load(program: Path, *words: str) -> dict[str, Any]:
    """Put a load on a server that stalls once; return what the load generator prints."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Stalling) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            address = "{}:{}".format(*server.server_address)
            command = [str(program), "--address", address, "--seconds", "1", "--warmup", "0", *words]
            done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
        finally:
            server.shutdown()
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_a_closed_loop_hides_a_stall(program: Path) -> None:
    """One request of many sees it: the others are never sent."""
    result = put_load(program, "--connections", "1", "--in-flight", "1")
    assert result["max_ms"] >= STALL_SECONDS * 1000
    assert result["p99_ms"] < STALL_SECONDS * 1000 / 2


def test_an_open_loop_shows_it(program: Path) -> None:
    """All that were due meanwhile have waited, and all were sent: about the rate, counted from when they were due."""
    result = put_load(program, "--connections", "1", "--in-flight", "512", "--rate", str(RATE))
    assert result["p99_ms"] > STALL_SECONDS * 1000 / 2
    assert result["ok"] == pytest.approx(RATE, rel=0.05)
    assert result["err"] == 0
