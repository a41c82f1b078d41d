"""A leader keeps cluster time going while a key can expire, and removes keys that have: never early, and soon."""

from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvraft.commands import (
    Expire,
    Operation,
    Set,
    expire_key,
    grant_lease,
    persist_key,
    renew_lease,
    revoke_lease,
    time_to_live,
    transact,
)
from kvraft.commands.expiry import EXPIRED_KEYS_MAX, SECOND_US
from kvraft.commands.transactions import Put
from kvraft.replica.expiry import GAP_S, TICK_US
from kvraft.replica.options import ReplicaOptions
from kvraft.store import FEATURE_LEVEL
from tests.replica.cluster import Cluster, read, remove, write

LATE_S: Final = 1.0
"""A key is there at most so long after its deadline, while somebody leads."""
IDLE_S: Final = 10.0


def ready_cluster(seed: int = 0) -> Cluster:
    """Return a cluster that has come to the highest feature level."""
    cluster = Cluster(seed=seed)
    cluster.settle()
    cluster.run_until(lambda: all(member.store.feature_level == FEATURE_LEVEL for member in cluster.running))
    cluster.run(1.0)
    return cluster


def expire(key: str, seconds: float) -> Operation:
    """Return an EXPIRE."""
    return expire_key(key.encode(), round(seconds * SECOND_US))


def applied(cluster: Cluster) -> int:
    """Return how far the log goes."""
    return max(member.store.applied_index for member in cluster.running)


def is_gone(cluster: Cluster, key: str) -> bool:
    """Whether a read of the leader finds nothing."""
    return cluster.do(read(key)) == [None]


def test_a_key_expires_in_an_idle_cluster() -> None:
    """It is there until its time has passed, and gone at once afterwards, on every member, without a write."""
    cluster = ready_cluster()
    began = cluster.clock.seconds()
    cluster.do(write("a"), expire("a", 3.0))
    answered = cluster.clock.seconds()

    while cluster.clock.seconds() < began + 2.95:
        assert not is_gone(cluster, "a")
        cluster.run(0.1)
    cluster.run_until(lambda: is_gone(cluster, "a"), at_most=LATE_S)

    assert cluster.clock.seconds() >= began + 3.0
    assert cluster.clock.seconds() <= answered + 3.0 + GAP_S + 0.05
    cluster.run(1.0)
    assert [member.store.key_count for member in cluster.running] == [0, 0, 0]
    cluster.check()


def test_nothing_is_written_while_no_key_can_expire() -> None:
    """Neither before the first nor after the last has expired, been deleted or been made persistent."""
    cluster = ready_cluster()
    cluster.do(write("a"), write("b"), write("c"))
    for ends in ([], [expire("a", 0.5)], [expire("b", 60.0), remove("b")], [expire("c", 60.0), persist_key(b"c")]):
        if ends:
            cluster.do(*ends)
        cluster.run(2.0)
        before = applied(cluster)
        cluster.run(IDLE_S)
        assert applied(cluster) == before


def test_time_is_written_twice_a_second_while_a_key_can_expire() -> None:
    """No member's cluster time lags by more than a tick, and no more is written than that takes."""
    cluster = ready_cluster()
    cluster.do(write("a"), expire("a", 3600.0))
    before, began = applied(cluster), cluster.clock.seconds()
    stamp = max(member.store.cluster_time for member in cluster.running)

    for _ in range(100):
        cluster.run(0.1)
        passed = (cluster.clock.seconds() - began) * SECOND_US
        assert stamp + passed - min(member.store.cluster_time for member in cluster.running) <= TICK_US + 100_000

    assert applied(cluster) - before <= IDLE_S * SECOND_US / TICK_US
    cluster.check()


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1_000), st.lists(st.floats(0.0, 1.5), min_size=1, max_size=3))
def test_changes_of_leaders_make_no_key_early_and_few_late(seed: int, waits: list[float]) -> None:
    """Each costs the time without a leader and at most a tick, however long the key has lived already (row 28)."""
    cluster = ready_cluster(seed=seed)
    began = cluster.clock.seconds()
    cluster.do(write("a"), expire("a", 8.0))
    leaderless = 0.0
    for wait in waits:
        cluster.run(wait)
        leader = cluster.settle()
        cut = cluster.clock.seconds()
        cluster.isolate(leader, noticed=True)
        cluster.await_other_leader(leader)
        cluster.do(write("other"))
        leaderless += cluster.clock.seconds() - cut
        cluster.heal()
    assert not is_gone(cluster, "a")
    cluster.run_until(lambda: is_gone(cluster, "a"), at_most=20.0)

    passed = cluster.clock.seconds() - began
    assert 8.0 <= passed <= 8.0 + leaderless + len(waits) * TICK_US / SECOND_US + LATE_S
    cluster.check()


def test_a_leader_that_is_cut_off_removes_nothing_that_was_renewed() -> None:
    """It reaches the deadline alone, and its removal is never committed; the key lives as the new leader has it."""
    cluster = ready_cluster()
    cluster.do(write("a"), expire("a", 1.0))
    old = cluster.settle()
    cluster.isolate(old)
    cluster.await_other_leader(old)
    cluster.do(expire("a", 30.0))
    cluster.run(3.0)
    cluster.heal()
    cluster.run(3.0)

    assert not is_gone(cluster, "a")
    cluster.settle()
    cluster.check()


def test_the_time_left_is_that_of_now() -> None:
    """TTL goes down between two stamps as well."""
    cluster = ready_cluster()
    cluster.do(write("a"), expire("a", 5.0))
    began = cluster.clock.seconds()

    for _ in range(20):
        cluster.run(0.07)
        (left,) = cluster.do(time_to_live(b"a"))
        assert isinstance(left, int)
        assert left / SECOND_US == pytest.approx(5.0 - (cluster.clock.seconds() - began), abs=0.02)


def test_many_keys_that_expire_together_go_in_entries_of_bounded_size() -> None:
    """One entry follows the other until all have gone; keys that expire one shortly after the other share entries."""
    cluster = ready_cluster()
    keys = [b"%d" % number for number in range(3 * EXPIRED_KEYS_MAX)]
    cluster.do(*(Set(key, b"") for key in keys), *(Expire(key, SECOND_US) for key in keys))
    cluster.run(1.2)
    assert [member.store.key_count for member in cluster.running] == [0, 0, 0]

    before = applied(cluster)
    cluster.do(*(Set(key, b"") for key in keys[:300]))
    cluster.do(*(Expire(key, SECOND_US + 1_000 * number) for number, key in enumerate(keys[:300])))
    cluster.run(1.8)
    assert [member.store.key_count for member in cluster.running] == [0, 0, 0]
    assert applied(cluster) - before <= 2 + 2 + 0.3 / GAP_S + 2
    cluster.check()


def test_a_lease_ends_in_an_idle_cluster_and_not_while_it_is_renewed() -> None:
    """Its keys are there as long as somebody renews it, over a change of leaders too, and go soon afterwards."""
    cluster = ready_cluster()
    put = transact([], [Put(b"a", b"v", 0, 1)])
    cluster.do(grant_lease(2 * SECOND_US), put)
    for renewal in range(4):
        cluster.run(1.5)
        if renewal == 2:
            old = cluster.settle()
            cluster.isolate(old, noticed=True)
            cluster.await_other_leader(old)
        assert cluster.do(renew_lease(1)) == [2 * SECOND_US]
    cluster.heal()
    renewed = cluster.clock.seconds()

    cluster.run(1.8)
    assert not is_gone(cluster, "a")
    cluster.run_until(lambda: is_gone(cluster, "a"), at_most=LATE_S)
    assert renewed + 1.9 <= cluster.clock.seconds() <= renewed + 2.0 + GAP_S + 0.1
    cluster.run(2.0)
    before = applied(cluster)
    cluster.run(IDLE_S)
    assert applied(cluster) == before
    cluster.check()


def test_a_stale_leader_revokes_nothing() -> None:
    """Its revoke is never committed, and the lease lives on as the new leader has renewed it (row 27)."""
    cluster = ready_cluster()
    cluster.do(grant_lease(5 * SECOND_US), transact([], [Put(b"a", b"v", 0, 1)]))
    old = cluster.settle()
    cluster.isolate(old)
    cluster.ask(old, revoke_lease(1))
    cluster.await_other_leader(old)
    assert cluster.do(renew_lease(1)) == [5 * SECOND_US]
    cluster.heal()
    cluster.run(3.0)

    assert not is_gone(cluster, "a")
    cluster.settle()
    cluster.check()


def test_many_renewals_share_an_entry() -> None:
    """A storm of them costs a few entries."""
    cluster = ready_cluster()
    cluster.do(*(grant_lease(60 * SECOND_US) for _ in range(500)))
    before = applied(cluster)

    assert cluster.do(*(renew_lease(1 + number) for number in range(500))) == [60 * SECOND_US] * 500

    assert applied(cluster) - before <= 2


def test_the_limit_of_leases_is_agreed_when_a_leader_begins() -> None:
    """It stands in the log, so that all members refuse the same."""
    cluster = Cluster(options=ReplicaOptions(leases_max=1))
    cluster.run_until(lambda: all(member.store.leased.leases_max == 1 for member in cluster.running))
