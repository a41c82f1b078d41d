"""Members that are reached elsewhere: no move into a dead end, and a way back for a majority that has moved."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.clients import ask, parse_address, read_back, wait_until, write
from tests.e2e.processes import HOST, Cluster, ask_or_nothing, free_ports


@pytest.mark.parametrize(("count", "down"), [(2, []), (3, [0])])
def test_a_living_voter_is_not_moved_into_a_dead_end(tmp_path: Path, count: int, down: list[int]) -> None:
    """The refusal says what to do, and writes go on, also after a restart of all."""
    with Cluster(tmp_path / "cluster", count) as cluster:
        cluster.start()
        write(cluster.addresses, {"before": "1"})
        wait_until("all to be known with their data directories", lambda: are_bound(cluster))
        cluster.kill(*down) if down else None
        leader = cluster.await_leader()
        nowhere = f"{HOST}:{free_ports(1)[0]}"
        for member in cluster.running:
            refusal = ask(cluster.address(leader), f"MEMBER MOVE {member} {nowhere}")
            assert refusal["error"] == "REFUSED"
            assert f"node {member} has not answered at {nowhere}" in refusal["message"]
            assert "start it there first" in refusal["message"]
        write(cluster.addresses, {"after": "1"})

        cluster.kill(*cluster.running)
        cluster.start(*(node for node in cluster.ids if node not in down))
        write(cluster.addresses, {"restarted": "1"})
        assert read_back(cluster.addresses, ["before", "after"]) == {"before": "1", "after": "1"}
        cluster.check_logs()


@pytest.mark.parametrize("count", [2, 3])
def test_a_cluster_that_comes_back_at_other_addresses_has_a_leader(tmp_path: Path, count: int) -> None:
    """With config.json alone: its members find each other there, and the log takes the addresses over."""
    with Cluster(tmp_path / "cluster", count) as cluster:
        cluster.start()
        write(cluster.addresses, {"before": "1"})
        cluster.kill()
        for peer, port in zip(cluster.config["peers"], free_ports(count), strict=True):
            peer["address"] = f"{HOST}:{port}"
        cluster.write_config()
        cluster.start()

        assert read_back(cluster.addresses, ["before"]) == {"before": "1"}
        write(cluster.addresses, {"after": "1"})
        wait_until(
            "the log to know the addresses",
            lambda: places(cluster) == {node: cluster.hint(node) for node in cluster.ids},
        )
        cluster.check_logs()


def test_a_cluster_of_two_of_which_one_moves(tmp_path: Path) -> None:
    """It says so in its hello, so that the other finds it although there is no leader to report it."""
    with Cluster(tmp_path / "cluster", 2) as cluster:
        cluster.start()
        write(cluster.addresses, {"before": "1"})
        leader = cluster.await_leader()
        mover = 1 - leader
        cluster.kill(mover)
        place = f"{HOST}:{free_ports(1)[0]}"
        cluster.start(mover, arguments=("--address", place))
        cluster.config["peers"][mover]["address"] = place

        write(cluster.addresses, {"after": "1"})
        wait_until("the log to know the address", lambda: places(cluster)[mover] == place)
        cluster.check_logs()


def test_a_forced_dead_end_is_undone_by_config_json(tmp_path: Path) -> None:
    """The others find the member where their config.json lists it."""
    with Cluster(tmp_path / "cluster", 2) as cluster:
        cluster.start()
        leader = cluster.await_leader()
        nowhere = f"{HOST}:{free_ports(1)[0]}"
        assert ask(cluster.address(leader), f"MEMBER MOVE {1 - leader} {nowhere} FORCE").keys() <= {
            "status",
            "error",
            "message",
        }
        write(cluster.addresses, {"after": "1"})
        leader = cluster.await_leader()
        assert parse_address(cluster.status(leader)["peers"][str(1 - leader)]["reached_at"]) == cluster.address(
            1 - leader
        )


def are_bound(cluster: Cluster) -> bool:
    """Whether every node has the data directory of every voter in its log: else one that was late has no vote."""
    cluster.check_alive()
    answers = [ask_or_nothing(cluster.address(node), "MEMBERS") for node in cluster.ids]
    return all(answer and all("incarnation" in each for each in answer["members"]) for answer in answers)


def places(cluster: Cluster) -> Mapping[int, Any]:
    """Where the log has the members, as any of them says."""
    for node in cluster.ids:
        answer = ask_or_nothing(cluster.address(node), "MEMBERS")
        if answer:
            return {each["id"]: each["address"] for each in answer["members"]}
    return {}
