"""A follower that is stopped in good order: what becomes of the writes that it has passed on."""

from twisted.internet.defer import Deferred

from kvraft.commands import Set
from kvraft.errors import OutcomeUnknown
from kvraft.replica.submissions import Stopping
from tests.replica.test_forwarding import KEY, ask, followers, ready_cluster


def test_a_follower_that_stops_waits_for_the_writes_that_it_has_passed_on() -> None:
    """Their answers are on the way; a write that comes meanwhile is refused, and was not passed on."""
    cluster = ready_cluster()
    (follower, _) = followers(cluster)
    replica = cluster.members[follower].replica
    told = ask(cluster, follower, Set(KEY, b"1"))
    over: list[None] = []

    Deferred.fromCoroutine(replica.hand_over(1.0)).addCallback(over.append)
    late = ask(cluster, follower, Set(KEY, b"2"))
    cluster.run_until(lambda: bool(over), at_most=0.05)
    replica.stop()

    assert told == [[1]]
    assert isinstance(late[0], Stopping)
    cluster.check()


def test_a_follower_that_stops_does_not_wait_for_a_leader_that_is_silent() -> None:
    """Its patience ends, and the outcome of what it has passed on is unknown."""
    cluster = ready_cluster()
    (follower, _) = followers(cluster)
    cluster.isolate(follower)
    replica = cluster.members[follower].replica
    told = ask(cluster, follower, Set(KEY, b"1"))
    over: list[None] = []

    Deferred.fromCoroutine(replica.hand_over(0.2)).addCallback(over.append)
    cluster.run(0.19)
    assert not over
    cluster.run(0.02)
    assert over
    replica.stop()

    assert isinstance(told[0], OutcomeUnknown)
    cluster.check()
