"""Leaders and whole clusters die under load, and nothing that was acknowledged is lost (rows 3, 4, 9, 12, 43)."""

import signal
import time
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.clients import read_back, wait_until, write
from tests.e2e.processes import Cluster, running_cluster
from tests.e2e.writer import Load, Outcome

ROUNDS: Final = 3
REFUSALS: Final = 5
"""Writes that must have failed before none is expected to succeed."""
SEVERAL_ATTEMPTS_S: Final = 2.0
"""A member that is down is dialed several times in this time."""


def other_nodes(cluster: Cluster, node: int) -> list[int]:
    """Return the nodes beside `node`."""
    return [each for each in cluster.ids if each != node]


def test_killed_leaders(cluster: Cluster) -> None:
    """Each time the leader is killed another leads in a later term; every acknowledged write is there (row 9)."""
    with Load(cluster.addresses) as load:
        for _ in range(ROUNDS):
            leader = cluster.await_leader()
            term = cluster.status(leader)["term"]
            load.await_acknowledged(50)
            cluster.kill(leader)
            successor = cluster.await_leader()
            assert successor != leader
            assert cluster.status(successor)["term"] > term
            load.await_acknowledged(50)
            cluster.start(leader)
            wait_until("the restarted node", lambda: cluster.status(leader))  # noqa: B023 - called in this round only

    load.check()
    cluster.await_equal(cluster.ids)


def test_all_killed_at_once(cluster: Cluster) -> None:
    """When all nodes are killed under load and start again, everything acknowledged is there (rows 3 and 4)."""
    with Load(cluster.addresses) as load:
        load.await_acknowledged(100)
        term = cluster.status(cluster.await_leader())["term"]
        cluster.kill()
        cluster.start()
        cluster.await_leader()
        load.await_acknowledged(50)

    load.check()
    assert cluster.await_equal(cluster.ids)["term"] > term


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_stopped_leader_hands_over(cluster: Cluster, number: signal.Signals) -> None:
    """A leader that is asked to end under load hands over first: clients are only sent elsewhere, nothing is lost."""
    leader = cluster.await_leader()
    with Load(cluster.addresses) as load:
        load.await_acknowledged(100)
        cluster.stop(leader, number=number)
        assert cluster.await_leader() != leader
        load.await_acknowledged(50)

    assert f"node {leader} hands leadership to node" in cluster.log(leader)
    assert load.refusals() <= {"NOT_LEADER", "STOPPING"}
    load.check()
    assert cluster.await_equal()["leader"] != leader
    cluster.start(leader)
    cluster.await_equal(cluster.ids)


def test_whole_cluster_stopped_one_by_one(cluster: Cluster) -> None:
    """Nodes that are asked to end one by one do so, also the last that has no majority; all data come back."""
    items = {f"key-{number}": f"value {number}" for number in range(100)}
    write(cluster.addresses, items)

    cluster.stop(0)
    cluster.stop(1)
    cluster.stop(2)

    cluster.start()
    cluster.await_leader()
    assert read_back(cluster.addresses, list(items)) == items


def test_follower_catches_up(cluster: Cluster) -> None:
    """A follower that missed writes has them soon after it is back, and applied them to the same state."""
    follower = other_nodes(cluster, cluster.await_leader())[0]
    cluster.kill(follower)
    missed = {f"missed-{number}": "x" * 1000 for number in range(2000)}
    write(cluster.addresses, missed)

    cluster.start(follower)

    status = cluster.await_equal(cluster.ids)
    assert status["keys"] == len(missed)


def test_frozen_leader_is_replaced(cluster: Cluster) -> None:
    """A leader that is stopped in its tracks is replaced, and when it goes on it follows; nothing is lost (row 8)."""
    leader = cluster.await_leader()
    process = cluster.processes[leader]
    with Load(cluster.addresses) as load:
        load.await_acknowledged(50)
        process.signal(signal.SIGSTOP)
        others = other_nodes(cluster, leader)
        wait_until("another leader", lambda: any(cluster.status(node).get("role") == "leader" for node in others))
        process.signal(signal.SIGCONT)
        assert cluster.await_leader() in others
        load.await_acknowledged(50)

    load.check()
    cluster.await_equal(cluster.ids)


def test_no_majority(tmp_path: Path) -> None:
    """One node of three takes no write; with a second one back the cluster goes on, and no refusal was a lie."""
    with running_cluster(tmp_path / "cluster", limits={"request_timeout_ms": 1000}) as cluster:
        write(cluster.addresses, {"before": "1"})
        dead = other_nodes(cluster, cluster.await_leader())
        cluster.kill(*dead)

        with Load(cluster.addresses) as load:
            wait_until("refusals", lambda: len(load.written) >= REFUSALS)
            assert load.count(Outcome.OK) == 0
            cluster.start(dead[0])
            load.await_acknowledged(10)

        load.check()
        assert read_back(cluster.addresses, ["before"]) == {"before": "1"}
        cluster.start(dead[1])
        cluster.await_equal(cluster.ids)


def test_a_dead_member_fills_no_log(cluster: Cluster) -> None:
    """While a member is down the others try to reach it, and say so once: their logs do not grow any more."""
    dead, *others = cluster.ids
    said = f"node {dead} cannot be reached and is dialed until it can: connection refused"
    for node in others:  # else what is waited for may have been said already, while all of them were starting
        cluster.await_log(node, f"node {dead} is connected")
    times = {node: cluster.log(node).count(said) for node in others}
    cluster.kill(dead)
    for node in others:
        cluster.await_log(node, said, times[node] + 1)
    cluster.await_leader()
    before = {node: cluster.log(node) for node in others}

    time.sleep(SEVERAL_ATTEMPTS_S)

    assert {node: cluster.log(node) for node in others} == before
