"""The simulator notices a node that is slower when it leads after the faults than the first leader was before them."""

import pytest

from kvraft.replica.proposals import Proposals
from kvraft.simulation.cluster import Cluster, Stuck
from kvraft.simulation.pace import Pace


def test_a_healthy_cluster_is_as_quick_afterwards() -> None:
    """Also after a leader was cut off, and with every voter as leader in turn."""
    cluster = Cluster(seed=3)
    pace = Pace(cluster)
    pace.begin()
    cluster.isolate(cluster.elect())
    cluster.run(1.0)
    cluster.heal()

    pace.compare()


def test_a_node_that_waits_for_nobody_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes that count as under way for ever make each small write wait for their company."""
    cluster = Cluster(seed=3)
    pace = Pace(cluster)
    pace.begin()
    monkeypatch.setattr(Proposals, "submission_count", 10)

    with pytest.raises(Stuck, match="a write alone at node 0 takes"):
        pace.compare()
