"""`kvraft status` on real nodes: the leader is killed, then the majority, and the table says so."""

import json
import subprocess
from pathlib import Path

from kvraft.cli.status import size
from tests.e2e.clients import wait_until
from tests.e2e.processes import Cluster, run_kvraft


def status(cluster: Cluster, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Type `kvraft status` in the folder of the cluster."""
    return run_kvraft(cluster.folder, "status", "--timeout", "1", *arguments)


def rows(text: str) -> dict[str, list[str]]:
    """Return the cells of each node's row, by the node's id."""
    found = [line.split() for line in text.splitlines()]
    return {cells[0]: cells for cells in found if cells and cells[0].isdigit()}


def files_of(cluster: Cluster, node: int) -> int:
    """Return what the journal and the newest snapshot of a node take."""
    folder = Path(cluster.folder) / "data" / str(node)
    snapshots = [path.stat().st_size for path in sorted(folder.glob("snapshot-*"))]
    return sum(path.stat().st_size for path in folder.glob("segment-*")) + (snapshots[-1] if snapshots else 0)


def test_a_dead_node_is_shown_as_such(cluster: Cluster) -> None:
    """In its row, under its id; and a node that answers reports its role, its memory and its disk."""
    killed = cluster.await_leader()
    cluster.await_equal()
    whole = status(cluster)
    assert (whole.returncode, whole.stdout.count("follower")) == (0, 2)
    assert f"node {killed} leads; 3 of 3 nodes answer" in whole.stdout

    cluster.kill(killed)
    leader = cluster.await_leader()
    cluster.await_equal([node for node in cluster.ids if node != killed])
    table = status(cluster)

    assert table.returncode == 0
    assert f"node {leader} leads; 2 of 3 nodes answer" in table.stdout
    assert rows(table.stdout)[str(killed)][:3] == [str(killed), cluster.hint(killed), "DOWN"]
    assert rows(table.stdout)[str(leader)][2] == "leader"
    assert size(files_of(cluster, leader)) in table.stdout
    assert "\x1b" not in table.stdout, "there is no colour off a terminal"
    told = {node["id"]: node for node in json.loads(status(cluster, "-o", "json").stdout) if node["up"]}
    assert told.keys() == {*cluster.ids} - {killed}
    for node in told.values():
        assert node["process"]["rss_bytes"] > 10_000_000
        assert node["disk"]["bytes"] == files_of(cluster, node["id"])

    cluster.kill(leader)
    (last,) = {*cluster.ids} - {killed, leader}
    wait_until("a node without a leader", lambda: cluster.status(last).get("leader") is None)
    alone = status(cluster)
    assert alone.returncode == 69
    assert "NO LEADER; 1 of 3 nodes answer" in alone.stdout
