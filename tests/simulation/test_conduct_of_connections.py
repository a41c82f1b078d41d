"""A connection whose end is not noticed, and one that more waits for than is allowed."""

from random import Random

import pytest

from kvraft.config import OnFollower
from kvraft.peers.acceptor import Inbounds
from kvraft.peers.link import OutboundConnection
from kvraft.raft import InvariantViolated
from kvraft.replica.forwarding import FORWARDING_LEVEL, Forwarding
from kvraft.simulation import Cluster
from kvraft.simulation.floods import flood
from kvraft.simulation.member import address_of


def restart_a_follower(cluster: Cluster) -> None:
    """Let its machine lose power, so that the others do not see the end of its connections, and start it again."""
    leader = cluster.elect()
    cluster.run_until(cluster.has_settled)
    cluster.restart((leader + 1) % 3, power=True)
    cluster.run(3.0)


def test_a_connection_that_is_replaced_is_lost() -> None:
    """And reported once."""
    restart_a_follower(Cluster(seed=1))


def test_a_connection_whose_loss_is_not_reported_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test breaks a rule on purpose: the connection is only dropped."""
    monkeypatch.setattr(Inbounds, "_drop", lambda self, peer: self._by_peer.pop(peer))

    with pytest.raises(InvariantViolated, match="is reported as lost 0 times: 1 is right"):
        restart_a_follower(Cluster(seed=1))


def _flood(cluster: Cluster) -> None:
    leader = cluster.elect()
    cluster.run_until(lambda: all(each.store.feature_level > 0 for each in cluster.running))
    cluster.run_until(cluster.has_settled)
    assert cluster.leader == leader
    flood(cluster, Random(1))


def test_a_link_to_a_member_that_does_not_read_is_given_up() -> None:
    """And made again when the member reads."""
    _flood(Cluster(seed=1))


def test_a_link_that_is_not_given_up_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test breaks a rule on purpose: more and more waits."""
    cluster = Cluster(seed=1)
    cluster.elect()
    monkeypatch.setattr(OutboundConnection, "abort", lambda _self: None)

    with pytest.raises(InvariantViolated, match="bytes wait for node"):
        _flood(cluster)


def test_a_request_that_waits_for_an_answer_on_a_lost_connection_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test breaks a rule on purpose: what was passed on does not learn of the loss."""

    def lose_the_leader() -> None:
        cluster = Cluster(seed=1, on_follower=OnFollower.FORWARD)
        leader = cluster.elect()
        cluster.run_until(lambda: all(each.store.feature_level >= FORWARDING_LEVEL for each in cluster.running))
        for member in cluster.running:
            member.faults.hangs = True
        cluster.client().ask(address_of((leader + 1) % 3), ["SET a 1"], lambda _answers: None)
        cluster.run(0.05)
        cluster.kill(leader)
        cluster.run(0.1)

    lose_the_leader()
    monkeypatch.setattr(Forwarding, "lost", lambda _self, _peer: None)
    with pytest.raises(InvariantViolated, match="1 requests that it has passed on there wait"):
        lose_the_leader()
