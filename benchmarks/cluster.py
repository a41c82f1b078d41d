"""Clusters of kvraft and of etcd: alone on loopback, in a fresh folder, gone by pid whatever happens."""

import base64
import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Final, NoReturn, Self

from typing_extensions import override

MEMBERS: Final = 3
HOST: Final = "127.0.0.1"
START_SECONDS_MAX: Final = 30.0
"""For a cluster to find a leader, and for a restarted member to be in step again."""
ANSWER_SECONDS_MAX: Final = 2.0
POLL_SECONDS: Final = 0.02
PORTS_FROM: Final = 20_000
REPOSITORY: Final = Path(__file__).resolve().parent.parent
LOG_TAIL_BYTES: Final = 2_000
BLOCK_BYTES: Final = 512
"""The unit of `st_blocks`."""


class BenchmarkError(Exception):
    """The measurement cannot be made; the text says what to do about it."""


class NotInstalledError(BenchmarkError):
    """A program or a library that is to be measured is not here."""


def free_ports(count: int) -> list[int]:
    """Return ports that are free, and that no outgoing connection will be given.

    Asking for port 0 would draw from the range of outgoing connections. There a probe of a dead member can take the
    member's port, or even connect to itself, and the member cannot come back.
    """
    with Path("/proc/sys/net/ipv4/ip_local_port_range").open() as file:
        beyond = int(file.read().split()[0])
    ports: list[int] = []
    for port in random.sample(range(PORTS_FROM, beyond), min(1000, beyond - PORTS_FROM)):
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        ports.append(port)
        if len(ports) == count:
            return ports
    raise BenchmarkError(f"{count} free ports from {PORTS_FROM} to {beyond} are needed; stop something")


def fresh_folder(name: str) -> Path:
    """Make a folder on a disk, under TMPDIR: where a sync costs nothing there is nothing to compare."""
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-benchmark-")).resolve()
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    holders = [mount for mount in mounts if folder.is_relative_to(mount[1])]
    if max(holders, key=lambda mount: len(mount[1]))[2] in {"tmpfs", "ramfs"}:
        folder.rmdir()
        raise BenchmarkError(f"{folder.parent} is in memory; let TMPDIR name a folder on a disk")
    return folder


def end_cleanly_on_signals() -> None:
    """Make Ctrl-C, SIGTERM and SIGHUP leave through the `with` blocks, also where a shell had Ctrl-C ignored."""

    def leave(number: int, _frame: object) -> NoReturn:
        sys.exit(128 + number)

    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGHUP, leave)


class Cluster(ABC):
    """Members, three unless said, that are running inside the `with` block, and neither before nor after it."""

    name: ClassVar[str]
    protocol: ClassVar[str]
    """What the load generator calls the way this cluster is spoken to."""

    def __init__(self, *, members: int = MEMBERS) -> None:
        self.members = members
        self.folder = fresh_folder(self.name)
        ports = free_ports(self.ports_needed())
        self.client_ports, self.peer_ports = ports[:members], ports[members:]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        try:
            self.prepare()
            for member in range(self.members):
                self.start(member)
            self.await_in_step()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def ports_needed(self) -> int:
        """How many ports the members take together; the clients' come first."""
        return self.members

    def prepare(self) -> None:  # noqa: B027 - most need nothing
        """Write what the members read when they start."""

    @abstractmethod
    def command(self, member: int) -> Sequence[str]:
        """The command line that starts a member, for the first time or again."""

    def environment(self) -> dict[str, str]:
        """The environment of the members."""
        return dict(os.environ)

    @abstractmethod
    def leading_term(self, member: int) -> int | None:
        """The term in which a member leads by its own account; None when it does not.

        Raises:
            OSError: it does not answer.
        """

    @abstractmethod
    def progress(self, member: int) -> object:
        """What is equal on all members when they are in step: the leader, the term, and how far they have applied.

        Raises:
            OSError: it does not answer.
        """

    def write_request(self, key: str) -> bytes:
        """A whole write, as the only request of a connection."""
        raise BenchmarkError(f"there is no probe of one request for {self.name}")

    def acknowledges(self, answer: bytes) -> bool:
        """Whether `answer` begins as that of a write that was carried out."""
        raise BenchmarkError(f"there is no probe of one request for {self.name}")

    def address(self, member: int) -> str:
        """Where clients reach a member."""
        return f"{HOST}:{self.client_ports[member]}"

    @property
    def pids(self) -> dict[int, int]:
        """Members that run, with their process ids."""
        return {member: process.pid for member, process in sorted(self._processes.items())}

    def start(self, member: int) -> None:
        """Start a member that does not run."""
        with (self.folder / f"{member}.log").open("ab") as log:
            self._processes[member] = subprocess.Popen(
                self.command(member),
                cwd=self.folder,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us; the members end by pid
            )

    def kill(self, member: int) -> None:
        """End a member as a crash would, with SIGKILL."""
        process = self._processes.pop(member)
        process.kill()
        process.wait()

    def pause(self, *members: int) -> None:
        """Halt members with SIGSTOP, all unless some are named, so that they take no processor time and say nothing."""
        for member in members or self._processes:
            self._processes[member].send_signal(signal.SIGSTOP)

    def resume(self, *members: int) -> None:
        """Let members go on after `pause`, all unless some are named."""
        for member in members or self._processes:
            self._processes[member].send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End all members and remove their folder. May be called again."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()
        self._processes.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def leader(self) -> int | None:
        """The member that leads in the highest term, if one does."""
        terms: dict[int, int] = {}
        for member in self._processes:
            try:
                term = self.leading_term(member)
            except OSError:
                continue
            if term is not None:
                terms[member] = term
        return max(terms, key=terms.__getitem__, default=None)

    def await_leader(self) -> int:
        """Wait until a member leads, and return it."""
        self._wait("no leader", lambda: self.leader() is not None)
        leader = self.leader()
        return self.await_leader() if leader is None else leader

    def await_in_step(self) -> None:
        """Wait until all members run, follow one leader and have applied the same."""
        self.await_leader()
        self._wait("the members are not in step", self._in_step)

    def _in_step(self) -> bool:
        try:
            reports = [self.progress(member) for member in range(self.members)]
        except OSError:
            return False
        return all(report == reports[0] for report in reports)

    def _wait(self, otherwise: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS_MAX
        while not condition():
            for member, process in self._processes.items():
                if process.poll() is not None:
                    raise BenchmarkError(f"{self.name}'s member {member} has ended:\n{self.log_tail(member)}")
            if time.monotonic() > deadline:
                logs = "\n".join(self.log_tail(member) for member in range(self.members))
                raise BenchmarkError(f"{self.name}: {otherwise} after {START_SECONDS_MAX:.0f} s\n{logs}")
            time.sleep(POLL_SECONDS)

    def log_tail(self, member: int) -> str:
        """The end of what a member has printed."""
        return (self.folder / f"{member}.log").read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")


class KvraftCluster(Cluster):
    """`twistd -n kvraft --id N`, with a config.json that names the members and, unless `limits` are given, no more."""

    name = "kvraft"
    protocol = "lines"

    def __init__(
        self, *, limits: Mapping[str, int] | None = None, source: Path = REPOSITORY, members: int = MEMBERS
    ) -> None:
        super().__init__(members=members)
        self.source = source
        """The checkout whose kvraft runs."""
        self.limits = dict(limits or {})

    @override
    def prepare(self) -> None:
        """Write config.json with the `limits` of now; they count for members that are started from now on."""
        peers = [{"id": member, "address": self.address(member)} for member in range(self.members)]
        limits = {"limits": self.limits} if self.limits else {}
        (self.folder / "config.json").write_text(json.dumps({"peers": peers, **limits}))

    @override
    def command(self, member: int) -> Sequence[str]:
        twistd = Path(sys.executable).with_name("twistd")
        if not twistd.exists():
            raise BenchmarkError(f"there is no {twistd}; run this with the Python that kvraft is installed for")
        return [str(twistd), "-n", "kvraft", "--id", str(member)]

    @override
    def environment(self) -> dict[str, str]:
        """With the checkout in front, so that it is what is measured, whatever else is installed."""
        path = os.pathsep.join(filter(None, (str(self.source), os.environ.get("PYTHONPATH"))))
        return {**os.environ, "PYTHONPATH": path}

    def status(self, member: int) -> dict[str, Any]:
        """What a member says about itself.

        Raises:
            OSError: it does not answer.
        """
        with socket.create_connection((HOST, self.client_ports[member]), ANSWER_SECONDS_MAX) as connection:
            connection.sendall(b"STATUS\n")
            line = connection.makefile("rb").readline()
        if not line.endswith(b"\n"):
            raise ConnectionError("the connection ended before the answer")
        status: dict[str, Any] = json.loads(line)
        return status

    def said(self, member: int, needle: str) -> list[str]:
        """The lines of a member's log that hold `needle`."""
        lines = (self.folder / f"{member}.log").read_text(errors="replace").splitlines()
        return [line for line in lines if needle in line]

    def data_bytes(self, member: int) -> int:
        """What a member's data directory takes on the disk."""
        total = 0
        for path in (self.folder / "data" / str(member)).glob("**/*"):
            with suppress(FileNotFoundError):  # deleted since it was listed
                total += path.stat().st_blocks * BLOCK_BYTES
        return total

    @override
    def leading_term(self, member: int) -> int | None:
        status = self.status(member)
        return int(status["term"]) if status["role"] == "leader" else None

    @override
    def progress(self, member: int) -> object:
        status = self.status(member)
        return status["leader"], status["term"], status["applied"], status["checksum"]

    @override
    def write_request(self, key: str) -> bytes:
        return f"SET {key} probe\n".encode()

    @override
    def acknowledges(self, answer: bytes) -> bool:
        return answer.startswith(b'{"status":"OK"}')


class ProbedCluster(KvraftCluster):
    """Members that a module of benchmarks starts, which writes to a file what it observes in their processes."""

    probe: str
    """The module."""
    file_variable: str
    """The environment variable by which the module finds its file."""

    @override
    def command(self, member: int) -> Sequence[str]:
        return [sys.executable, "-m", self.probe, *super().command(member)[1:]]

    @override
    def start(self, member: int) -> None:
        self._starting = member
        super().start(member)

    @override
    def environment(self) -> dict[str, str]:
        return {**super().environment(), self.file_variable: str(self.probe_file(self._starting))}

    def probe_file(self, member: int) -> Path:
        """The file of a member."""
        return self.folder / f"{member}.probe"


class EtcdCluster(Cluster):
    """etcd with its defaults: every flag only says where things are, or to log errors only."""

    name = "etcd"
    protocol = "etcd"

    @override
    def ports_needed(self) -> int:
        return 2 * self.members

    @override
    def command(self, member: int) -> Sequence[str]:
        program = shutil.which("etcd")
        if program is None:
            raise NotInstalledError("etcd is not installed; install it (etcd-server) or say --reference none")
        client, peer = f"http://{self.address(member)}", f"http://{HOST}:{self.peer_ports[member]}"
        cluster = ",".join(f"m{other}=http://{HOST}:{port}" for other, port in enumerate(self.peer_ports))
        places = {
            "name": f"m{member}",
            "data-dir": str(self.folder / f"data-{member}"),
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": cluster,
            "log-level": "error",
        }
        return [program, *(f"--{flag}={value}" for flag, value in places.items())]

    @override
    def environment(self) -> dict[str, str]:
        """Without the variables that would change a default."""
        return {name: value for name, value in os.environ.items() if not name.startswith("ETCD_")}

    def status(self, member: int) -> dict[str, Any]:
        """What a member's maintenance API says.

        Raises:
            OSError: it does not answer.
        """
        connection = http.client.HTTPConnection(HOST, self.client_ports[member], timeout=ANSWER_SECONDS_MAX)
        try:
            connection.request("POST", "/v3/maintenance/status", b"{}")
            status: dict[str, Any] = json.load(connection.getresponse())
        except (http.client.HTTPException, ValueError) as problem:
            raise ConnectionError(str(problem)) from problem
        finally:
            connection.close()
        return status

    @override
    def leading_term(self, member: int) -> int | None:
        status = self.status(member)
        if "raftTerm" not in status:
            raise ConnectionError(f"the answer is no status: {status}")
        leads = status.get("leader") == status["header"]["member_id"]
        return int(status["raftTerm"]) if leads else None

    @override
    def progress(self, member: int) -> object:
        status = self.status(member)
        return status.get("leader"), status.get("raftTerm"), status.get("raftAppliedIndex")

    @override
    def write_request(self, key: str) -> bytes:
        body = json.dumps({"key": base64.b64encode(key.encode()).decode(), "value": "cHJvYmU="}).encode()
        head = f"POST /v3/kv/put HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    @override
    def acknowledges(self, answer: bytes) -> bool:
        return answer.startswith(b"HTTP/1.1 200 ")
