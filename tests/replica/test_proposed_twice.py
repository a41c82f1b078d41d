"""A write of a session that was sent to a leader, and is proposed once more by a later one."""

from typing import Any

from kvraft.commands import Failure, Once, OpenSession, increment
from kvraft.errors import OutcomeUnknown, Refused
from tests.replica.cluster import Cluster
from tests.replica.test_forwarding import KEY, answer, ask, ready_cluster, sums


def write_twice(cluster: Cluster) -> list[Any]:
    """Let a leader commit a write of whose entry at the next leader, through which it came, another takes the place.

    Returns:
        What the client was told.
    """
    first = cluster.settle()
    follower = (first + 1) % 3
    assert answer(cluster, follower, OpenSession(60_000_000)) == [1]
    cluster.settle()
    told = ask(cluster, follower, Once(1, 1, increment(KEY)))
    old, new = cluster.members[first].node, cluster.members[follower].node
    length = old.log.last_index
    cluster.run_until(lambda: old.log.last_index > length)
    cluster.isolate(first, noticed=True)
    cluster.run_until(lambda: new.is_leader)
    cluster.isolate(follower)
    cluster.run(0.1)
    cluster.heal()
    cluster.isolate(follower)
    cluster.run_until(lambda: old.is_leader and old.commit >= old.log.last_index, at_most=4.0)
    assert not told
    cluster.heal()
    cluster.run_until(lambda: bool(told))
    return told


def test_a_write_that_an_earlier_leader_has_committed_is_never_refused_as_undone() -> None:
    """Its second entry is replaced for certain; the first one, at the leader before, is committed (row 12)."""
    cluster = ready_cluster()

    told = write_twice(cluster)

    assert set(sums(cluster)) == {b"1"}
    assert not isinstance(told[0], Refused)


def test_a_write_whose_session_has_ended_between_two_attempts_is_of_unknown_fate() -> None:
    """The first attempt is committed, the second finds no session: `nothing was changed` is true only of the second."""
    cluster = ready_cluster()
    leader = cluster.settle()
    follower = (leader + 1) % 3
    assert answer(cluster, follower, OpenSession(1_000_000)) == [1]
    cluster.settle()
    told = ask(cluster, follower, Once(1, 1, increment(KEY)))
    log = cluster.members[leader].node.log
    length = log.last_index
    cluster.run_until(lambda: log.last_index > length)

    cluster.cut(leader, follower, noticed=True)
    cluster.run(2.5)  # its session lives 1 s
    cluster.heal()
    cluster.run_until(lambda: bool(told))

    cluster.settle()
    assert set(sums(cluster)) == {b"1"}
    assert isinstance(told[0], OutcomeUnknown)
    cluster.check()


def test_a_session_that_has_ended_before_the_first_attempt_refuses_it() -> None:
    """No leader has received the write before, so nothing was changed by it."""
    cluster = ready_cluster()
    leader = cluster.settle()
    follower = (leader + 1) % 3

    (failure,) = answer(cluster, follower, Once(1, 1, increment(KEY)))

    assert isinstance(failure, Failure)
    assert failure.code == "SESSION_EXPIRED"
    cluster.check()
