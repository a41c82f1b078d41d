"""What a cluster that is well lives through at the end: each scenario holds for every size of a cluster."""

from collections.abc import Callable
from random import Random

import pytest

from kvraft.raft import InvariantViolated, Node, transfer
from kvraft.simulation.cluster import Cluster, Stuck
from kvraft.simulation.encounters import meet_another_cluster, stop_in_order, transfer_in_vain
from tests.simulation.clusters import healthy


@pytest.mark.parametrize("nodes", [1, 3, 5])
@pytest.mark.parametrize("scenario", [stop_in_order, meet_another_cluster, transfer_in_vain])
def test_a_cluster_that_is_well_stands_it(scenario: Callable[[Cluster, Random], None], nodes: int) -> None:
    """A stop hands over to a member that lives, and another cluster disturbs no member, and writes go on."""
    for seed in range(4):
        cluster = healthy(seed, nodes)
        scenario(cluster, Random(seed))


def test_a_node_that_waits_to_be_added_meets_no_other_cluster() -> None:
    """It would join one that lists its id, and end because that cluster has a node of this id already."""
    cluster = healthy(3, 2)
    cluster.start(2)
    cluster.run(1.0)

    for seed in range(12):
        meet_another_cluster(cluster, Random(seed))

    assert cluster.members[2].is_running


def test_a_stop_without_a_successor_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the others would elect somebody in the end."""
    cluster = healthy(1)
    monkeypatch.setattr(Node, "best_successor", lambda _: None)

    with pytest.raises((Stuck, InvariantViolated)):
        stop_in_order(cluster, Random(0))


def test_a_transfer_that_does_not_end_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test breaks a rule on purpose: a transfer to a silent voter is never abandoned (row 23)."""
    monkeypatch.setattr(transfer, "give_up_when_late", lambda _node, _leader: None)

    with pytest.raises(InvariantViolated, match="accepts no writes"):
        transfer_in_vain(healthy(1), Random(0))
