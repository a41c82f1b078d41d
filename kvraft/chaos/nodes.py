"""The nodes as processes: started as people start them, killed or paused by process id, and all ended in the end."""

import contextlib
import enum
import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs

from kvraft.chaos.disk import write_delay
from kvraft.chaos.resolver import Name, write_names
from kvraft.config import Address

HOST: Final = "127.0.0.1"
PORTS: Final = range(10_000, 16_000)
"""Below the kernel's range for outgoing connections, so that a free port stays free until it is bound."""
EXIT_S: Final = 10.0
"""Longest wait for a process to end after a signal, before it is killed, seconds."""
REQUEST_TIMEOUT_MS: Final = 2_000
"""Shorter than a node's default, so that many requests fall into each fault."""
LOG_BYTES: Final = 256 * 1024
"""Size of the log at which a node takes a snapshot: far less than the default, so that a run has many snapshots."""

COMPLAINTS: Final = ("Traceback (most recent call last)", "Unhandled", "AssertionError", "Z critical ", "Z error ")
"""Texts that a healthy node does not log."""
TOLERATED: Final = ("its disk has not finished a save for",)
"""Texts that a node may log after it was paused during a save."""
COMPLAINTS_MAX: Final = 20
"""Most complaints that are reported for one node."""


class Life(enum.Enum):
    """The state of a node's process, by what was done to it last."""

    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    DOWN = "down"


@attrs.define
class _Process:
    popen: "subprocess.Popen[bytes]"
    life: Life = Life.RUNNING


def free_ports(count: int) -> list[int]:
    """Return ports on which nothing listens.

    Raises:
        RuntimeError: there are not enough.
    """
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError(f"fewer than {count} free ports on {HOST}")


def name_of(node: int) -> str:
    """Return the host name of a node in the configuration."""
    return f"node{node}.test"


class Nodes:
    """The processes of one cluster, in their own folder.

    Args:
        folder: the folder of their data and logs.
        count: how many nodes there are.
        settings: further keys of their config.json.
        program: replaces twistd; None: twistd on a disk that can be slowed down.
    """

    def __init__(
        self,
        folder: Path,
        count: int,
        settings: Mapping[str, object] | None = None,
        program: Sequence[str] | None = None,
    ) -> None:
        self.folder = folder
        self.ids = range(count)
        ports = free_ports(2 * count)
        self.places = {node: (Address(HOST, ports[2 * node]), Address(HOST, ports[2 * node + 1])) for node in self.ids}
        """For each node its public address, which is the proxy's, and the address at which it listens."""
        self._names_file = folder.absolute() / "names.json"
        self._program = program
        self._processes: dict[int, _Process] = {}
        self._findings: list[str] = []
        self._are_ended = False
        """Whether none may be started any more."""
        folder.mkdir(parents=True, exist_ok=True)
        self.set_names()
        config = {**self._config(), **(settings or {})}
        (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")

    def _config(self) -> dict[str, object]:
        peers = [
            {"id": node, "address": f"{name_of(node)}:{public.port}", "bind": str(real)}
            for node, (public, real) in self.places.items()
        ]
        limits = {
            "request_timeout_ms": REQUEST_TIMEOUT_MS,
            "log_bytes": LOG_BYTES,
            "log_kept_bytes": LOG_BYTES // 4,
            "segment_bytes": LOG_BYTES,
        }
        return {"peers": peers, "limits": limits}

    def set_names(self, nodes: Iterable[int] = (), delay_s: float = 0.0, *, hang: bool = False) -> None:
        """Delay the look-ups of these nodes' names, or let them hang; the look-ups of all others take no time."""
        harmed = set(nodes)
        names = {name_of(node): Name([HOST]) for node in self.ids if node not in harmed}
        slow = {name_of(node): Name([HOST], delay_s, hang) for node in harmed}
        write_names(self._names_file, names | slow)

    def log_path(self, node: int) -> Path:
        """Return the file of a node's log."""
        return self.folder / f"{node}.log"

    def real_address(self, node: int) -> Address:
        """Return the address at which a node listens, which bypasses the proxy."""
        return self.places[node][1]

    # --- processes ---------------------------------------------------------------------------------------------------

    def life(self, node: int) -> Life:
        """Return the state of a node's process; if it ended by itself it is down, and that is a finding."""
        process = self._processes.get(node)
        if process is None:
            return Life.DOWN
        if process.life is not Life.DOWN and process.popen.poll() is not None:
            if process.life is not Life.STOPPING:
                self._findings.append(f"node {node} ended by itself with status {process.popen.returncode}")
            process.life = Life.DOWN
        return process.life

    @property
    def running(self) -> list[int]:
        """The nodes that are neither down nor paused."""
        return [node for node in self.ids if self.life(node) is Life.RUNNING]

    def start(self, nodes: Iterable[int]) -> None:
        """Start the nodes among these that are down; after `end_all`, none."""
        for node in nodes:
            if self._are_ended or self.life(node) is not Life.DOWN:
                continue
            command = [*(self._program or self._slowed_down(node)), "-n", "kvraft", "--id", str(node)]
            with self.log_path(node).open("ab") as output:
                popen = subprocess.Popen(  # noqa: S603 - our own interpreter's twistd, and a number
                    command,
                    cwd=self.folder,
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,  # Ctrl-C is for us; the nodes are ended by pid
                )
            self._processes[node] = _Process(popen)

    def slow_disks(self, nodes: Iterable[int], seconds: float) -> None:
        """Delay each sync of these nodes by `seconds` from now on."""
        for node in nodes:
            write_delay(self._delay_path(node), seconds)

    def _slowed_down(self, node: int) -> Sequence[str]:
        return sys.executable, "-m", "kvraft.chaos.twistd", str(self._delay_path(node)), str(self._names_file)

    def _delay_path(self, node: int) -> Path:
        return self.folder.absolute() / f"{node}.disk"

    def kill(self, nodes: Iterable[int]) -> None:
        """Kill nodes as a crash would; all get the signal before the first is waited for."""
        self._end(nodes, signal.SIGKILL)

    def stop(self, node: int) -> None:
        """Ask a node to stop gracefully."""
        if self.life(node) is Life.RUNNING:
            self._send([node], signal.SIGTERM)
            self._processes[node].life = Life.STOPPING

    def pause(self, nodes: Iterable[int]) -> None:
        """Pause nodes at any point of their work."""
        for node in nodes:
            if self.life(node) is Life.RUNNING:
                self._send([node], signal.SIGSTOP)
                self._processes[node].life = Life.PAUSED

    def resume(self, nodes: Iterable[int]) -> None:
        """Resume paused nodes."""
        for node in nodes:
            if self.life(node) is Life.PAUSED:
                self._send([node], signal.SIGCONT)
                self._processes[node].life = Life.RUNNING

    def end_all(self) -> None:
        """Kill all processes, whatever state they are in, and let none start."""
        self._are_ended = True
        self._end(tuple(self._processes), signal.SIGKILL)

    def _send(self, nodes: Iterable[int], number: signal.Signals) -> None:
        for node in nodes:
            self._processes[node].popen.send_signal(number)

    def _end(self, nodes: Iterable[int], number: signal.Signals) -> None:
        ending = [node for node in nodes if self.life(node) is not Life.DOWN]
        self._send(ending, number)
        for node in ending:
            self._processes[node].popen.wait(EXIT_S)
            self._processes[node].life = Life.DOWN

    # --- logs --------------------------------------------------------------------------------------------------------

    def findings(self) -> list[str]:
        """Return signs of unhealthy nodes: processes that ended by themselves, and complaints in their logs."""
        for node in self._processes:
            self.life(node)
        return [*self._findings, *(each for node in self._processes for each in complaints(self.log_path(node)))]


def complaints(log: Path) -> list[str]:
    """Return the lines of a log that a healthy node does not write."""
    found = []
    with log.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            if any(text in line for text in COMPLAINTS) and not any(text in line for text in TOLERATED):
                found.append(f"{log.name}:{number}: {line.strip()}")
    return found[:COMPLAINTS_MAX]
