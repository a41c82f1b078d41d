"""Runs every node of this folder's config.json on this machine, in the foreground, until Ctrl-C: to try kvraft.

If a port is taken, it reports which program uses it, and which ports are free. It waits until one of its nodes leads,
and shows commands to type in another terminal. If a node ends while the cluster starts, all are stopped, and the last
lines of that node's output are shown. A node that ends later is only reported, since users are invited to kill one.
"""

import errno
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NoReturn

import attrs

from kvraft.config import Address, Config, ConfigError, Peer, load
from kvraft.config.address import PORT_MAX

START_TIMEOUT_S: Final = 30.0
"""Longest wait for a leader, seconds."""
STOP_TIMEOUT_S: Final = 10.0
"""Longest wait for the nodes to end by themselves before they are killed, seconds."""
ANSWER_TIMEOUT_S: Final = 1.0
POLL_S: Final = 0.1
LAST_WORDS_MAX: Final = 5
"""Lines of a failed node's output that are shown again at the end."""

SERVES: Final = "serves clients and peers on"
"""The text that a node logs once it listens on its port. Before that, an answer on the port is from another program."""

CONFIG_PATH: Final = Path("config.json")
TWISTD: Final = Path(sys.executable).with_name("twistd")
KVRAFT: Final = Path(sys.executable).with_name("kvraft")
INTERRUPTIONS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

EXIT_CONFIG: Final = 78
"""EX_CONFIG of sysexits.h, as a node itself exits."""
EXIT_FAILED: Final = 69
"""EX_UNAVAILABLE: the cluster does not run."""

Launch = Callable[[Peer], "subprocess.Popen[str]"]
"""Starts one node, with its output in a pipe."""


class ClusterFailed(Exception):
    """The cluster does not run; the text says why."""


@attrs.define
class RunningNode:
    """One node's process, and its last lines of output."""

    peer: Peer
    process: "subprocess.Popen[str]"
    last_words: deque[str] = attrs.field(factory=lambda: deque(maxlen=LAST_WORDS_MAX))
    ended: bool = False
    """Whether its end was reported."""
    serves: bool = False
    """Whether it listens on its port."""

    def follow(self) -> threading.Thread:
        """Copy its output to stdout until it ends, with the node's id before each line; return the copying thread."""
        thread = threading.Thread(target=self._copy_output, daemon=True)
        thread.start()
        return thread

    def _copy_output(self) -> None:
        assert self.process.stdout is not None, "a node is launched with its output in a pipe"
        with self.process.stdout as lines:
            for line in lines:
                self.last_words.append(line.rstrip())
                self.serves = self.serves or SERVES in line
                say(f"{self.peer.id} | {line.rstrip()}")


def say(text: str) -> None:
    """Print a line and flush, also where stdout is a pipe."""
    # The text and its newline are one write, so that lines of several nodes do not mix.
    print(f"{text}\n", end="", flush=True)


def leads(answer: bytes) -> bool:
    """Whether the answer to a GET came from a leader: only a leader's answer has a value, which may be null."""
    try:
        reply = json.loads(answer)
    except ValueError:
        return False
    return isinstance(reply, dict) and "value" in reply


def ask(address: Address, line: bytes) -> bytes:
    """Return a node's answer to one line; empty if it cannot be reached or does not answer in time."""
    answer = b""
    try:
        with socket.create_connection((address.host, address.port), ANSWER_TIMEOUT_S) as connection:
            connection.sendall(line + b"\n")
            connection.shutdown(socket.SHUT_WR)
            while chunk := connection.recv(4096):
                answer += chunk
    except OSError:
        return b""
    return answer


def is_free(address: Address) -> bool:
    """Whether a node could listen there; the node itself reports other errors of an address."""
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except OSError as error:
        return error.errno != errno.EADDRINUSE
    return True


def who_is_at(address: Address) -> str:
    """Return a description of the program that listens on a taken port: a kvraft node if it answers STATUS."""
    try:
        status = json.loads(ask(address, b"STATUS"))
        node, cluster_id = status["id"], status["cluster_id"]
    except (ValueError, KeyError, TypeError):
        return "another program"
    return f"node {node} of a kvraft cluster that runs already (cluster_id {cluster_id})"


def free_addresses(addresses: Sequence[Address], but_not: Sequence[Address] = ()) -> list[Address]:
    """Return a free address for each address, on the same host: the first free port from the given one on."""
    found: list[Address] = []
    for address in addresses:
        candidates = (attrs.evolve(address, port=port) for port in range(address.port, PORT_MAX + 1))
        fit = (each for each in candidates if each not in found and each not in but_not and is_free(each))
        found.append(next(fit, address))
    return found


def check_ports(peers: Sequence[Peer]) -> None:
    """Check that the ports of every node are free. Without this check another program might answer in place of a node.

    Raises:
        ClusterFailed: a port is taken; the text names the program that uses it, and ports that are free.
    """
    taken = [peer.listen for peer in peers if not is_free(peer.listen)]
    taken_http = [peer.http for peer in peers if peer.http is not None and not is_free(peer.http)]
    if not (taken or taken_http):
        return
    free = free_addresses([peer.address for peer in peers])
    free_http = iter(free_addresses([peer.http for peer in peers if peer.http is not None], but_not=free))
    lines = [f"{address} is taken by {who_is_at(address)}" for address in taken]
    lines += [f"{address}, which is to serve HTTP, is taken by another program" for address in taken_http]
    offer = [
        {"id": peer.id, "address": str(address)} | ({} if peer.http is None else {"http": str(next(free_http))})
        for peer, address in zip(peers, free, strict=True)
    ]
    raise ClusterFailed(
        "; ".join(lines)
        + f".\nStop that first, or let {CONFIG_PATH} name ports that are free and an empty data_dir:\n\n"
        + json.dumps({"data_dir": "data-of-another-cluster", "peers": offer})
    )


def how_to_type(program: Path) -> str:
    """Return how a person in this folder types a program: by its name alone where the shell finds it."""
    if shutil.which(program.name) == str(program):
        return program.name
    return str(program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else program)


def invitation(leader: Peer, nodes: Sequence[RunningNode], data_dir: Path) -> str:
    """Return the text that suggests commands to try, once `leader` leads."""
    netcat = f"nc {leader.address.host} {leader.address.port}"
    browse = (
        f"""
Watch the cluster in a browser, at any node:

    http://{leader.http}/
"""
        if leader.http is not None
        else ""
    )
    pids = {node.peer.id: node.process.pid for node in nodes}
    program = how_to_type(KVRAFT)
    return f"""
Node {leader.id} leads. In another terminal, try:

    echo 'SET user:100 kmarulab' | {netcat}
    echo 'GET user:100' | {netcat}
    echo 'DELETE user:100' | {netcat}

or, in this folder, the command that finds the leader by itself:

    {program} get user:100
    {program} status
{browse}
Kill the leader and see another take over:

    kill -9 {pids[leader.id]}

Bring it back, in a terminal of its own, where Ctrl-C ends it:

    {program} node --id {leader.id}

Ctrl-C here stops all nodes that run here. Their data stay in {data_dir}; remove that folder to start empty.
"""


def launch_twistd(peer: Peer) -> "subprocess.Popen[str]":
    """Start a node as a person would: `twistd -n kvraft --id N`."""
    return subprocess.Popen(  # noqa: S603 - our own interpreter's twistd, and a number
        [TWISTD, "-n", "kvraft", "--id", str(peer.id)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        # Ctrl-C reaches every process of the terminal's group, but only this process must stop the nodes, once.
        start_new_session=True,
    )


def wait_for_leader(nodes: Sequence[RunningNode]) -> Peer:
    """Return the node that leads.

    Raises:
        ClusterFailed: a node ended first, or no node led in time.
    """
    give_up = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < give_up:
        for node in nodes:
            if node.process.poll() is not None:
                raise ClusterFailed(f"node {node.peer.id} ended with status {node.process.returncode}")
            if node.serves and leads(ask(node.peer.address, b"GET kvraft")):
                return node.peer
        time.sleep(POLL_S)
    raise ClusterFailed(f"no node leads after {START_TIMEOUT_S:g} s")


def watch(nodes: Sequence[RunningNode]) -> None:
    """Report each node that ends, and return when all have."""
    while not all(node.ended for node in nodes):
        for node in nodes:
            if not node.ended and node.process.poll() is not None:
                node.ended = True
                say(f"node {node.peer.id} ended with status {node.process.returncode}")
        time.sleep(POLL_S)


def stop(nodes: Sequence[RunningNode]) -> None:
    """End every node that still runs: by SIGTERM, and by SIGKILL when that takes too long."""
    for node in nodes:
        node.process.terminate()
    give_up = time.monotonic() + STOP_TIMEOUT_S
    for node in nodes:
        try:
            node.process.wait(max(0.0, give_up - time.monotonic()))
        except subprocess.TimeoutExpired:
            say(f"node {node.peer.id} does not end; killing it")
            node.process.kill()
            node.process.wait()


def run(config: Config, launch: Launch) -> int:
    """Run the cluster until Ctrl-C or until all nodes have ended; return the exit status."""
    nodes: list[RunningNode] = []
    followers: list[threading.Thread] = []
    try:
        check_ports(config.peers)
        for peer in config.peers:
            nodes.append(RunningNode(peer, launch(peer)))
            followers.append(nodes[-1].follow())
        say(invitation(wait_for_leader(nodes), nodes, config.data_dir))
        watch(nodes)
        say("all nodes have ended")
    except KeyboardInterrupt:
        say("\nstopping")
        return 0
    except ClusterFailed as failed:
        say(f"\nthe cluster does not start: {failed}")
        return EXIT_FAILED
    finally:
        stop(nodes)
        for node, follower in zip(nodes, followers, strict=True):
            follower.join(STOP_TIMEOUT_S)
            if not node.ended and node.process.returncode not in {0, -signal.SIGTERM}:
                say("\n".join((f"node {node.peer.id} ended with status {node.process.returncode}:", *node.last_words)))
    return EXIT_FAILED


def _interrupt(_signal: int, _frame: object) -> NoReturn:
    # The first signal only: a second Ctrl-C must not interrupt the stopping of the nodes.
    for number in INTERRUPTIONS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> int:
    """Run the nodes of this folder's config file; return the exit status."""
    try:
        config = load(CONFIG_PATH)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIG
    for number in INTERRUPTIONS:
        signal.signal(number, _interrupt)
    return run(config, launch_twistd)


if __name__ == "__main__":
    sys.exit(main())
