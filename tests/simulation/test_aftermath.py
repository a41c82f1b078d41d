"""What an operator may do to a cluster that is well: each scenario holds for every size of a cluster."""

from collections.abc import Callable
from random import Random

import pytest

from kvraft.raft import replication, transfer
from kvraft.simulation.aftermath import SCENARIOS, remove_the_leader, say_goodbye
from kvraft.simulation.cluster import Cluster, Stuck
from tests.simulation.clusters import healthy


@pytest.mark.parametrize("nodes", [1, 2, 3, 5])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_cluster_that_is_well_stands_it(scenario: Callable[[Cluster, Random], None], nodes: int) -> None:
    """A move into a dead end is refused, a cluster that has moved has a leader, a copy takes no part, and so on."""
    for seed in range(2):
        cluster = healthy(seed, nodes)
        scenario(cluster, Random(seed))


def test_a_removal_of_which_the_removed_node_is_not_told_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would learn of it much later, from those that refuse it."""
    cluster = healthy(1, 3)
    monkeypatch.setattr(replication, "send_last_words", lambda *_: None)

    with pytest.raises(Stuck, match="the last message to node"):
        say_goodbye(cluster, Random(1))


def test_a_leader_that_leaves_without_a_successor_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others would wait for an election timeout."""
    cluster = healthy(1, 3)
    monkeypatch.setattr(transfer, "order_successor", lambda *_: None)

    with pytest.raises(Stuck, match="the successor of a leader that was removed"):
        remove_the_leader(cluster, Random(1))
