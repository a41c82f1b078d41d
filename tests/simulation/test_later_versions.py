"""The simulator notices a node that leaves out what a later kvraft has written."""

import pytest

from kvraft.simulation import later_versions
from kvraft.simulation.cluster import Cluster, Stuck
from kvraft.store import store


@pytest.mark.parametrize("nodes", [1, 3])
def test_nodes_end_that_do_not_know_a_command(nodes: int) -> None:
    """All of them, unless too few are left for the entry to be known as committed."""
    cluster = Cluster(seed=nodes, nodes=nodes)
    cluster.elect()
    later_versions.write_of_a_later_version(cluster)


def test_a_node_that_leaves_a_command_out_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A member with the command would come to another state."""
    monkeypatch.setattr(store, "UnknownOpcode", NotImplementedError)
    cluster = Cluster(seed=3)
    cluster.elect()
    with pytest.raises(Stuck, match="a command is unknown"):
        later_versions.write_of_a_later_version(cluster)
