"""Notifications of changed keys: each member's subscribers are told, also after the member had to skip changes."""

from random import Random

import pytest

from kvraft.config.values import History, Limits
from kvraft.server.resp.keyspace_events import KeyspaceEvents
from kvraft.simulation import Cluster, notifications
from kvraft.simulation.cluster import Stuck
from kvraft.store.history import HISTORY_LEVEL


def notify() -> None:
    """Cut a member off, of a cluster that keeps so little that the member needs a snapshot, and no history for it."""
    limits = Limits(log_bytes=3_000, log_kept_bytes=0, log_late_bytes=0, segment_bytes=2_048)
    cluster = Cluster(seed=3, limits=limits, history=History(revisions=0))
    cluster.elect()
    cluster.run_until(lambda: all(each.store.feature_level >= HISTORY_LEVEL for each in cluster.running))

    notifications.notify(cluster, Random(1))


def test_each_write_is_told_at_each_member() -> None:
    """Also at one that has installed a snapshot."""
    notify()


def test_subscribers_that_are_told_nothing_more_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test breaks a rule on purpose: a watch that has ended does not begin again."""
    monkeypatch.setattr(KeyspaceEvents, "closed", lambda self, _reason, _from: setattr(self, "_subscription", None))

    with pytest.raises(Stuck, match="a notification of"):
        notify()
