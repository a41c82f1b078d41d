"""A leader that refuses writes for too long, or stops leading without need, is noticed."""

import pytest

from kvraft.raft import InvariantViolated, transfer
from kvraft.raft.progress import Progress, State
from kvraft.simulation import Cluster


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
