"""Cluster time goes on by the leader's monotonic clock from where the log stands, and no clock can make it jump."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from kvraft.commands import decode_batch
from kvraft.replica.cluster_clock import MICROSECONDS, ClusterClock
from tests.replica.cluster import Ask, Cluster, Member, write


def test_time_goes_on_from_the_log() -> None:
    """The stamp is the log's plus what the monotonic clock has moved since, whatever that clock shows."""
    clock = ClusterClock()

    clock.continue_from(5_000_000, now=1e6)

    assert clock.stamp(1e6) == 5_000_000
    assert clock.stamp(1e6 + 2.5) == 7_500_000


def test_time_never_goes_back() -> None:
    """Neither a clock that goes back nor a log that lags takes the stamps back."""
    clock = ClusterClock()
    clock.continue_from(1000, now=10.0)
    assert clock.stamp(11.0) == 1_001_000

    assert clock.stamp(9.0) == 1_001_000
    clock.continue_from(500, now=20.0)
    assert clock.stamp(20.0) == 1_001_000
    assert clock.stamp(21.0) == 2_001_000


def test_a_lead_of_the_log_is_taken_up() -> None:
    """A log that is further than this clock carries it along."""
    clock = ClusterClock()
    clock.continue_from(0, now=0.0)
    clock.stamp(1.0)

    clock.continue_from(9_000_000, now=2.0)

    assert clock.stamp(2.5) == 9_500_000


def test_each_office_begins_with_the_log() -> None:
    """What was stamped in an earlier term counts no more; within one term nothing begins anew."""
    clock = ClusterClock()
    clock.begin_term(1, 1_000_000, now=0.0)
    assert clock.stamp(5.0) == 6_000_000

    clock.begin_term(1, 1_000_000, now=6.0)
    assert clock.stamp(6.0) == 7_000_000

    clock.begin_term(3, 2_000_000, now=7.0)
    assert clock.stamp(8.0) == 3_000_000


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 10**9), st.floats(0, 1e6)), max_size=30))
def test_stamps_are_monotone(steps: list[tuple[bool, int, float]]) -> None:
    """Whatever is taken up and asked, and whenever, no stamp is smaller than one before."""
    clock, last = ClusterClock(), 0
    for takes_up, stamp, now in steps:
        if takes_up:
            clock.continue_from(stamp, now)
        else:
            assert clock.stamp(now) >= last
            last = clock.stamp(now)


def times(cluster: Cluster) -> set[int]:
    """Return the cluster time of every running member."""
    return {member.store.cluster_time for member in cluster.running}


def test_the_age_of_a_machine_is_no_cluster_time() -> None:
    """A write that reaches a leader before its first turn is stamped like any other, not with the machine's uptime."""
    cluster = Cluster()
    asks: list[Ask] = []

    def ask_a_new_leader(member: Member) -> None:
        if member.node.leader == member.id and not asks:
            asks.append(cluster.ask(member.id, write("a")))

    cluster.delivered = ask_a_new_leader
    cluster.run_until(lambda: bool(asks))
    cluster.settle()

    assert asks[0].results == [1]
    assert max(times(cluster)) < 60 * MICROSECONDS
    cluster.check()


def test_time_goes_on_under_new_leaders() -> None:
    """Cluster time grows by what passes while someone leads, and stands still in between: it is never early."""
    cluster = Cluster()
    cluster.settle()
    begin, before = cluster.clock.seconds(), max(times(cluster))
    last = before
    for _ in range(6):
        cluster.run(0.5)
        cluster.do(write("a"))
        leader = cluster.settle()
        assert len(times(cluster)) == 1
        assert max(times(cluster)) > last
        last = max(times(cluster))
        cluster.isolate(leader, noticed=True)
        cluster.await_other_leader(leader)
        cluster.heal()
    cluster.do(write("a"))
    passed = (cluster.clock.seconds() - begin) * MICROSECONDS

    assert 0.8 * passed < max(times(cluster)) - before <= passed
    cluster.check()


def test_stamps_that_were_lost_do_not_count() -> None:
    """A leader that comes to office again goes on from the log, not from what it stamped when it was cut off.

    Its own clock was ahead of the log by the time without a leader; a key that was written meanwhile would
    otherwise expire early.
    """
    cluster = Cluster(seed=2)
    old = cluster.settle()
    cluster.isolate(old)
    cluster.run(0.3)
    cluster.ask(old, write("lost"))
    cluster.run(0)
    log = cluster.members[old].node.log
    (lost,) = log.slice(log.last_index, log.last_index)
    lost_stamp, _ = decode_batch(lost.payload)
    assert lost_stamp > max(times(cluster)) + 0.25 * MICROSECONDS
    cluster.await_other_leader(old)
    stamp = max(times(cluster))
    taken_up = cluster.clock.seconds()
    cluster.do(write("kept"))
    cluster.heal()
    new = cluster.settle()

    replica = cluster.members[new].replica
    replica.node.best_successor = lambda: old  # type: ignore[method-assign]
    done = Deferred.fromCoroutine(replica.hand_over(1.0))
    cluster.run_until(lambda: done.called and cluster.leader == old)
    cluster.do(write("again"))

    passed = (cluster.clock.seconds() - taken_up) * MICROSECONDS
    assert max(times(cluster)) <= stamp + passed
    cluster.check()
