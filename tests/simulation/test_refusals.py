"""Which refusal is due: at once where a leadership has ended, none of it unknown where it was only handed on."""

import pytest

from kvraft.config import OnFollower
from kvraft.raft import InvariantViolated
from kvraft.replica.administration import Administration
from kvraft.replica.cluster_clock import ClusterClock
from kvraft.replica.forwarding import FORWARDING_LEVEL, Forwarding
from kvraft.replica.reads import Reads
from kvraft.simulation import Cluster
from kvraft.simulation.history import Action, History, Outcome
from kvraft.simulation.member import address_of
from kvraft.simulation.pace import ClusterTime
from kvraft.simulation.refusals import STOPPED_S, check_stopped
from kvraft.simulation.requests import UNKNOWN
from kvraft.simulation.workload import Client


def check(cluster: Cluster) -> None:
    """Hold the cluster's time against its leader's clock for half a second."""
    time = ClusterTime(cluster)
    cluster.run(0.5)
    time.check()


def ask_a_leader_that_is_cut_off(cluster: Cluster) -> History:
    """Let a reader wait at a leader that cannot confirm that it leads; return the history when it has its answer."""
    history = History(lambda: cluster.world.now)
    leader = cluster.elect()
    client = Client(0, cluster, history, 1.0, repeats=0.0)
    client.target = leader
    cluster.isolate(leader)
    client.ask([(Action.GET, "a", None)])
    cluster.run_until(lambda: client.is_idle, what="an answer")
    return history


def test_a_reader_is_told_when_its_leader_steps_down() -> None:
    """Well before the two seconds of a request are over."""
    cluster = Cluster(seed=1)

    (read,) = ask_a_leader_that_is_cut_off(cluster).operations

    assert (read.outcome, read.note) == (Outcome.FAILED, "NOT_LEADER")
    assert cluster.world.now - read.invoked < 1.0


def test_a_reader_that_is_not_told_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A moment after the step-down, and not when it runs into its timeout."""
    cluster = Cluster(seed=1)
    cluster.elect()
    monkeypatch.setattr(Reads, "carry_out", lambda _self, _ready, _store: None)

    with pytest.raises(InvariantViolated, match="NOT_LEADER is due"):
        ask_a_leader_that_is_cut_off(cluster)


@pytest.mark.parametrize("seed", range(1, 5))
def test_a_transfer_alone_leaves_nothing_unknown(seed: int) -> None:
    """Each write is carried out or certainly was not, with any leader meanwhile (row 43)."""
    cluster = Cluster(seed=seed)
    history = History(lambda: cluster.world.now)
    clients = [Client(number, cluster, history, 0.02, repeats=1.0) for number in range(3)]
    cluster.elect()
    for client in clients:
        client.begin()
    for _ in range(6):
        leader = cluster.elect()
        cluster.ask(leader, f"TRANSFER {(leader + 1) % 3}")
        cluster.run(0.3)
    for client in clients:
        client.stop()
    cluster.run_until(lambda: all(client.is_idle for client in clients), what="all answers")

    operations = history.operations
    assert sum(each.outcome is Outcome.OK for each in operations) > 50
    assert [each for each in operations if each.note == UNKNOWN] == []


def test_the_clusters_time_follows_the_leaders_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """At its pace: neither slower nor faster (row 28). The test breaks a rule on purpose: it stands still."""
    cluster = Cluster(seed=1)
    cluster.elect()
    cluster.run(1.0)
    check(cluster)
    stamp = ClusterClock.stamp
    monkeypatch.setattr(ClusterClock, "stamp", lambda self, _now: stamp(self, self._base_at))

    with pytest.raises(InvariantViolated, match=r"advances by 0\.000 s while the clock of its leader"):
        check(cluster)


def test_a_request_that_waits_on_at_its_own_leader_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A follower keeps it until there is a leader to pass it on to, and is elected itself."""
    cluster = Cluster(seed=1, on_follower=OnFollower.FORWARD)
    cluster.elect()
    cluster.run_until(lambda: all(each.store.feature_level >= FORWARDING_LEVEL for each in cluster.running))
    cluster.kill(cluster.elect())
    cluster.run_until(lambda: all(each.node.leader is None for each in cluster.running))
    client = cluster.client()
    for each in cluster.running:
        client.ask(address_of(each.id), ["SET a 1"], lambda _answers: None)
    monkeypatch.setattr(Forwarding, "look", lambda _self: None)

    with pytest.raises(InvariantViolated, match="wait there for a leader"):
        cluster.run(2.0)


def _stop_during_a_snapshot(cluster: Cluster) -> None:
    """Stop a node whose disk hangs while an operator waits there for a snapshot; look before its process ends."""
    member = cluster.members[cluster.elect()]
    member.faults.hangs = True
    cluster.client().ask(address_of(member.id), ["SNAPSHOT"], lambda _answers: None)
    cluster.run(0.1)
    assert member.assembly is not None
    cluster.world.at(cluster.world.now, member.machine, member.assembly.replica.stop)
    cluster.run(STOPPED_S)
    check_stopped(member, cluster.network)


def test_a_node_that_stops_leaves_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request that has reached it is answered before its process ends; one that is not is noticed."""
    _stop_during_a_snapshot(Cluster(seed=1))
    monkeypatch.setattr(Administration, "stop", lambda _self: None)

    with pytest.raises(InvariantViolated, match="1 of 2 requests of a connection wait on there"):
        _stop_during_a_snapshot(Cluster(seed=1))
