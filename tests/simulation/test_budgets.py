"""The simulator counts what a cluster that is well spends, and notices waste."""

from random import Random

import pytest

from kvraft.raft import InvariantViolated, replication
from kvraft.raft.progress import Progress
from kvraft.replica.proposals import Proposals
from kvraft.replica.replica import Replica
from kvraft.simulation import Cluster, at_rest
from kvraft.simulation.budgets import Budgets
from kvraft.simulation.member import address_of
from kvraft.storage import Journal
from kvraft.storage.snapshot_files import Draft
from kvraft.store import chunks
from tests.simulation.clusters import healthy


def a_cluster_at_rest(nodes: int = 3, seed: int = 1) -> Cluster:
    """Return a healthy cluster without clients."""
    cluster = healthy(seed, nodes)
    at_rest.settle(cluster)
    return cluster


@pytest.mark.parametrize("nodes", [1, 2, 3, 5])
def test_a_cluster_that_is_well_keeps_to_them(nodes: int) -> None:
    """Of every size, and whether another leads when the late member is back or not."""
    for seed in range(4):
        Budgets(a_cluster_at_rest(nodes, seed), Random(seed)).hold()


def test_more_messages_than_needed_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two heartbeats instead of one."""
    cluster = a_cluster_at_rest()
    once = replication.broadcast_heartbeat
    monkeypatch.setattr(replication, "broadcast_heartbeat", lambda *what: [once(*what), once(*what)])

    with pytest.raises(InvariantViolated, match="messages in 1 s without requests"):
        Budgets(cluster, Random(1)).hold()


def test_turns_that_do_nothing_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test breaks a rule on purpose: a timer fires all the time."""
    cluster = a_cluster_at_rest()
    arm = Replica._arm_timer

    def arm_another(self: Replica, now: float) -> None:
        arm(self, now)
        self._clock.callLater(0.002, self.run)

    monkeypatch.setattr(Replica, "_arm_timer", arm_another)

    with pytest.raises(InvariantViolated, match=r"events of node \d in 1 s without requests"):
        Budgets(cluster, Random(1)).hold()


def test_a_snapshot_that_becomes_due_is_no_waste(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of its chunks is an event of the node that takes it."""
    monkeypatch.setattr(chunks, "CHUNK_ITEMS_FULL", 1)
    cluster = a_cluster_at_rest()
    leader = cluster.members[cluster.elect()]
    for first in range(0, 200, 50):
        cluster.ask(leader.id, *(f"SET key{first + each} v" for each in range(50)))
    cluster.run_until(cluster.has_settled, what="one state on all members")
    answers: list[object] = []
    asker = cluster.client()
    cluster.world.at(cluster.world.now + 0.5, None, asker.ask, address_of(leader.id), ["SNAPSHOT"], answers.append)

    Budgets(cluster, Random(1)).hold()

    assert "OK" in str(answers)


def test_syncs_that_make_nothing_durable_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test breaks a rule on purpose: each save is synced twice."""
    cluster = a_cluster_at_rest()
    once = Journal._write_and_sync

    def twice(journal: Journal, save: bytes) -> None:
        once(journal, save)
        journal._file.fdatasync()

    monkeypatch.setattr(Journal, "_write_and_sync", twice)

    with pytest.raises(InvariantViolated, match="syncs for 5 writes"):
        Budgets(cluster, Random(1)).hold()


def test_a_place_that_is_looked_for_one_by_one_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The new leader does not know what the late member has, and learns it from its first rejection."""
    rejected = Progress.rejected
    monkeypatch.setattr(Progress, "rejected", lambda self, index, _: rejected(self, index, index))
    cluster = a_cluster_at_rest()
    random = Random(1)
    monkeypatch.setattr(random, "random", lambda: 0.0)  # another leads by then

    with pytest.raises(InvariantViolated, match="denials until a member is level"):
        Budgets(cluster, random).hold()


def test_entries_that_hold_fewer_writes_than_they_could_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test breaks a rule on purpose: no write waits for others while many are in flight."""
    cluster = a_cluster_at_rest()
    monkeypatch.setattr(Proposals, "delay_until", lambda _self, _waiting: float("-inf"))

    with pytest.raises(InvariantViolated, match="entries for 2 writes that come while 10 are in flight"):
        Budgets(cluster, Random(1)).hold()


def test_a_snapshot_that_is_synced_too_often_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test breaks a rule on purpose: each of its chunks is synced."""
    monkeypatch.setattr(chunks, "CHUNK_ITEMS_FULL", 1)
    cluster = a_cluster_at_rest()
    cluster.ask(cluster.elect(), *(f"SET key{each} v" for each in range(10)))
    append = Draft.append

    def append_and_sync(self: Draft, data: bytes) -> None:
        append(self, data)
        self.file.fdatasync()

    monkeypatch.setattr(Draft, "append", append_and_sync)

    with pytest.raises(InvariantViolated, match="syncs of a snapshot"):
        Budgets(cluster, Random(1)).hold()
