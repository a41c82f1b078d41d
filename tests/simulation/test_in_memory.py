"""Runs of nodes that keep everything in memory: one at a time may lose it, and nothing that was answered is lost."""

from kvraft.simulation import Cluster
from kvraft.simulation.faults import kill_all
from kvraft.simulation.nemesis import Nemesis
from kvraft.simulation.run import Plan, run


def test_runs_in_memory_are_clean() -> None:
    """With processes that end all the time."""
    for seed in range(3):
        verdict = run(Plan(seed, nodes=3, seconds=5, faults=["processes", "leaders"], forgets=True))
        assert verdict.is_clean, verdict
        assert sum(verdict.strikes.values()) > 0


def test_the_same_seed_gives_the_same_run_in_memory() -> None:
    """The names of memories are drawn, too."""
    plan = Plan(3, nodes=3, seconds=3, forgets=True)

    assert run(plan).digest == run(plan).digest


def test_a_node_that_comes_back_has_lost_its_memory_and_gets_it_back() -> None:
    """It votes again when it holds what it has acknowledged."""
    cluster = Cluster(seed=2, forgets=True)
    leader = cluster.elect()
    assert cluster.ask(leader, "SET a 1") == [{"status": "OK"}]

    cluster.restart(leader)
    assert not cluster.members[leader].node.voting
    assert cluster.members[leader].node.log.last_index == 0
    cluster.elect()
    cluster.run_until(lambda: cluster.members[leader].node.voting, what="its vote")
    cluster.run_until(cluster.has_settled, what="one state on all members")

    assert cluster.ask(cluster.elect(), "GET a") == [{"value": "1"}]


def test_a_second_node_may_not_lose_its_memory_meanwhile() -> None:
    """Three nodes that end at once would lose what they have acknowledged, as this mode says."""
    cluster = Cluster(seed=2, forgets=True)
    nemesis = Nemesis(cluster, ())
    cluster.elect()
    cluster.run_until(lambda: cluster.may_lose_one, what="the votes of all")

    kill_all(nemesis)

    assert len(cluster.running) == 2
