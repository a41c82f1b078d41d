"""New nodes join a running cluster with `--join` alone: no file lists them, and no operator adds them."""

import shutil
from pathlib import Path
from typing import Final

from kvraft.errors import exit_status
from tests.e2e.clients import ask, read_back, write
from tests.e2e.processes import HOST, Cluster, free_ports, run_twistd, running_cluster
from tests.e2e.test_membership import await_voters, remove
from tests.e2e.writer import Load

JOINED: Final = "has joined the cluster of"


def join(cluster: Cluster, node: int, contact: int, *arguments: str) -> None:
    """Start a node with a contact and its own address, in a folder of its own without a config.json."""
    folder = cluster.folder / f"alone-{node}"
    folder.mkdir(exist_ok=True)
    whole = ["--config", str(folder / "config.json"), *arguments]
    cluster.start(node, arguments=[*whole, "--join", cluster.hint(contact), "--address", cluster.hint(node)])


def restart(cluster: Cluster, node: int, *arguments: str) -> None:
    """Start a node again that has joined, without saying anything but its id."""
    cluster.start(node, arguments=["--config", str(cluster.folder / f"alone-{node}/config.json"), *arguments])


def newcomer(cluster: Cluster) -> int:
    """Choose the next id and an address for it."""
    node = len(cluster.ids)
    cluster.ids = range(node + 1)
    cluster.config["peers"].append({"id": node, "address": f"{HOST}:{free_ports(1)[0]}"})
    return node


def refused(cluster: Cluster, status: int, *arguments: str) -> str:
    """Start a node that must end with `status`; return the one line that it says."""
    folder = cluster.folder / "refused"
    folder.mkdir(exist_ok=True)
    done = run_twistd(folder, *arguments)
    assert done.returncode == status, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    return line


def test_grow_by_joining_alone(cluster: Cluster) -> None:
    """Three nodes become five under load, each asked through any member; no acknowledged write is lost."""
    with Load(cluster.addresses) as load:
        load.await_acknowledged(50)
        leader = cluster.await_leader()
        fourth = newcomer(cluster)
        join(cluster, fourth, contact=next(node for node in range(3) if node != leader))
        await_voters(cluster, *range(4))
        fifth = newcomer(cluster)
        join(cluster, fifth, contact=fourth)
        await_voters(cluster, *range(5))
        for node in (fourth, fifth):
            load.learn(cluster.address(node))
        cluster.kill(cluster.await_leader())
        load.await_acknowledged(50)
    load.check()
    for node in (fourth, fifth):
        assert JOINED in cluster.log(node)


def test_the_data_directory_knows_the_way_back(cluster: Cluster) -> None:
    """A node that has joined starts again with its id alone, or with --join once more, also when all were down."""
    write(cluster.addresses, {"a": "1"})
    new = newcomer(cluster)
    join(cluster, new, contact=0)
    await_voters(cluster, *range(4))
    cluster.stop(new)
    restart(cluster, new)
    cluster.await_equal()
    cluster.kill()
    cluster.start(0, 1)
    join(cluster, new, contact=2)  # which does not answer, and need not
    cluster.await_leader()
    cluster.start(2)
    cluster.await_leader()
    await_voters(cluster, *range(4))
    assert read_back(cluster.addresses, ["a"]) == {"a": "1"}


def test_two_join_at_once(cluster: Cluster) -> None:
    """Nodes that join at once wait for each other: the members change one at a time, and none must be started again."""
    new = [newcomer(cluster), newcomer(cluster)]
    for node in new:
        join(cluster, node, contact=0)
    await_voters(cluster, *range(5))


def test_nobody_answers(tmp_path: Path) -> None:
    """When the contact is not reached one line says so, with a status of its own."""
    with Cluster(tmp_path / "none", count=2) as cluster:
        options = ("--id", "9", "--join", cluster.hint(0), "--address", cluster.hint(1))
        said = refused(cluster, exit_status.NOHOST, *options)
    assert said.startswith(f"kvraft: node 9 cannot join: no answer from {cluster.hint(0)} ([Errno 111]")


def test_what_is_taken(cluster: Cluster) -> None:
    """The id or the address of another member, and an id that was removed, are refused in one line."""
    (port,) = free_ports(1)
    free = f"{HOST}:{port}"
    leader = cluster.await_leader()
    cluster.kill(gone := (leader + 1) % 3)  # its port is free to be bound, and taken all the same

    said = refused(cluster, exit_status.NOPERM, "--id", str(leader), "--join", cluster.hint(leader), "--address", free)
    assert f"the id {leader} belongs to the member at {cluster.hint(leader)}" in said
    options = ("--id", "9", "--join", cluster.hint(leader))
    said = refused(cluster, exit_status.NOPERM, *options, "--address", cluster.hint(gone))
    assert f"{cluster.hint(gone)} is the address of node {gone}" in said
    cluster.start(gone)
    cluster.await_leader()
    remove(cluster, gone)
    said = refused(cluster, exit_status.REMOVED, "--id", str(gone), "--join", cluster.hint(leader), "--address", free)
    assert "it was removed from this cluster" in said


def test_a_directory_of_another_cluster(cluster: Cluster, tmp_path: Path) -> None:
    """Data of one cluster are not taken into another, and the line names both clusters."""
    with running_cluster(tmp_path / "other", count=1) as other:
        write(other.addresses, {"a": "1"})
        theirs = ask(other.address(0), "STATUS")["cluster_id"]
    ours = ask(cluster.address(0), "STATUS")["cluster_id"]
    (port,) = free_ports(1)
    shutil.copytree(other.folder / "data", cluster.folder / "refused/data")

    said = refused(cluster, exit_status.NOPERM, "--id", "0", "--join", cluster.hint(0), "--address", f"{HOST}:{port}")

    assert f"belongs to cluster {theirs}, and {cluster.hint(0)} to cluster {ours}" in said


def test_where_it_is_reached_must_be_said(tmp_path: Path) -> None:
    """A new node without an address, or with one that no member can reach, ends with a text on how to give it."""
    with Cluster(tmp_path / "none", count=1) as cluster:
        options = ("--id", "9", "--join", cluster.hint(0))
        assert "--address HOST:PORT" in refused(cluster, exit_status.USAGE, *options)
        assert "no node can connect to 0.0.0.0:9" in refused(
            cluster, exit_status.USAGE, *options, "--address", "0.0.0.0:9"
        )
        assert "--join" in refused(cluster, exit_status.USAGE, "--id", "9", "--join", "nowhere")


def test_members_move_under_load(cluster: Cluster) -> None:
    """A follower and then the leader come back at another address; the others find them there, and nothing is lost."""
    with Load(cluster.addresses) as load:
        load.await_acknowledged(20)
        for is_leader in (False, True):
            node = cluster.await_leader() if is_leader else (cluster.await_leader() + 1) % 3
            cluster.stop(node)
            cluster.config["peers"][node]["address"] = f"{HOST}:{free_ports(1)[0]}"
            cluster.start(node, arguments=["--address", cluster.hint(node)])
            load.learn(cluster.address(node))
            cluster.await_log(node, f"node {node} is known at {cluster.hint(node)} now")
            load.await_acknowledged(20)
            for each in cluster.ids:
                addresses = [member["address"] for member in ask(cluster.address(each), "MEMBERS")["members"]]
                assert cluster.hint(node) in addresses
        cluster.await_leader()
    load.check()
    cluster.await_equal()
