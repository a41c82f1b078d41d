"""What simulated clients do when a request fails."""

from kvraft.simulation import Cluster
from kvraft.simulation.history import Action, History, Outcome
from kvraft.simulation.workload import Client


def test_a_client_repeats_what_has_no_answer_and_both_stand_in_the_history() -> None:
    """The same write at another node; the outcome of the first one is unknown (row 13)."""
    cluster = Cluster(seed=1)
    leader = cluster.elect()
    history = History(lambda: cluster.world.now)
    client = Client(0, cluster, history, 1.0, repeats=1.0)
    client.target = leader
    cluster.isolate(leader)

    client.ask([(Action.SET, "a", "a-1")])
    cluster.run_until(lambda: cluster.leader not in {None, leader}, what="another leader")
    cluster.run_until(lambda: any(each.outcome is Outcome.OK for each in history.operations), what="an answer")

    first, *_, last = history.operations
    assert (first.outcome, last.outcome) == (Outcome.UNKNOWN, Outcome.OK)
    assert {(each.client, each.action, each.key, each.value) for each in history.operations} == {
        (0, Action.SET, "a", "a-1")
    }
    assert first.invoked < last.invoked


def test_a_client_gives_up_in_the_end() -> None:
    """Without a leader it makes no more than a few attempts."""
    cluster = Cluster(seed=1)
    leader = cluster.elect()
    history = History(lambda: cluster.world.now)
    client = Client(0, cluster, history, 1.0, repeats=1.0)
    for member in cluster.members.keys() - {leader}:
        cluster.kill(member)
    cluster.run(1.0)

    client.ask([(Action.GET, "a", None)])
    cluster.run(20.0)

    assert client.is_idle
    assert len(history.operations) == 4
    assert all(each.outcome is Outcome.FAILED for each in history.operations)
