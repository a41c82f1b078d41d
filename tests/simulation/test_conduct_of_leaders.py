"""A leader that refuses writes for too long, or stops leading without need, is noticed."""

import pytest

from kvraft.raft import InvariantViolated, Node, Ready, replication, transfer
from kvraft.raft.progress import Progress, State
from kvraft.simulation import Cluster
from kvraft.simulation.conduct import Before, Conduct


def hand_over_to_a_node_that_dies(cluster: Cluster) -> None:
    """Order a follower to stand, and kill it while its disk hangs."""
    leader = cluster.elect()
    target = (leader + 1) % 3
    cluster.run_until(cluster.has_settled)
    cluster.members[target].faults.hangs = True
    answers: list[object] = []
    cluster.client().ask(f"node{leader}.test:8080", [f"TRANSFER {target}"], answers.append)
    cluster.run(0.3)
    cluster.kill(target)
    cluster.run(3.0)


def test_a_transfer_to_a_node_that_dies_is_given_up() -> None:
    """At its deadline, since nothing can come of it any more."""
    hand_over_to_a_node_that_dies(Cluster(seed=1))


def test_a_transfer_that_goes_on_in_vain_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The leader refuses writes meanwhile (row 23)."""
    monkeypatch.setattr(transfer, "note_lost", lambda _leader, _peer: None)

    with pytest.raises(InvariantViolated, match="was to lead long ago"):
        hand_over_to_a_node_that_dies(Cluster(seed=1))


def test_a_leader_that_makes_way_without_need_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its disk hangs, and the only other node that answers has no majority without it (row 26)."""
    cluster = Cluster(seed=1)
    leader = cluster.elect()
    cluster.run_until(cluster.has_settled)
    cluster.kill((leader + 1) % 3)
    cluster.run(2.0)
    monkeypatch.setattr(transfer, "can_another_do_better", lambda node, role: role.overtaken_at == node.log.durable)
    cluster.members[leader].faults.hangs = True
    cluster.client().ask(f"node{leader}.test:8080", ["SET a 1"], lambda _answers: None)

    with pytest.raises(InvariantViolated, match="stops leading term"):
        cluster.run(8.0)


def test_a_leader_that_does_not_probe_again_at_once_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would probe again with a later heartbeat, and a late member would be level later."""
    rejected = Progress.rejected

    def reject_and_wait(self: Progress, prev_index: int, agreement: int) -> bool:
        done = rejected(self, prev_index, agreement)
        self.probing |= self.state is State.PROBE
        return done

    cluster = Cluster(seed=1)
    leader = cluster.elect()
    cluster.run_until(cluster.has_settled)
    late = (leader + 1) % 3
    cluster.kill(late)
    cluster.ask(leader, *(f"SET key{number} v" for number in range(5)))
    monkeypatch.setattr(Progress, "rejected", reject_and_wait)

    cluster.kill(leader)
    cluster.start(leader)
    cluster.start(late)
    with pytest.raises(InvariantViolated, match="waits with the next probe"):
        cluster.run(5.0)


def write_on_a_slow_disk(cluster: Cluster) -> None:
    """Write at a leader whose save comes after the answer of the only follower that runs."""
    leader = cluster.elect()
    cluster.run_until(cluster.has_settled)
    cluster.kill((leader + 1) % 3)
    cluster.members[leader].faults.delay_s = 0.05, 0.05
    cluster.ask(leader, "SET a 1")


def test_a_leader_that_does_not_count_its_own_save_in_time_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test breaks a rule on purpose: a leader looks for what is committed only when a member answers."""
    write_on_a_slow_disk(Cluster(seed=1))
    advance, advance_commit = Node.advance, replication.advance_commit

    def advance_alone(self: Node, ready: Ready) -> None:
        with monkeypatch.context() as patch:
            if len(self.membership.voters) > 1:
                patch.setattr(replication, "advance_commit", lambda *_: None)
            advance(self, ready)

    monkeypatch.setattr(Node, "advance", advance_alone)
    with pytest.raises(InvariantViolated, match="knows of a majority that has stored entry"):
        write_on_a_slow_disk(Cluster(seed=1))
    assert replication.advance_commit is advance_commit


def test_an_acknowledgement_of_what_was_not_compared_is_noticed() -> None:
    """A follower answers for the part of its log that is known to match the leader's (§5.3)."""
    cluster = Cluster(seed=1)
    follower = cluster.members[(cluster.elect() + 1) % 3]
    cluster.run_until(cluster.has_settled)
    conduct = Conduct(follower, follower.node, Before.of(follower.node))
    conduct.acked(follower.node.term, follower.node.match_index)

    with pytest.raises(InvariantViolated, match="and knows its log to match the leader's"):
        conduct.acked(follower.node.term, follower.node.match_index + 1)
