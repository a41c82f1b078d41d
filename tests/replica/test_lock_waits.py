"""The leader answers clients that wait for a lock, whatever becomes of the others; a client that left holds none."""

from collections.abc import Sequence
from typing import Any, Final

from kvraft.commands import (
    AcquireLock,
    Caller,
    Failure,
    Granted,
    Queued,
    acquire_lock,
    describe_lock,
    guarded,
    release_lock,
    transact,
)
from kvraft.commands.expiry import SECOND_US
from kvraft.commands.transactions import Put
from kvraft.errors import OutcomeUnknown, RequestFailed
from kvraft.peers.forwarded import ForwardedAnswer
from kvraft.replica.lock_waits import LockWaits
from kvraft.replica.options import ReplicaOptions
from kvraft.replica.submissions import Reply
from tests.replica.cluster import Cluster
from tests.replica.test_expiry import IDLE_S, applied, ready_cluster
from tests.replica.test_forwarding import followers
from tests.replica.test_forwarding import ready_cluster as forwarding_cluster

SOMEBODY: Final = Caller("somebody")


def lock(ttl: float = 2.0, wait: float = 0.0, owner: bytes = b"") -> AcquireLock:
    """Return a request, with times in seconds."""
    return acquire_lock(b"l", round(ttl * SECOND_US), round(wait * SECOND_US), owner)


class Waiting:
    """One client that asks for the lock."""

    def __init__(self, cluster: Cluster, request: AcquireLock) -> None:
        self.told: list[Any] = []
        self.give_up = cluster.members[cluster.elect()].replica.intake.acquire(SOMEBODY, request, self._tell)
        cluster.run(0.2)

    def _tell(self, outcome: Any) -> None:
        self.told.append(outcome if isinstance(outcome, RequestFailed) else outcome[0])

    @property
    def token(self) -> int:
        """The token of the lock, which it has."""
        (granted,) = self.told
        assert isinstance(granted, Granted)
        return granted.token


def holder(cluster: Cluster) -> int:
    """Return the token with which the lock is held."""
    (state,) = cluster.do(describe_lock(b"l"))
    return 0 if state is None else state.token  # type: ignore[union-attr]


def test_the_lock_passes_from_one_to_the_next() -> None:
    """By release and by running out, in the order of the queue, without other writes; then nothing is written."""
    cluster = ready_cluster()
    first, second, third = (Waiting(cluster, lock(wait=wait)) for wait in (0.0, 30.0, 30.0))
    assert (len(first.told), second.told, third.told) == (1, [], [])

    cluster.do(release_lock(b"l", first.token))
    began = cluster.clock.seconds()
    assert second.token > first.token
    cluster.run_until(lambda: bool(third.told))
    assert 1.8 <= cluster.clock.seconds() - began <= 3.0
    assert third.token > second.token

    write = transact([], [Put(b"k", b"")])
    (refused,) = cluster.do(guarded(b"l", second.token, write))
    assert isinstance(refused, Failure)
    assert refused.code == "STALE_TOKEN"
    cluster.run(4.0)
    assert holder(cluster) == 0
    before = applied(cluster)
    cluster.run(IDLE_S)
    assert applied(cluster) == before
    cluster.check()


def test_a_wait_ends_in_time() -> None:
    """Not before its time, and at most a second after it."""
    cluster = ready_cluster()
    Waiting(cluster, lock(ttl=60.0))
    began = cluster.clock.seconds()
    waiting = Waiting(cluster, lock(wait=2.0))

    cluster.run_until(lambda: bool(waiting.told))

    assert 2.0 <= cluster.clock.seconds() - began <= 3.0
    (failed,) = waiting.told
    assert isinstance(failed, Failure)
    assert failed.code == "LOCK_TIMEOUT"


def test_a_client_that_goes_leaves_the_queue_and_no_lock_behind() -> None:
    """Whether it goes while it waits, before its request is in the log, or before the answer that it holds the lock."""
    cluster = ready_cluster()
    first, second, third = (Waiting(cluster, lock(ttl=60.0, wait=wait)) for wait in (0.0, 50.0, 50.0))
    second.give_up()
    cluster.run(0.2)

    cluster.do(release_lock(b"l", first.token))
    assert (second.told, third.token) == ([], holder(cluster))
    third.give_up()
    cluster.run(0.2)
    assert holder(cluster) == third.token
    cluster.do(release_lock(b"l", third.token))

    told: list[object] = []
    cluster.members[cluster.elect()].replica.intake.acquire(SOMEBODY, lock(ttl=60.0), told.append)()
    cluster.run(0.5)
    assert (told, holder(cluster)) == ([], 0)
    cluster.check()


def test_a_client_that_goes_leaves_nothing_behind_at_a_member_that_passes_requests_on() -> None:
    """Its withdrawal takes the way that its request took, whether it goes before or after that is answered."""
    cluster = forwarding_cluster()
    first = Waiting(cluster, lock(ttl=60.0))
    told: list[object] = []
    acquire = cluster.members[followers(cluster)[0]].replica.intake.acquire
    acquire(SOMEBODY, lock(ttl=60.0, wait=50.0), told.append)()
    give_up = acquire(SOMEBODY, lock(ttl=60.0, wait=50.0), told.append)
    cluster.run(0.5)
    last = Waiting(cluster, lock(ttl=60.0, wait=50.0))
    give_up()
    cluster.run(0.5)

    cluster.do(release_lock(b"l", first.token))

    assert (told, last.token) == ([], holder(cluster))
    cluster.check()


def test_a_place_outlives_the_leader() -> None:
    """A client that waits at the old leader gets an unknown outcome; its owner keeps the place if it asks again."""
    cluster = ready_cluster()
    first = Waiting(cluster, lock(ttl=60.0))
    second, third = (Waiting(cluster, lock(ttl=60.0, wait=50.0, owner=owner)) for owner in (b"b", b"c"))
    old = cluster.settle()
    cluster.isolate(old, noticed=True)
    cluster.await_other_leader(old)
    cluster.run(2.0)
    assert [type(each) for each in second.told + third.told] == [OutcomeUnknown, OutcomeUnknown]

    third, second = (Waiting(cluster, lock(ttl=60.0, wait=50.0, owner=owner)) for owner in (b"c", b"b"))
    cluster.do(release_lock(b"l", first.token))

    assert (second.token, third.told) == (holder(cluster), [])
    cluster.heal()
    cluster.run(1.0)
    cluster.check()


def test_an_owner_that_asks_again_elsewhere_is_told_once() -> None:
    """The earlier request ends, and its client's going takes nothing from the later one."""
    cluster = ready_cluster()
    first = Waiting(cluster, lock(ttl=60.0))
    earlier = Waiting(cluster, lock(ttl=60.0, wait=50.0, owner=b"x"))
    later = Waiting(cluster, lock(ttl=60.0, wait=50.0, owner=b"x"))
    (ended,) = earlier.told
    assert isinstance(ended, Failure)
    assert ended.code == "SUPERSEDED"
    earlier.give_up()

    cluster.do(release_lock(b"l", first.token))

    assert later.token == holder(cluster)


def test_a_stale_leader_grants_nothing() -> None:
    """It answers nothing that is not committed (row 32)."""
    cluster = ready_cluster()
    old = cluster.settle()
    cluster.isolate(old)
    told: list[object] = []
    cluster.members[old].replica.intake.acquire(SOMEBODY, lock(), told.append)
    cluster.await_other_leader(old)
    assert Waiting(cluster, lock(ttl=60.0)).token
    cluster.run(6.0)

    assert [type(each) for each in told] == [OutcomeUnknown]
    cluster.heal()
    cluster.run(1.0)
    cluster.check()


def test_a_node_that_stops_tells_who_waits() -> None:
    """No client waits at a node that has stopped."""
    cluster = ready_cluster()
    Waiting(cluster, lock(ttl=60.0))
    waiting = Waiting(cluster, lock(wait=50.0))

    cluster.members[cluster.settle()].replica.stop()

    assert [type(each) for each in waiting.told] == [OutcomeUnknown]


def test_the_limit_of_locks_is_agreed_when_a_leader_begins() -> None:
    """It stands in the log, so that all members refuse the same."""
    cluster = Cluster(options=ReplicaOptions(locks_max=1))
    cluster.run_until(lambda: all(member.store.locks.locks_max == 1 for member in cluster.running))


def queued(waits: LockWaits, request: AcquireLock, ticket: int) -> list[Any]:
    """Begin a wait, and answer at once that it has this place in the queue; return a list for what comes of it."""
    told: list[Any] = []

    def ask(_caller: Caller, _operations: object, reply: Reply) -> None:
        reply([Queued(ticket)])

    waits.begin(ask, SOMEBODY, request, told.append)
    return told


def test_a_grant_that_is_applied_before_the_place_in_the_queue_is_known() -> None:
    """The leader's answer to a request that was passed on may come after the entry that grants the lock."""
    cluster = forwarding_cluster()
    first = Waiting(cluster, lock(ttl=60.0))
    leader = cluster.settle()
    follower = cluster.members[followers(cluster)[0]].replica
    told: list[Any] = []
    follower.intake.acquire(SOMEBODY, lock(ttl=60.0, wait=50.0), told.append)
    late: list[tuple[int, Any]] = []
    receive = follower.inbox.receive

    def hold_answers(sender: int, messages: Sequence[Any]) -> None:
        late.extend((sender, each) for each in messages if isinstance(each, ForwardedAnswer))
        receive(sender, [each for each in messages if not isinstance(each, ForwardedAnswer)])

    follower.inbox.receive = hold_answers  # type: ignore[method-assign,assignment]
    cluster.run_until(lambda: bool(late))
    cluster.do(release_lock(b"l", first.token))
    cluster.do(transact([], [Put(b"k", b"")]))
    cluster.run(0.5)
    assert told == []

    for sender, answer in late:
        receive(sender, [answer])

    assert cluster.settle() == leader
    ((granted,),) = told
    assert isinstance(granted, Granted)
    assert granted.token == holder(cluster)


def test_a_wait_that_ended_before_the_place_in_the_queue_is_known_has_an_unknown_outcome() -> None:
    """Nothing says any more how it ended; the client may ask again."""
    cluster = ready_cluster()
    waits = LockWaits(lambda _: True, lambda: cluster.members[cluster.elect()].store.locks)
    first = Waiting(cluster, lock(ttl=60.0))
    ended = Waiting(cluster, lock(wait=0.5))
    cluster.run(3.0)
    assert [type(each) for each in ended.told] == [Failure]

    told = queued(waits, lock(wait=0.5), first.token + 1)

    assert [type(each) for each in told] == [OutcomeUnknown]


def test_a_grant_that_only_a_snapshot_covers_is_told() -> None:
    """After the installation the state of the lock says what became of each wait."""
    cluster = ready_cluster()
    waits = LockWaits(lambda _: True, lambda: cluster.members[cluster.elect()].store.locks)
    first, second, third = (Waiting(cluster, lock(ttl=60.0, wait=wait)) for wait in (0.0, 50.0, 50.0))
    granted, waiting = (queued(waits, lock(ttl=60.0), first.token + place) for place in (1, 2))
    cluster.do(release_lock(b"l", first.token))
    cluster.do(transact([], [Put(b"k", b"")]))

    waits.replaced()

    assert [[each.token for each in outcome] for outcome in granted] == [[second.token]]
    assert (waiting, third.told) == ([], [])
