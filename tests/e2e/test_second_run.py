"""A data directory and its copy run at once: the copy takes no part, and its log tells the operator."""

import shutil
from pathlib import Path

import pytest

from tests.e2e.clients import wait_until, write
from tests.e2e.processes import HOST, TWISTD, Cluster, Process, ask_or_nothing, free_ports


@pytest.mark.parametrize("leads", [False, True], ids=["of a follower", "of the leader"])
def test_a_copied_data_directory_takes_no_part(cluster: Cluster, leads: bool) -> None:
    """It is refused by all, moves nothing, and stores nothing that counts; log and STATUS name the node."""
    leader = cluster.await_leader()
    twin = next(node for node in cluster.ids if node != leader)
    write(cluster.addresses, {"before": "1"})
    cluster.kill(twin)
    shutil.copytree(cluster.folder / "data" / str(twin), cluster.folder / "copies" / str(twin))
    cluster.start(twin)
    cluster.await_equal()
    leader = lead(cluster, twin if leads else leader)
    others = {*cluster.ids} - {twin}

    copy = start_copy(cluster, twin)
    try:
        wait_until("the others to name the copy", lambda: all(tells(cluster, node, twin) for node in others))
        write(cluster.addresses, {f"key-{number}": "1" for number in range(10)})
        wait_until("the copy to log why it is not moved", lambda: f"node {twin} is not known at" in copy.said)

        assert copy.is_running
        assert f"node {twin} runs twice: it answers at {cluster.hint(twin)}" in copy.said
        assert "is known at" not in copy.said.replace("is not known at", "")
        addresses = {
            each["id"]: each["address"] for each in ask_or_nothing(cluster.address(leader), "MEMBERS")["members"]
        }
        assert addresses == {node: cluster.hint(node) for node in cluster.ids}
        assert all(f"node {twin} runs twice" in cluster.log(node) for node in others)
        assert cluster.await_equal()["term"] == cluster.status(leader)["term"]
    finally:
        copy.kill()
    wait_until("the record of the copy to be dropped", lambda: not any(tells(cluster, node, twin) for node in others))


def lead(cluster: Cluster, node: int) -> int:
    """Let a node lead, and return it."""

    def is_leader() -> bool:
        leader = cluster.await_leader()
        return leader == node or ask_or_nothing(cluster.address(leader), f"TRANSFER {node}").get("status") == "OK"

    wait_until(f"node {node} to lead", is_leader)
    return cluster.await_leader()


def start_copy(cluster: Cluster, twin: int) -> Process:
    """Start a node on the copy of another's data, at an address of its own."""
    where = f"{HOST}:{free_ports(1)[0]}"
    command = [str(TWISTD), "-n", "kvraft", "--id", str(twin), "--address", where, "--data-dir", "copies"]
    return Process(command, cluster.folder, Path(cluster.folder) / "copy.log")


def tells(cluster: Cluster, node: int, twin: int) -> bool:
    """Whether a node's STATUS says that another runs twice."""
    return bool(cluster.status(node)["peers"][str(twin)]["runs_twice"])
