"""A vote that is withheld, a vote that is regained too early, and other mistakes of elections and leaders."""

import pytest

from kvraft.raft import InvariantViolated, Node, changes, election
from kvraft.raft.log import Log
from kvraft.raft.progress import Progress
from kvraft.replica.rejoin import Rejoin
from kvraft.simulation import Cluster


def elect_another(cluster: Cluster) -> None:
    """Kill the leader."""
    leader = cluster.elect()
    cluster.run_until(cluster.has_settled)
    cluster.kill(leader)
    cluster.elect()


def test_a_vote_that_is_withheld_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test breaks a rule on purpose: only a longer log counts as up to date (§5.4.1)."""
    elect_another(Cluster(seed=1))
    cluster = Cluster(seed=1)
    cluster.elect()
    monkeypatch.setattr(Log, "is_up_to_date", lambda self, index, _term: index > self.last_index)

    with pytest.raises(InvariantViolated, match="a pre-vote for term"):
        elect_another(cluster)


def test_a_follower_that_waits_long_after_its_leader_is_lost_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test breaks a rule on purpose: it waits as if nothing but silence said so."""
    monkeypatch.setattr(election, "delay_after_loss", lambda node, _lost: node.options.election_timeout_max)

    with pytest.raises(InvariantViolated, match="which led, and asks for votes in"):
        elect_another(Cluster(seed=1))


def lose_a_memory(cluster: Cluster) -> None:
    """Restart a follower that keeps its data in memory, after some writes."""
    leader = cluster.elect()
    cluster.run_until(cluster.has_settled)
    cluster.ask(leader, *(f"SET key{number} v" for number in range(20)))
    follower = (leader + 1) % 3
    cluster.restart(follower)
    cluster.run_until(lambda: cluster.members[follower].node.voting)


def test_a_node_without_its_data_does_not_vote_in_the_present_term(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test breaks a rule on purpose: it only gets its vote back."""
    lose_a_memory(Cluster(seed=1, forgets=True))
    cluster = Cluster(seed=1, forgets=True)
    cluster.elect()
    monkeypatch.setattr(Node, "regain_vote", lambda self: setattr(self, "voting", True))

    with pytest.raises(InvariantViolated, match="in which it may have voted"):
        lose_a_memory(cluster)


def test_a_node_without_its_data_does_not_vote_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test breaks a rule on purpose: it votes as soon as it follows a leader."""
    cluster = Cluster(seed=1, forgets=True)
    cluster.elect()
    monkeypatch.setattr(Rejoin, "_has_caught_up", property(lambda self: self._node.leader is not None))

    with pytest.raises(InvariantViolated, match="and may vote again"):
        lose_a_memory(cluster)


def add_a_node_under_load(cluster: Cluster) -> None:
    """Add one while clients write."""
    leader = cluster.elect()
    cluster.run_until(cluster.has_settled)
    cluster.start(3)
    cluster.ask(leader, "MEMBER ADD 3 node3.test:8080")
    for _ in range(50):
        cluster.client().ask(f"node{leader}.test:8080", ["SET a 1"], lambda _answers: None)
        cluster.run(0.01)


def test_a_round_of_catching_up_that_goes_on_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test breaks a rule on purpose: no round ends (thesis §4.2.1)."""
    add_a_node_under_load(Cluster(seed=1))
    ends = changes._ends_round

    def never_ends(node: Node, progress: Progress) -> bool:
        return progress.round_end == 0 and ends(node, progress)

    monkeypatch.setattr(changes, "_ends_round", never_ends)

    with pytest.raises(InvariantViolated, match="lets a round of node 3 go on"):
        add_a_node_under_load(Cluster(seed=1))
