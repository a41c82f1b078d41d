"""The simulator notices a node that takes part with an older copy of its disk."""

import pytest

from kvraft.raft import InvariantViolated, Node
from kvraft.replica import initial_state
from kvraft.simulation import older_copies
from kvraft.simulation.cluster import Cluster, Stuck


@pytest.mark.parametrize("nodes", [1, 2, 3, 5])
def test_a_node_with_an_older_copy_ends(nodes: int) -> None:
    """A member that counted its acknowledgements, or has them from another, informs it; and once is enough."""
    cluster = Cluster(seed=nodes, nodes=nodes)
    cluster.elect()
    older_copies.put_back(cluster)


def test_a_node_that_follows_with_an_older_copy_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No member informs it, so it is brought up to date and takes part as if it had lost nothing."""
    monkeypatch.setattr(Node, "acknowledged_by", lambda _node, _peer: None)
    cluster = Cluster(seed=3)
    cluster.elect()
    with pytest.raises(Stuck, match="with an older copy did not come about"):
        older_copies.put_back(cluster)


def test_a_node_that_forgets_that_it_has_an_older_copy_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the mark it would take part when the members with its acknowledgements are gone."""
    monkeypatch.setattr(initial_state, "mark_outdated", lambda *_, **__: None)
    cluster = Cluster(seed=3)
    cluster.elect()
    with pytest.raises(InvariantViolated, match="is started again"):
        older_copies.put_back(cluster)
