"""Clusters that are disturbed from their first moment: a leader comes about, and one that could not is noticed."""

from typing import Final

import pytest

from kvraft.raft import InvariantViolated, Node, identity
from kvraft.simulation import Cluster
from kvraft.simulation.births import Birth
from kvraft.simulation.cluster import Stuck
from kvraft.simulation.nemesis import Nemesis

DEAD: Final = 2
"""A seed whose two nodes elect no leader where a founder has no vote in a later term."""


def go_through_birth(seed: int, nodes: int) -> Cluster:
    """Disturb the birth of a cluster."""
    cluster = Cluster(seed, nodes)
    Birth(Nemesis(cluster, []), cluster.world.random("birth")).go_through()
    return cluster


@pytest.mark.parametrize("nodes", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(1, 6))
def test_restarts_and_cuts_in_its_first_seconds_leave_a_cluster_that_lives(seed: int, nodes: int) -> None:
    """Whatever was stored and received by then, a leader is elected when it is over, and it stores a write."""
    cluster = go_through_birth(seed, nodes)
    leader = cluster.leader
    assert leader is not None

    assert cluster.ask(leader, "SET a 1") == [{"status": "OK"}]


def test_a_cluster_that_is_dead_from_its_birth_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test breaks a rule on purpose: a founder has its vote only in the term in which it has voted.

    So no leader is ever elected.
    """
    has_vote = identity._has_vote

    def has_vote_in_this_term(node: Node) -> bool:
        return has_vote(node) and not (node.term > 0 and node.vote is None and node.log.last_index == 0)

    monkeypatch.setattr(identity, "_has_vote", has_vote_in_this_term)
    with pytest.raises(Stuck):
        go_through_birth(DEAD, 2)


def test_who_takes_part_in_a_birth_without_one_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node with a report of a log with entries is no founder. The test breaks a rule on purpose: it is one."""
    monkeypatch.setattr(identity, "_is_birth", lambda _node: True)
    with pytest.raises(InvariantViolated, match="neither its disk nor another node says so"):
        Cluster(1, 3).elect()
