"""A disk that fails stops its node at once, one that hangs costs it the leadership (rows 26, 41)."""

import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.clients import wait_until
from tests.e2e.processes import Cluster
from tests.e2e.writer import Load, Outcome

IOERR: Final = 74
BROKEN_DISK: Final = Path(__file__).with_name("broken_disk.py")

UNANSWERED: Final = 4
"""Writes that must have failed before none is expected to succeed."""

FILE_BYTES_MAX: Final = 256 * 1024
"""Where a file may no longer be written beyond, in the test of a write that fails; segments are longer."""


class Fragile:
    """A cluster in which the disk of any node can be broken while it runs."""

    def __init__(self, cluster: Cluster, how: str) -> None:
        self.cluster = cluster
        self._how = how

    def start(self, *nodes: int) -> None:
        """Start nodes, on disks that work so far."""
        for node in nodes or self.cluster.ids:
            command = (sys.executable, str(BROKEN_DISK), self._how, str(self._trigger(node)))
            self.cluster.start(node, command=command)

    def break_disk(self, node: int) -> None:
        """From now on no sync of that node's disk succeeds."""
        self._trigger(node).touch()

    def repair_disk(self, node: int) -> None:
        """Give the node a disk that works, for its next start."""
        self._trigger(node).unlink()

    def await_another_leader(self, leader: int, load: Load) -> list[int]:
        """Break the leader's disk under load; return the others when one of them leads and acknowledges writes."""
        others = [node for node in self.cluster.ids if node != leader]
        load.await_acknowledged(50)
        self.break_disk(leader)
        wait_until("another leader", lambda: any(self.cluster.status(node).get("role") == "leader" for node in others))
        load.await_acknowledged(50)
        return others

    def _trigger(self, node: int) -> Path:
        return self.cluster.folder / f"{node}.broken"


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Cluster]:
    """Three nodes that do not run yet."""
    with Cluster(tmp_path / "cluster") as cluster:
        yield cluster


@pytest.mark.parametrize("victim_leads", [True, False], ids=["leader", "follower"])
def test_failed_sync(nodes: Cluster, victim_leads: bool) -> None:
    """A sync that fails ends the node with one clear line and status 74; the others go on and nothing is lost."""
    fragile = Fragile(nodes, "fail")
    fragile.start()
    leader = nodes.await_leader()
    victim = leader if victim_leads else (leader + 1) % 3
    with Load(nodes.addresses) as load:
        load.await_acknowledged(50)
        fragile.break_disk(victim)
        assert nodes.await_end(victim) == IOERR
        load.await_acknowledged(50)

    (line,) = nodes.last_words(victim)
    segment = nodes.folder / f"data/{victim}/segment-0000000000000001"
    assert line.startswith(f"node {victim} stops: could not sync {segment}: [Errno 5] Input/output error; ")
    assert nodes.processes[victim].said.count("Input/output error") == 1, "it is said once"
    load.check()
    fragile.repair_disk(victim)
    fragile.start(victim)
    nodes.await_equal(nodes.ids)


def test_failed_write(nodes: Cluster) -> None:
    """A write that the operating system refuses ends the node just so; the others go on and nothing is lost."""
    nodes.start()
    leader = nodes.await_leader()
    resource.prlimit(nodes.processes[leader].pid, resource.RLIMIT_FSIZE, (FILE_BYTES_MAX, FILE_BYTES_MAX))
    with Load(nodes.addresses, value_bytes=2000) as load:
        assert nodes.await_end(leader) == IOERR
        load.await_acknowledged(50)

    (line,) = nodes.last_words(leader)
    segment = nodes.folder / f"data/{leader}/segment-0000000000000001"
    assert line.startswith(f"node {leader} stops: could not write to {segment}: [Errno 27] File too large; ")
    load.check()
    nodes.start(leader)
    nodes.await_equal(nodes.ids)


def test_hung_disk(nodes: Cluster) -> None:
    """A leader whose disk hangs stops leading and says why; another one leads, and nothing is lost (row 26)."""
    fragile = Fragile(nodes, "hang")
    fragile.start()
    leader = nodes.await_leader()
    with Load(nodes.addresses) as load:
        fragile.await_another_leader(leader, load)

    nodes.await_log(leader, f"node {leader} stops leading: its disk has not finished a save for")
    load.check()
    assert nodes.is_running(leader)
    nodes.kill(leader)
    fragile.repair_disk(leader)
    fragile.start(leader)
    nodes.await_equal(nodes.ids)


def test_full_disk(nodes: Cluster) -> None:
    """A leader whose disk is full steps down and stays up; also started anew it follows, and catches up with room."""
    fragile = Fragile(nodes, "full")
    fragile.start()
    leader = nodes.await_leader()
    with Load(nodes.addresses) as load:
        others = fragile.await_another_leader(leader, load)
        nodes.await_log(leader, "is full: make room there")
        assert nodes.is_running(leader)
        nodes.kill(leader)
        fragile.start(leader)
        wait_until("a follower", lambda: nodes.status(leader).get("leader") in others)
        load.await_acknowledged(50)

        fragile.repair_disk(leader)
        nodes.await_log(leader, "has room on its disk again")
    load.check()
    nodes.await_equal(nodes.ids)
    assert nodes.is_running(leader)


def test_hung_disk_does_not_keep_a_node(nodes: Cluster) -> None:
    """A node whose disk hangs can still be stopped."""
    fragile = Fragile(nodes, "hang")
    fragile.start()
    leader = nodes.await_leader()
    with Load(nodes.addresses) as load:
        load.await_acknowledged(10)
        fragile.break_disk(leader)
        load.await_acknowledged(10)

        nodes.stop(leader)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_no_promise_without_disks(tmp_path: Path, count: int) -> None:
    """While a majority of the disks hangs no write is acknowledged, in a cluster of one as in others (rows 3, 4)."""
    with Cluster(tmp_path / "cluster", count, limits={"request_timeout_ms": 1000}) as cluster:
        fragile = Fragile(cluster, "hang")
        fragile.start()
        cluster.await_leader()
        with Load(cluster.addresses, name="before") as before:
            before.await_acknowledged(20)
        cluster.await_equal()
        broken = cluster.ids[: count // 2 + 1]
        for node in broken:
            fragile.break_disk(node)

        with Load(cluster.addresses, name="during") as during:
            wait_until("writes without an answer", lambda: len(during.written) >= UNANSWERED)

        assert during.count(Outcome.OK) == 0
        cluster.kill()
        for node in broken:
            fragile.repair_disk(node)
        fragile.start()
        before.check()
        during.check()
