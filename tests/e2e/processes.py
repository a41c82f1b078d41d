"""Real nodes in real processes: forked or started as people start them, killed by their process id, none left over."""

import contextlib
import itertools
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Self

from tests.e2e.clients import Address, ask, parse_address, wait_until
from tests.e2e.forking import Forked, fork

REPOSITORY: Final = Path(__file__).parents[2]
TWISTD: Final = Path(sys.executable).with_name("twistd")
"""The one of the environment that runs the tests."""

HOST: Final = "127.0.0.1"
PORTS: Final = range(16_000, 32_000)
"""Below those that the kernel gives to outgoing connections, and beside those of `kvraft.chaos`."""
SHARES: Final = 8
"""In how many shares the processes that run tests side by side divide these ports."""

EXIT_S: Final = 30.0
"""Longest wait for a process to end by itself."""

BY_REQUEST: Final = {-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT}
"""Exit statuses of nodes that somebody ended."""

COMPLAINTS: Final = ("Traceback (most recent call last)", "Unhandled", "AssertionError", "Z critical ", "Z error ")
"""What no healthy node writes to its log."""
LAST_WORDS: Final = re.compile(r"(?:kvraft: |\S+Z critical kvraft   )(.*)")
"""Why a node ends: on stderr before its log begins, and in the log from then on."""
REMOVED: Final = "it was removed from its cluster"
"""What a node says as it ends because it does not belong to the others any more."""
DEPARTURES: Final = (
    REMOVED,
    "the cluster has recorded this id with another data directory",
    "its data directory is an older copy of its own",
    "this data directory is an older copy of this node's own",
)


def _draw_ports() -> Iterator[int]:
    """Draw the ports of this process's share again and again, each as seldom as possible.

    A port that a test has drawn stays its own while nothing listens there, before a node starts and while it is down.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    share = PORTS[int(worker) % SHARES :: SHARES]
    return itertools.cycle(random.sample(share, len(share)))


_ports: Final = _draw_ports()


def free_ports(count: int, host: str = HOST) -> list[int]:
    """Return ports on which nothing listens, and which no other test has drawn lately."""
    found: list[int] = []
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in itertools.islice(_ports, len(PORTS) // SHARES):
        with socket.socket(family) as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError(f"fewer than {count} free ports on {host}")


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a process that is to find this checkout, whatever else is installed."""
    path = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, **more}


def typing_environment(**more: str) -> dict[str, str]:
    """Return the environment of a person who has activated the environment that runs the tests: `kvraft` is there."""
    path = os.pathsep.join((str(TWISTD.parent), os.environ.get("PATH", "")))
    return environment(PATH=path, **more)


def run_kvraft(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Type `kvraft` with these arguments in `folder`, and return it when it has ended."""
    return subprocess.run(
        ["kvraft", *arguments],
        cwd=folder,
        env=typing_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def run_twistd(folder: Path, *arguments: str, timeout_s: float = EXIT_S) -> "subprocess.CompletedProcess[str]":
    """Run `twistd -n kvraft` with these arguments in `folder`, and return it when it has ended."""
    return subprocess.run(
        [str(TWISTD), "-n", "kvraft", *arguments],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )


class Process:
    """One process and what it says.

    Args:
        command: the program and its arguments.
        folder: where it is started.
        log: what it writes is added there.
        forked: whether it is a fork that has imported twistd and kvraft already; the program is then twistd or Python.
    """

    def __init__(self, command: Sequence[str], folder: Path, log: Path, *, forked: bool = False) -> None:
        self._log = log
        log.touch()
        self._begins_at = log.stat().st_size
        self._process: subprocess.Popen[bytes] | Forked
        if forked:
            self._process = fork(command[1:], folder, environment(), log)
            return
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for the tests; they end the nodes by pid
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def said(self) -> str:
        """What it has written so far, both streams."""
        return self._log.read_bytes()[self._begins_at :].decode(errors="replace")

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it as a crash would; harmless when it has ended."""
        self._process.kill()
        self._process.wait(EXIT_S)

    def wait(self, timeout_s: float = EXIT_S) -> int:
        """Return its exit status once it has ended by itself."""
        return self._process.wait(timeout_s)

    def resident_bytes(self) -> int:
        """How much memory it holds; Linux only."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024


class Cluster:
    """Nodes with a folder and a config.json of their own, none of which outlives the `with` block.

    Args:
        folder: where they are started, and keep everything.
        count: how many there are.
        http: whether each serves HTTP.
        settings: further keys of config.json.
    """

    forks: ClassVar[bool] = True
    """Whether nodes are forks, which start in a quarter of the time; a test of the start sets it to False."""

    def __init__(self, folder: Path, count: int = 3, *, http: bool = False, **settings: object) -> None:
        self.folder = folder
        self.ids = range(count)
        ports = free_ports(2 * count if http else count)
        self.config: dict[str, Any] = {
            "peers": [
                {"id": node, "address": f"{HOST}:{port}"} for node, port in zip(self.ids, ports[:count], strict=True)
            ],
            **settings,
        }
        if http:
            for peer, port in zip(self.config["peers"], ports[count:], strict=True):
                peer["http"] = f"{HOST}:{port}"
        self.processes: dict[int, Process] = {}
        """The last process of each node that was ever started."""
        self._ended: set[Process] = set()
        """Those of which a test expected that they end by themselves."""
        folder.mkdir(exist_ok=True)
        self.write_config()

    def write_config(self) -> None:
        """Write config.json as it is in `config` now."""
        (self.folder / "config.json").write_text(json.dumps(self.config), encoding="utf-8")

    def add(self) -> int:
        """Give the next node an address and a file of its own that lists it; those of the others stay as they were."""
        node = len(self.ids)
        self.ids = range(node + 1)
        self.config["peers"].append({"id": node, "address": f"{HOST}:{free_ports(1)[0]}"})
        (self.folder / f"{node}.json").write_text(json.dumps(self.config), encoding="utf-8")
        return node

    def start_added(self, *nodes: int) -> None:
        """Start nodes that `add` has made."""
        for node in nodes:
            self.start(node, arguments=("--config", f"{node}.json"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.kill()

    @property
    def addresses(self) -> list[Address]:
        """Where clients reach the nodes, in the order of their ids."""
        return [self.address(node) for node in self.ids]

    def address(self, node: int) -> Address:
        """Where clients reach a node."""
        return parse_address(self.hint(node))

    def hint(self, node: int) -> str:
        """How a node's address is written."""
        address: str = self.config["peers"][node]["address"]
        return address

    # --- life and death ----------------------------------------------------------------------------------------------

    def start(self, *nodes: int, command: Sequence[str] = (), arguments: Sequence[str] = ()) -> None:
        """Start nodes, all of them when none is named; `command` is what plays twistd."""
        forked = self.forks and (not command or command[0] == sys.executable)
        for node in nodes or self.ids:
            assert not self.is_running(node), f"node {node} runs already"
            whole = [*(command or (str(TWISTD),)), "-n", "kvraft", "--id", str(node), *arguments]
            log = self.folder / f"{node}.log"
            self.processes[node] = Process(whole, self.folder, log, forked=forked)

    def is_running(self, node: int) -> bool:
        """Whether a node was started and has not ended."""
        return node in self.processes and self.processes[node].is_running

    @property
    def running(self) -> list[int]:
        """The nodes that run."""
        return [node for node in self.ids if self.is_running(node)]

    def kill(self, *nodes: int) -> None:
        """End nodes with SIGKILL, all of them when none is named; they die before the first is waited for."""
        for node in nodes or self.ids:
            self.processes[node].signal(signal.SIGKILL)
        for node in nodes or self.ids:
            self.processes[node].wait()

    def stop(self, *nodes: int, number: int = signal.SIGTERM) -> None:
        """Ask nodes to end, all of them when none is named, and wait until they have.

        Raises:
            AssertionError: one ended otherwise than twistd does: in good order, and then by the very signal.
        """
        for node in nodes or self.ids:
            self.processes[node].signal(number)
        statuses = {node: self.processes[node].wait() for node in nodes or self.ids}
        assert set(statuses.values()) == {-number}, f"the nodes ended with {statuses}"
        for node in statuses:
            assert f"node {node} has stopped" in self.processes[node].said

    def expect_end(self, node: int) -> None:
        """Let a node end by itself from now on."""
        self._ended.add(self.processes[node])

    def await_end(self, node: int) -> int:
        """Wait until a node has ended by itself; return its exit status."""
        self.expect_end(node)
        return self.processes[node].wait()

    # --- what they say -----------------------------------------------------------------------------------------------

    def status(self, node: int) -> dict[str, Any]:
        """What a node says of itself; empty when it does not answer."""
        try:
            return ask(self.address(node), "STATUS")
        except OSError:
            return {}

    def statuses(self) -> dict[int, dict[str, Any]]:
        """What the nodes that run say of themselves."""
        return {node: self.status(node) for node in self.running}

    def await_leader(self) -> int:
        """Wait until one node leads in the highest term and takes writes, and all that run follow it; return its id."""

        def find() -> list[int] | None:
            self.check_alive()
            leaders = {status.get("leader") for status in self.statuses().values()}
            (leader,) = leaders if len(leaders) == 1 else (None,)
            if leader is None or ask_or_nothing(self.address(leader), "GET kvraft").keys() != {"value"}:
                return None
            return [leader]

        return wait_until("a leader", find)[0]

    def await_equal(self, nodes: Sequence[int] | None = None) -> dict[str, Any]:
        """Wait until these nodes (all that run) have applied the same index, and return a status.

        Raises:
            AssertionError: two of them have applied the same index and differ.
        """

        def compare() -> dict[str, Any] | None:
            self.check_alive()
            statuses = [self.status(node) for node in (self.running if nodes is None else nodes)]
            if len({status.get("applied", -1) for status in statuses}) > 1 or not all(statuses):
                return None
            facts = {(status["checksum"], status["revision"], status["keys"]) for status in statuses}
            assert len(facts) == 1, f"at the same index the nodes differ: {statuses}"
            return statuses[0]

        return wait_until("equal nodes", compare)

    def check_alive(self) -> None:
        """Fail when a node has ended that no test ended."""
        for node, process in self.processes.items():
            if not process.is_running and process not in self._ended and process.wait() not in BY_REQUEST:
                raise AssertionError(f"node {node} ended with status {process.wait()}:\n{process.said[-4000:]}")

    def log(self, node: int) -> str:
        """Everything that a node ever wrote, from its first start on."""
        return (self.folder / f"{node}.log").read_text(encoding="utf-8", errors="replace")

    def last_words(self, node: int) -> list[str]:
        """Why the last process of a node ended by itself, each time that it says so."""
        return [found[1] for line in self.processes[node].said.splitlines() if (found := LAST_WORDS.match(line))]

    def await_log(self, node: int, text: str, times: int = 1) -> None:
        """Wait until a node has written `text`."""
        wait_until(f"{text!r} in the log of node {node}", lambda: self.log(node).count(text) >= times)

    def check_logs(self) -> None:
        """Fail when a node has written what no healthy node writes."""
        for node in self.processes:
            lines = self.log(node).splitlines()
            for number, line in enumerate(lines):
                if any(each in line for each in COMPLAINTS) and not any(each in line for each in DEPARTURES):
                    around = "\n".join(lines[max(0, number - 5) : number + 40])
                    raise AssertionError(f"node {node} complains:\n{around}")


def ask_or_nothing(address: Address, line: str) -> Mapping[str, Any]:
    """Return the answer to one request, or nothing when there is none."""
    try:
        return ask(address, line)
    except OSError:
        return {}


@contextlib.contextmanager
def running_cluster(folder: Path, count: int = 3, *, http: bool = False, **settings: object) -> Iterator[Cluster]:
    """Start a cluster and wait for its leader; afterwards no node may have complained."""
    with Cluster(folder, count, http=http, **settings) as cluster:
        cluster.start()
        cluster.await_leader()
        yield cluster
        cluster.check_alive()
        cluster.check_logs()
