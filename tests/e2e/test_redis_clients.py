"""Real Redis clients, as they are, follow the leader when it is killed under them."""

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from tests.conftest import missing_tool, require_tool, tools_are_required
from tests.e2e.clients import wait_until
from tests.e2e.processes import HOST, Cluster, environment

HERE: Final = Path(__file__).parent
SESSIONS: Final = (
    "sentinel",
    "cluster",
    "plain",
    "asynchronous",
    "cluster_of_asyncio",
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


BENCHMARKS: Final = ("PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "MSET (10 keys)")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The port of a cluster of one node, which leads however busy the machine is."""
    with Cluster(tmp_path_factory.mktemp("one"), 1, durability="memory") as cluster:
        cluster.start()
        cluster.await_leader()
        yield str(cluster.address(0)[1])


@pytest.mark.parametrize("depth", [1, 16])
def test_the_benchmark_of_redis_runs(alone: str, depth: int) -> None:
    """redis-benchmark stops at the first error, and says how fast a node was when there was none.

    In RESP3, for else its inline PING is the line protocol's.
    """
    benchmark = require_tool("redis-benchmark")
    size = ["-c", "500", "-n", str(500 * depth), "-P", str(depth)]

    done = subprocess.run(
        [benchmark, "-p", alone, "-3", "-t", "ping,set,get,incr,mset", "-q", *size],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert [word for word in BENCHMARKS if f"{word}: " not in done.stdout] == []
    assert "rror" not in done.stdout + done.stderr


def test_what_is_published_reaches_all_members(shared_cluster: Cluster) -> None:
    """redis-py's subscribers at every member get messages, and the changes of keys."""
    redis = pytest.importorskip("redis")
    leader = shared_cluster.await_leader()
    clients = [redis.Redis(*address, socket_timeout=10) for address in shared_cluster.addresses]
    subscribers = [client.pubsub(ignore_subscribe_messages=True) for client in clients]
    try:
        for each in subscribers:
            each.subscribe("news")
            each.psubscribe("__keyevent@0__:*")
            for _ in range(2):
                each.get_message(timeout=5)  # the confirmations
        clients[leader].publish("news", "hello")
        clients[leader].set("published", "1", px=300)
        told = [await_messages(each, 3) for each in subscribers]
    finally:
        for client in clients:
            client.close()

    assert told == [
        {(b"news", b"hello"), (b"__keyevent@0__:set", b"published"), (b"__keyevent@0__:expired", b"published")}
    ] * len(clients)


def await_messages(subscriber: Any, count: int) -> set[tuple[bytes, bytes]]:
    """Return the next messages, each with its channel."""
    found: set[tuple[bytes, bytes]] = set()

    def enough() -> bool:
        message = subscriber.get_message(timeout=0.05)
        if message is not None:
            found.add((message["channel"], message["data"]))
        return len(found) == count

    wait_until(f"{count} messages", enough)
    return found


def test_cluster_clients_send_own_commands(shared_cluster: Cluster) -> None:
    """redis-py's RedisCluster finds a node for each of them by COMMAND; for those without a key a node is named."""
    redis = pytest.importorskip("redis")
    shared_cluster.await_leader()
    nodes = [redis.cluster.ClusterNode(*address) for address in shared_cluster.addresses]
    client = redis.RedisCluster(startup_nodes=nodes, decode_responses=True)
    ask = client.execute_command
    try:
        session = ask("KV.SESSION OPEN", target_nodes=client.get_primaries())
        assert ask("KV.STATUS", target_nodes=client.get_primaries())
        assert ask("KV.MEMBERS", target_nodes=client.get_primaries())
        assert [ask("KV.ONCE", session, 1, "INCR", "own") for _ in range(2)] == [1, 1]
        assert ask("KV.SESSION RENEW", session) == "OK"
        assert '"succeeded":true' in ask("KV.TXN", '{"then":[{"set":"own","value":"7"}]}')
        assert client.get("own") == "7"
        token = ask("KV.LOCK", "own lock", "TTL", 5)
        assert ask("KV.LEADER", "own lock")[0] == token
        assert ask("KV.RENEW", "own lock", token) == 5_000
        assert ask("KV.UNLOCK", "own lock", token) == "OK"
        assert ask("KV.SESSION END", session) == "OK"
    finally:
        client.close()


class Loser(threading.Thread):
    """Stands between a client and a node, and closes the connection in place of so many replies to a command."""

    def __init__(self, port: int, command: bytes, losses: int) -> None:
        super().__init__(daemon=True)
        self._node = (HOST, port)
        self._command = command
        self.losses = losses
        """How many replies will still be lost."""
        self._listening = socket.create_server((HOST, 0))
        self.port: int = self._listening.getsockname()[1]

    def run(self) -> None:
        """Serve one connection after the other, until it is closed."""
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                with client, socket.create_connection(self._node) as node:
                    self._serve(client, node)

    def _serve(self, client: socket.socket, node: socket.socket) -> None:
        while request := client.recv(65536):
            node.sendall(request)
            reply = node.recv(65536)
            if self._command in request and self.losses:
                self.losses -= 1
                return
            client.sendall(reply)

    def close(self) -> None:
        """End."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


@pytest.mark.parametrize(("command", "value"), [(("INCR", "lost plain"), 4), (("KV.ONCE", 1, "INCR", "lost once"), 1)])
def test_what_redis_py_sends_again_is_carried_out_once_if_it_is_numbered(
    alone: str, command: tuple[str | int, ...], value: int
) -> None:
    """It repeats a command whose reply is lost by itself: three times here, on connections of their own."""
    redis = pytest.importorskip("redis")
    direct = redis.Redis(HOST, int(alone))
    if command[0] == "KV.ONCE":
        command = (command[0], direct.execute_command("KV.SESSION OPEN"), *command[1:])
    loser = Loser(int(alone), b"INCR", losses=3)
    loser.start()
    client = redis.Redis(HOST, loser.port)
    try:
        assert client.execute_command(*command) == value
        assert loser.losses == 0
        assert int(direct.get(command[-1])) == value
    finally:
        client.close()
        direct.close()
        loser.close()


def test_clients_follow_the_leader(shared_cluster: Cluster, tmp_path: Path) -> None:
    """Each client goes on writing after the leader was killed, and reads back all acknowledged writes."""
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
    if ioredis is None and tools_are_required():
        missing_tool("ioredis is needed, installed by npm, with IOREDIS_FOLDER naming where")
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
