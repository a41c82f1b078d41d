"""A cluster of an earlier kvraft is upgraded node by node while clients write."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from kvraft.store import FEATURE_LEVEL
from tests.e2e import older_build
from tests.e2e.clients import ask, read_back, wait_until
from tests.e2e.processes import Cluster
from tests.e2e.writer import Load, Outcome

FAILOVER_S: Final = 5.0
"""Longest time without an acknowledged write: an election takes half a second, and more while a small machine is busy
with the start of a node."""
WRITES: Final = 30
"""So many are acknowledged at least between one step and the next."""


@pytest.fixture
def old_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Three nodes of the earlier build, with a leader."""
    with Cluster(tmp_path / "cluster") as cluster:
        cluster.start(command=older_build.unpack(tmp_path / "older"))
        cluster.await_leader()
        yield cluster
        cluster.check_alive()
        cluster.check_logs()


def upgrade(cluster: Cluster, node: int) -> None:
    """Restart a node with this build, as operators do, and wait until it has caught up."""
    cluster.stop(node)
    cluster.await_leader()
    cluster.start(node)
    wait_until("the upgraded node", lambda: "limits" in cluster.status(node))
    cluster.await_leader()


def lead(cluster: Cluster, node: int) -> None:
    """Have a node lead, asking again while that is refused."""

    def leads() -> bool:
        leader = cluster.await_leader()
        if leader != node:
            ask(cluster.address(leader), f"TRANSFER {node}")
        return leader == node

    wait_until(f"node {node} to lead", leads)


def levels(cluster: Cluster) -> set[int]:
    """The feature levels of all nodes."""
    return {status.get("feature_level", -1) for status in cluster.statuses().values()}


def test_a_rolling_upgrade(old_cluster: Cluster) -> None:
    """Nothing that was acknowledged is lost, serving goes on, and the feature level rises at the end, not before.

    The last node of the earlier build follows two of this one, and leads them then: it has read all that they wrote.
    """
    cluster = old_cluster
    with Load(cluster.addresses) as load:
        load.await_acknowledged(WRITES)
        wait_until("the earlier feature level", lambda: levels(cluster) == {older_build.FEATURE_LEVEL})
        *others, last = sorted(cluster.ids, key=cluster.await_leader().__eq__)
        for node in others:
            upgrade(cluster, node)
            load.await_acknowledged(WRITES)
            assert levels(cluster) == {older_build.FEATURE_LEVEL}

        lead(cluster, others[0])
        load.await_acknowledged(WRITES)
        written = [each for each in tuple(load.written) if each.outcome is Outcome.OK]
        lead(cluster, last)
        assert "limits" not in cluster.status(last), "it is of the earlier build"
        values = read_back([cluster.address(last)], [each.key for each in written])
        assert [values[each.key] for each in written] == [each.value for each in written]
        load.await_acknowledged(WRITES)

        upgrade(cluster, last)
        wait_until("the feature level of this build", lambda: levels(cluster) == {FEATURE_LEVEL})
        load.await_acknowledged(WRITES)

    load.check()
    cluster.await_equal(cluster.ids)
    assert load.longest_pause_s() < FAILOVER_S
