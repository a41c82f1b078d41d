"""Requests that are proposed after their answer, refused too surely, sent on twice, or answered from an old state."""

from random import Random
from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from kvraft.config import OnFollower
from kvraft.raft import InvariantViolated
from kvraft.replica import forwarding
from kvraft.replica.forwarding import FORWARDING_LEVEL, Passed
from kvraft.replica.local_reads import LocalReads
from kvraft.replica.proposals import Proposals
from kvraft.replica.redirects import Redirects
from kvraft.replica.submissions import WriteQueue
from kvraft.simulation import Cluster
from kvraft.simulation.cluster import LIMITS
from kvraft.simulation.conduct_of_requests import watch_uncertain
from kvraft.simulation.member import address_of
from kvraft.simulation.reads_on_followers import read_far_away
from tests.replica.test_forwarding import ready_cluster
from tests.replica.test_proposed_twice import write_twice


def write_at_a_leader_with_a_hung_disk(cluster: Cluster) -> None:
    """Let writes wait at it until they are answered, and mend the disk."""
    leader = cluster.members[cluster.elect()]
    cluster.run_until(cluster.has_settled)
    leader.faults.hangs = True
    for delay_s in (0.0, 0.01, 0.02):
        cluster.run(delay_s)
        cluster.client().ask(address_of(leader.id), ["SET a 1"], lambda _answers: None)
    cluster.run(0.1)
    leader.resume_disk()
    cluster.run(1.0)


def test_a_write_that_was_answered_is_not_proposed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test breaks a rule on purpose: whatever waits is proposed."""
    limits = attrs.evolve(LIMITS, request_timeout_ms=100)
    write_at_a_leader_with_a_hung_disk(Cluster(seed=1, limits=limits))
    monkeypatch.setattr(WriteQueue, "take", lambda self, _bytes_max: self.take_all())

    with pytest.raises(InvariantViolated, match="that were answered before"):
        write_at_a_leader_with_a_hung_disk(Cluster(seed=1, limits=limits))


def write_alone(cluster: Cluster) -> tuple[int, int]:
    """Let a leader take a write that no other member has, and another one be elected; return both."""
    leader = cluster.elect()
    cluster.run_until(cluster.has_settled)
    cluster.isolate(leader)
    cluster.client().ask(address_of(leader), ["SET a 1"], lambda _answers: None)
    cluster.run_until(lambda: cluster.leader not in {None, leader})
    successor = cluster.leader
    assert successor is not None
    return leader, successor


def overwrite_a_write(cluster: Cluster) -> None:
    """Let a leader take a write that no other member has, and follow another one that has not committed anything."""
    leader, successor = write_alone(cluster)
    cluster.heal()
    cluster.partition({leader, successor}, {0, 1, 2} - {leader, successor})
    cluster.run(1.0)


def test_an_overwritten_write_is_not_refused_for_certain_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test breaks a rule on purpose: it is always certain."""
    overwrite_a_write(Cluster(seed=1))

    def refuse(self: Redirects, proposals: Proposals) -> None:
        for _, batch in proposals.overwritten(self._node.log):
            batch.refuse(self.error())

    monkeypatch.setattr(Redirects, "refuse_overwritten", refuse)

    with pytest.raises(InvariantViolated, match="of what it has proposed as entry"):
        overwrite_a_write(Cluster(seed=1))


def cover_a_write(cluster: Cluster) -> None:
    """Let a leader take a write that no other member has, and install a snapshot of the next leader."""
    leader, successor = write_alone(cluster)
    for _ in range(60):
        cluster.ask(successor, f"SET key {'v' * 100}")
    cluster.ask(successor, "SNAPSHOT")
    for each in {0, 1, 2} - {leader}:  # else it gets the first entry of the new term, which was sent before
        cluster.network.break_connections(cluster.members[leader].machine, cluster.members[each].machine)
    cluster.heal()
    cluster.run_until(cluster.has_settled, at_most=30.0)


def test_a_write_that_a_snapshot_covers_is_not_refused_for_certain(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test breaks a rule on purpose: such a write counts as one that has not happened."""
    limits = attrs.evolve(LIMITS, log_late_bytes=0, request_timeout_ms=60_000)
    cover_a_write(Cluster(seed=2, limits=limits))

    def refuse(self: Redirects, proposals: Proposals, index: int) -> None:
        for batch in proposals.take_up_to(index):
            batch.refuse(self.error())

    monkeypatch.setattr(Redirects, "refuse_covered", refuse)

    with pytest.raises(InvariantViolated, match="and the snapshot up to that entry may hold it"):
        cover_a_write(Cluster(seed=2, limits=limits))


def write_through_a_follower(cluster: Cluster) -> None:
    """Let a follower pass a write on to a leader that is stopped before it can answer."""
    leader = cluster.elect()
    cluster.run_until(lambda: all(each.store.feature_level >= FORWARDING_LEVEL for each in cluster.running))
    cluster.run_until(cluster.has_settled)
    for each in {0, 1, 2} - {leader}:
        cluster.network.block(cluster.members[leader].machine, cluster.members[each].machine)
        cluster.client().ask(address_of(each), ["INCR n"], lambda _answers: None)
    cluster.run(0.05)
    cluster.kill(leader)
    cluster.heal()
    cluster.run(2.0)


def test_a_write_is_sent_on_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test breaks a rule on purpose: every request counts as safe to repeat."""
    write_through_a_follower(Cluster(seed=1, on_follower=OnFollower.FORWARD))
    monkeypatch.setattr(Passed, "is_safe_to_repeat", property(lambda _self: True))

    with pytest.raises(InvariantViolated, match="may have carried it out"):
        write_through_a_follower(Cluster(seed=1, on_follower=OnFollower.FORWARD))


def read_at_a_follower() -> None:
    """Send reads to a follower that is far from its leader."""
    cluster = Cluster(seed=1, on_follower=OnFollower.FORWARD)
    cluster.elect()
    cluster.run_until(lambda: all(each.store.feature_level >= FORWARDING_LEVEL for each in cluster.running))
    read_far_away(cluster, Random(1))


def test_a_read_is_not_answered_from_an_earlier_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test breaks a rule on purpose: what the leader says counts from its answer on, not from the question."""
    read_at_a_follower()
    told = LocalReads._told

    def told_late(self: LocalReads, outcome: object) -> None:
        self._asked_at = self._clock.seconds()
        told(self, outcome)  # type: ignore[arg-type]

    monkeypatch.setattr(LocalReads, "_told", told_late)

    with pytest.raises(InvariantViolated, match="was applied when the read arrived"):
        read_at_a_follower()


def test_what_an_earlier_leader_may_have_done_is_not_refused_for_certain(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test breaks a rule on purpose: nobody notes that a leader was lost before it could answer."""

    def objections() -> list[InvariantViolated]:
        found: list[InvariantViolated] = []
        cluster = ready_cluster()
        for member in cluster.members.values():
            assembly: Any = SimpleNamespace(replica=member.replica)
            watch_uncertain(assembly, found.append)
        write_twice(cluster)
        return found

    assert objections() == []
    monkeypatch.setattr(forwarding, "_note_lost", lambda _passed: None)

    assert "which has not said what became of it" in str(objections())
