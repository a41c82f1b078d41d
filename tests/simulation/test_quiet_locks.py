"""Locks of clients that leave, and a lock that alone is held, in a healthy simulated cluster."""

import pytest

from kvraft.commands import AcquireLock
from kvraft.commands.expiry import SECOND_US
from kvraft.config import OnFollower
from kvraft.raft import InvariantViolated
from kvraft.replica import expiry
from kvraft.replica.forwarding import FORWARDING_LEVEL
from kvraft.replica.lock_waits import LockWaits, Wait
from kvraft.simulation import Cluster
from kvraft.simulation.cluster import Stuck
from kvraft.simulation.quiet_locks import LEFT_S, keep_time, leave_a_queue, leave_before_a_grant


@pytest.mark.parametrize("on_follower", OnFollower)
def test_a_place_that_nobody_wants_any_more_is_noticed(
    on_follower: OnFollower, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request of a client that has left is withdrawn at once, also through a member that has passed it on."""
    cluster = Cluster(seed=2, on_follower=on_follower)
    cluster.elect()
    cluster.run_until(lambda: all(each.store.feature_level >= FORWARDING_LEVEL for each in cluster.running))
    leave_a_queue(cluster)
    cluster.run(LEFT_S + 1.0)
    monkeypatch.setattr(Wait, "give_up", lambda _self: None)

    with pytest.raises(Stuck, match="the end of the wait of a client that has gone"):
        leave_a_queue(cluster)


def test_a_time_that_stands_still_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test breaks a rule on purpose: the leader writes a stamp only when something expires (row 28)."""
    cluster = Cluster(seed=2)
    cluster.elect()
    cluster.run_until(lambda: all(each.store.feature_level >= AcquireLock.LEVEL for each in cluster.running))
    keep_time(cluster)
    monkeypatch.setattr(expiry, "TICK_US", 60 * SECOND_US)

    with pytest.raises(InvariantViolated, match="the log's time goes on by"):
        keep_time(cluster)


def test_a_lock_that_is_kept_for_a_client_that_left_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test breaks a rule on purpose: a lock is not released whose client has gone before it was granted."""
    cluster = Cluster(seed=2)
    cluster.elect()
    cluster.run_until(lambda: all(each.store.feature_level >= AcquireLock.LEVEL for each in cluster.running))
    leave_before_a_grant(cluster)
    monkeypatch.setattr(LockWaits, "withdraw", lambda _self, _wait: None)

    with pytest.raises(Stuck, match="whose client has gone before it was granted"):
        leave_before_a_grant(cluster)
