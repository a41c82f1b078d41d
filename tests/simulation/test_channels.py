"""Published messages reach each subscriber at each member once and in order, and a lost or doubled one is noticed."""

from random import Random

import pytest

from kvraft.peers.forwarded import Published
from kvraft.raft import InvariantViolated
from kvraft.replica.publishing import PUBLISHING_LEVEL, Publishing
from kvraft.simulation import Cluster, channels
from kvraft.simulation.cluster import Stuck


def publish() -> None:
    """Publish at all members of a new cluster."""
    cluster = Cluster(seed=3)
    cluster.elect()
    cluster.run_until(lambda: all(each.store.feature_level >= PUBLISHING_LEVEL for each in cluster.running))
    channels.publish(cluster, Random(1))


def test_published_messages_arrive() -> None:
    """At every member, those of each publisher in their order."""
    publish()


def test_a_lost_message_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Members do not take what others publish."""
    monkeypatch.setattr(Publishing, "received", lambda _self, _published: None)

    with pytest.raises(Stuck, match="each of 18 published messages at each member"):
        publish()


def test_a_doubled_message_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message is sent to a member twice."""
    received = Publishing.received

    def take_twice(self: Publishing, published: Published) -> None:
        received(self, published)
        received(self, published)

    monkeypatch.setattr(Publishing, "received", take_twice)

    with pytest.raises(InvariantViolated, match="were published"):
        publish()
