"""Members that are known by names: slow look-ups, hung ones, and names with several addresses, with real processes.

`kvraft.chaos.resolver` stands in for the operating system's resolver, in processes that are otherwise ordinary nodes.
"""

import signal
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import pytest

from kvraft.chaos.resolver import Name, write_names
from kvraft.errors import exit_status
from tests.e2e.clients import Address, ask, wait_until
from tests.e2e.processes import HOST, Cluster, ask_or_nothing, free_ports

SLOW_S: Final = 1.5
"""How long a slow look-up takes, seconds: longer than connecting to an address may take."""
LED_S: Final = 15.0
"""Longest time until a cluster leads whose names are slow: a look-up of its own name, one of each other's, an election;
and the start of three processes on a busy machine."""
END_S: Final = 10.0
"""Longest time for a node to end that was asked to: it hands over and closes its files."""
ELSEWHERE: Final = "192.0.2.1"
"""An address for documents, which no machine has."""
OK: Final = {"status": "OK"}


class NamedCluster(Cluster):
    """Three nodes which know each other by names, "node0.test" and so on, of this machine."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.names_file = folder / "names.json"
        for peer in self.config["peers"]:
            port = peer["address"].rpartition(":")[2]
            peer["address"] = f"node{peer['id']}.test:{port}"
        self.write_config()
        self.set_names()

    def set_names(self, **changes: dict[str, Any]) -> None:
        """Let all names be found at once, but those that are named here."""
        everyone = {f"node{node}": {"hosts": [HOST]} for node in range(len(self.ids) + 1)}
        merged = {name: {**fields, **changes.get(name, {})} for name, fields in everyone.items()}
        write_names(self.names_file, {f"{name}.test": Name(**fields) for name, fields in merged.items()})

    def address(self, node: int) -> Address:
        """Where clients reach a node: they look no names up."""
        return HOST, int(self.hint(node).rpartition(":")[2])

    def begin(self, *nodes: int, arguments: tuple[str, ...] = ()) -> None:
        """Start nodes with the stand-in."""
        command = (sys.executable, "-m", "kvraft.chaos.twistd", "quick.disk", str(self.names_file))
        self.start(*nodes, command=command, arguments=arguments)

    def write(self, *nodes: int) -> None:
        """Let a client be served by the leader, one of `nodes` if some are named. Another may lead meanwhile."""

        def served() -> bool:
            self.check_alive()
            return any(
                ask_or_nothing(self.address(node), "SET name found") == OK
                and ask_or_nothing(self.address(node), "GET name") == {"value": "found"}
                for node in nodes or self.ids
            )

        assert wait_until("a leader", served)

    def end(self, *nodes: int) -> None:
        """Ask nodes to end; each ends in good order, and soon."""
        began = time.monotonic()
        self.stop(*nodes, number=signal.SIGTERM)
        assert time.monotonic() - began < END_S
        self.check_logs()


@pytest.fixture
def cluster(tmp_path: Path) -> Generator[NamedCluster]:
    """Three nodes with names, not started."""
    with NamedCluster(tmp_path / "cluster") as cluster:
        yield cluster


def test_a_cluster_whose_names_are_slow(cluster: NamedCluster) -> None:
    """A leader is elected and clients are served although each look-up takes longer than a connection may."""
    cluster.set_names(**{f"node{node}": {"delay_s": SLOW_S} for node in cluster.ids})
    began = time.monotonic()

    cluster.begin()
    cluster.write()

    assert time.monotonic() - began < LED_S
    cluster.end()


def test_a_name_that_hangs(cluster: NamedCluster) -> None:
    """The others dial each other, serve clients and end; the member is dialed when its name is found again."""
    cluster.begin(0)
    wait_until("node 0 answers", lambda: cluster.status(0))
    cluster.set_names(node0={"hangs": True})
    cluster.begin(1, 2)
    cluster.write(1, 2)
    cluster.await_log(1, "the look-up of the name node0.test has not ended within 3 s")
    threads = _count_threads(cluster.processes[1].pid)
    time.sleep(SLOW_S)
    assert _count_threads(cluster.processes[1].pid) <= threads

    cluster.end(2)
    cluster.begin(2)
    cluster.write(1, 2)
    cluster.set_names()
    cluster.await_equal([0, 1, 2])
    cluster.await_log(1, "node 0 is connected")

    cluster.set_names(**{f"node{node}": {"hangs": True} for node in cluster.ids})
    cluster.kill(0)
    cluster.await_log(1, "node 0 cannot be reached", times=2)
    cluster.end(1, 2)


def test_a_name_that_is_lost_while_the_cluster_runs(cluster: NamedCluster) -> None:
    """A member whose name is not found any more is dialed where it was, so that it may restart."""
    cluster.config["peers"][1]["bind"] = f"{HOST}:{cluster.address(1)[1]}"  # or it would not find its own
    cluster.write_config()
    cluster.begin()
    cluster.write()
    for node in (0, 2):  # the write may have had another majority
        cluster.await_log(node, "node 1 is connected")

    cluster.set_names(node1={"hosts": []})
    cluster.kill(1)
    cluster.begin(1)

    cluster.write()
    for node in (0, 2):
        cluster.await_log(node, "node 1 is connected", times=2)
    cluster.end()


def test_a_name_with_several_addresses(cluster: NamedCluster) -> None:
    """The node listens on all of them that are this machine's, and the others find one that answers."""
    several = [ELSEWHERE, "127.0.0.2", HOST]
    cluster.set_names(node0={"hosts": several})
    cluster.begin()
    cluster.write()
    port = cluster.address(0)[1]
    for host in several[1:]:
        assert ask((host, port), "PING")
    assert f"on 127.0.0.2:{port} and {HOST}:{port}" in cluster.log(0)
    for node in (1, 2):
        cluster.await_log(node, "node 0 is connected")
    cluster.end()


def test_a_node_whose_own_name_is_elsewhere_or_hangs(cluster: NamedCluster) -> None:
    """It ends with status 71 and words within seconds."""
    cluster.set_names(node0={"hosts": [ELSEWHERE]}, node1={"hangs": True})
    began = time.monotonic()

    cluster.begin(0, 1)

    assert cluster.await_end(0) == exit_status.OSERR
    assert "this machine has no such address" in cluster.log(0)
    assert cluster.await_end(1) == exit_status.OSERR
    assert "the look-up of the name node1.test has not ended within 10 s" in cluster.log(1)
    assert '"bind"' in cluster.log(1)
    assert time.monotonic() - began < 2 * LED_S


def test_a_node_joins_by_a_slow_name(cluster: NamedCluster) -> None:
    """A look-up longer than a connection may take is no reason not to join, nor is a first address that is dead."""
    cluster.begin()
    cluster.write()
    cluster.set_names(node0={"hosts": ["127.0.0.3", HOST], "delay_s": SLOW_S}, node3={"delay_s": SLOW_S})
    cluster.config["peers"].append({"id": 3, "address": f"node3.test:{free_ports(1)[0]}"})
    cluster.ids = range(4)

    cluster.begin(3, arguments=("--join", cluster.hint(0), "--address", cluster.hint(3)))

    wait_until("node 3 votes", lambda: cluster.status(3) and _votes(cluster, 3))
    cluster.end()


def _votes(cluster: NamedCluster, node: int) -> bool:
    members = ask(cluster.address(node), "MEMBERS")["members"]
    return any(member["id"] == node and member["role"] == "voter" for member in members)


def _count_threads(pid: int) -> int:
    """Return how many threads a process has; Linux only."""
    return len([*Path(f"/proc/{pid}/task").iterdir()])
