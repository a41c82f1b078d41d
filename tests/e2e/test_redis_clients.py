"""Real Redis clients, as they are, follow the leader when it is killed under them."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.conftest import require_tool
from tests.e2e.clients import wait_until
from tests.e2e.processes import Cluster, environment

HERE: Final = Path(__file__).parent
SESSIONS: Final = (
    "sentinel",
    "cluster",
    "plain",
    "asynchronous",
    "lock",
    "twisted",
    "command_line",
)
"""Those of redis_session.py."""
NODE_SESSIONS: Final = ("ioredis", "ioredis_cluster")
PACKAGES: Final = ("redis", "txredisapi")
WRITES: Final = 10
"""Keys that each client writes before the leader is killed, and after another leads."""


class Sessions:
    """Clients in a process of their own."""

    def __init__(self, names: Sequence[str], command: Sequence[str], log: Path, **variables: str) -> None:
        self.names = names
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment(**variables),
            )

    @property
    def said(self) -> str:
        """What they have written so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def writes(self) -> dict[str, int]:
        """How many keys each has written.

        Raises:
            AssertionError: the process has ended.
        """
        assert self._process.poll() is None, f"{self.names} have ended:\n{self.said[-3000:]}"
        return {name: self.said.count(f"{name} ok\n") for name in self.names}

    def await_writes(self, count: int) -> None:
        """Wait until each has written so many more keys."""
        wanted = {name: writes + count for name, writes in self.writes().items()}
        wait_until(
            f"{count} writes of each",
            lambda: not {name for name, writes in self.writes().items() if writes < wanted[name]},
        )

    def end(self) -> None:
        """Let them read everything back."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def check(self) -> None:
        """Wait for their end, and fail unless each has read back all that it has written."""
        self._process.wait(30)
        said = self.said
        for name in self.names:
            count = said.count(f"{name} ok\n")
            assert f"{name} read {count} of {count}\n" in said, said[-3000:]

    def kill(self) -> None:
        """End them."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()


def find_ioredis() -> str | None:
    """Return the folder in which ioredis is installed, if it is anywhere."""
    folder = os.environ.get("IOREDIS_FOLDER")
    return folder if folder and shutil.which("node") and Path(folder, "node_modules", "ioredis").is_dir() else None


def test_the_benchmark_of_redis_runs(shared_cluster: Cluster) -> None:
    """redis-benchmark stops at the first error, and says how fast a node was when there was none."""
    benchmark = require_tool("redis-benchmark")
    port = shared_cluster.address(shared_cluster.await_leader())[1]

    done = subprocess.run(
        [
            benchmark,
            "-p",
            str(port),
            "-t",
            "ping_mbulk,set,get,incr,mset",
            "-n",
            "2000",
            "-c",
            "20",
            "-P",
            "8",
            "-q",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert [
        word for word in ("PING_MBULK", "SET", "GET", "INCR", "MSET (10 keys)") if f"{word}: " not in done.stdout
    ] == []
    assert "rror" not in done.stdout + done.stderr


def test_clients_follow_the_leader(shared_cluster: Cluster, tmp_path: Path) -> None:
    """Each client goes on writing after the leader was killed, and reads back all that it was told is written."""
    cluster = shared_cluster
    require_tool("redis-cli")
    missing = [package for package in PACKAGES if importlib.util.find_spec(package) is None]
    if missing:
        require_tool(f"the Python package {' and '.join(missing)}")
    ports = [str(port) for _, port in cluster.addresses]
    processes = [
        Sessions(
            SESSIONS,
            [sys.executable, str(HERE / "redis_session.py"), *ports],
            tmp_path / "python.out",
        )
    ]
    ioredis = find_ioredis()
    if ioredis is not None:
        command = ["node", str(HERE / "redis_session.mjs"), *ports]
        processes.append(Sessions(NODE_SESSIONS, command, tmp_path / "node.out", IOREDIS_FOLDER=ioredis))
    try:
        for each in processes:
            each.await_writes(WRITES)
        leader = cluster.await_leader()
        cluster.kill(leader)
        assert cluster.await_leader() != leader
        for each in processes:
            each.await_writes(WRITES)
        for each in processes:
            each.end()
        for each in processes:
            each.check()
    finally:
        for each in processes:
            each.kill()
    cluster.start(leader)
