"""What kvraft is compared with besides etcd: redis-server alone, ZooKeeper, and PySyncObj.

Each keeps its defaults. What is set only says where things are, that Redis syncs every write, and that PySyncObj keeps
a journal. ZooKeeper syncs every write by default. PySyncObj's journal is a mapped file that it never syncs.
"""

import contextlib
import importlib.util
import json
import shutil
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from typing_extensions import override

from benchmarks.cluster import ANSWER_SECONDS_MAX, HOST, REPOSITORY, BenchmarkError, Cluster, NotInstalledError

ZOOKEEPER_JAR: Final = Path("/usr/share/java/zookeeper.jar")
"""Where Debian's package `zookeeper` puts it; its manifest names the other jars."""
READ_BYTES: Final = 4096
LOAD_SLACK_SECONDS: Final = 30.0


def redis_program() -> str:
    """The path of redis-server.

    Raises:
        NotInstalledError: it is not.
    """
    program = shutil.which("redis-server")
    if program is None:
        raise NotInstalledError("redis-server is not installed; install it (redis-server)")
    return program


def converse(port: int, request: bytes) -> bytes:
    """Send one request on a connection of its own, and return what comes until the other side closes it.

    Raises:
        OSError: there is no answer.
    """
    with socket.create_connection((HOST, port), ANSWER_SECONDS_MAX) as connection:
        connection.sendall(request)
        answer = b""
        while piece := connection.recv(READ_BYTES):
            answer += piece
    return answer


class RedisServer(Cluster):
    """redis-server that syncs each write, and replicates nothing."""

    name = "redis"
    protocol = "resp"

    def __init__(self) -> None:
        super().__init__(members=1)

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.client_ports[0]

    @override
    def command(self, member: int) -> Sequence[str]:
        settings = {
            "port": str(self.port),
            "bind": HOST,
            "dir": str(self.folder),
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always",
        }
        return [redis_program(), *(word for name, value in settings.items() for word in (f"--{name}", value))]

    @override
    def leading_term(self, member: int) -> int | None:
        with socket.create_connection((HOST, self.port), ANSWER_SECONDS_MAX) as connection:
            connection.sendall(b"PING\r\n")
            if connection.recv(READ_BYTES) != b"+PONG\r\n":
                raise ConnectionError("it loads its data")
        return 1

    @override
    def progress(self, member: int) -> object:
        return self.leading_term(member)


class ZooKeeperCluster(Cluster):
    """Debian's ZooKeeper."""

    name = "zookeeper"
    protocol = "zookeeper"

    @override
    def ports_needed(self) -> int:
        return 3 * self.members

    @override
    def prepare(self) -> None:
        """Write each member's configuration, and one for the log."""
        quorum, election = self.peer_ports[: self.members], self.peer_ports[self.members :]
        servers = [f"server.{member + 1}={HOST}:{quorum[member]}:{election[member]}" for member in range(self.members)]
        (self.folder / "log4j.properties").write_text(
            "log4j.rootLogger=WARN, console\nlog4j.appender.console=org.apache.log4j.ConsoleAppender\n"
            "log4j.appender.console.layout=org.apache.log4j.PatternLayout\n"
        )
        for member in range(self.members):
            folder = self.folder / f"{member}"
            folder.mkdir()
            (folder / "myid").write_text(f"{member + 1}\n")
            settings = [
                "tickTime=2000",
                "initLimit=10",
                "syncLimit=5",
                f"dataDir={folder}",
                f"clientPort={self.client_ports[member]}",
                f"clientPortAddress={HOST}",
                "admin.enableServer=false",
                "4lw.commands.whitelist=srvr",
                "maxClientCnxns=0",
                *servers,
            ]
            (folder / "zoo.cfg").write_text("\n".join(settings) + "\n")

    @override
    def command(self, member: int) -> Sequence[str]:
        java = shutil.which("java")
        if java is None or not ZOOKEEPER_JAR.exists():
            raise NotInstalledError("ZooKeeper is not installed; install it (zookeeper)")
        main = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
        return [java, "-cp", f"{self.folder}:{ZOOKEEPER_JAR}", main, str(self.folder / f"{member}" / "zoo.cfg")]

    def report(self, member: int) -> dict[str, str]:
        """What a member says about itself.

        Raises:
            OSError: it does not serve.
        """
        text = converse(self.client_ports[member], b"srvr").decode(errors="replace")
        fields = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
        if "Mode" not in fields:
            raise ConnectionError("it does not serve")
        return fields

    @override
    def leading_term(self, member: int) -> int | None:
        fields = self.report(member)
        return int(fields["Zxid"], 16) >> 32 if fields["Mode"] == "leader" else None

    @override
    def progress(self, member: int) -> object:
        self.report(member)
        return None  # that it serves is all: a follower names no transaction before its first one


class PySyncObjCluster(Cluster):
    """PySyncObj with a journal. It is a library, so the load runs in the leader's process, `pysyncobj_node.py`."""

    name = "pysyncobj"
    protocol = "in process"

    @override
    def ports_needed(self) -> int:
        return 2 * self.members

    @override
    def command(self, member: int) -> Sequence[str]:
        if importlib.util.find_spec("pysyncobj") is None:
            raise NotInstalledError("PySyncObj is not installed; pip install -r benchmarks/requirements.txt")
        addresses = [f"{HOST}:{port}" for port in self.peer_ports]
        own = addresses.pop(member)
        program = str(REPOSITORY / "benchmarks" / "pysyncobj_node.py")
        journal = str(self.folder / f"{member}.journal")
        return [sys.executable, program, str(self.client_ports[member]), journal, own, *addresses]

    def ask(self, member: int, request: dict[str, Any], seconds: float = ANSWER_SECONDS_MAX) -> dict[str, Any]:
        """Send a member one request and return its answer.

        Raises:
            OSError: there is none.
        """
        with socket.create_connection((HOST, self.client_ports[member]), seconds) as connection:
            connection.sendall(json.dumps(request).encode() + b"\n")
            line = connection.makefile("rb").readline()
        if not line.endswith(b"\n"):
            raise ConnectionError("the connection ended before the answer")
        answer: dict[str, Any] = json.loads(line)
        return answer

    @override
    def leading_term(self, member: int) -> int | None:
        status = self.ask(member, {"do": "status"})
        if not status["ready"]:
            raise ConnectionError("it is not ready")
        return int(status["term"]) if status["leader"] else None

    @override
    def progress(self, member: int) -> object:
        self.leading_term(member)
        status = self.ask(member, {"do": "status"})
        return status["term"], status["applied"]

    def load(self, in_flight: int, seconds: int, warmup: int, keys: int, value_bytes: int) -> dict[str, Any]:
        """Have the leader keep so many writes in flight; return rate and latencies."""
        request = {"do": "load", "in_flight": in_flight, "seconds": seconds, "warmup": warmup}
        request |= {"keys": keys, "value_bytes": value_bytes}
        leader = self.await_leader()
        with contextlib.suppress(OSError):
            return self.ask(leader, request, seconds + warmup + LOAD_SLACK_SECONDS)
        raise BenchmarkError(f"{self.name}: the load did not end:\n{self.log_tail(leader)}")
