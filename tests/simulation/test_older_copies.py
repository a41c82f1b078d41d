"""The simulator notices a node that takes part with an older copy of its disk, or with an empty one."""

import pytest

from kvraft.peers.identity import Identity
from kvraft.raft import InvariantViolated, Node
from kvraft.replica import admission, initial_state
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


@pytest.mark.parametrize("nodes", [1, 2, 3, 5])
def test_a_node_with_an_empty_disk_ends(nodes: int) -> None:
    """The log binds its id to the data directory that is lost."""
    cluster = Cluster(seed=nodes, nodes=nodes)
    cluster.elect()
    cluster.run(1.0)
    older_copies.empty(cluster)


def test_a_node_that_takes_part_with_an_empty_disk_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It could vote twice in a term, and without what it has acknowledged; nobody asks which directory it has."""
    set_members = Identity.set_members
    monkeypatch.setattr(
        Identity, "set_members", lambda self, members, removed=(), _=None: set_members(self, members, removed)
    )
    monkeypatch.setattr(admission, "is_stranger", lambda _node: False)
    cluster = Cluster(seed=3)
    cluster.elect()
    cluster.run(1.0)

    with pytest.raises(InvariantViolated, match="the match index never goes back"):
        older_copies.empty(cluster)
