"""How a replica ends: leadership handed over, every request answered, nothing left over."""

from functools import partial
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from kvraft.errors import NotLeaderRefusal, OutcomeUnknown
from kvraft.raft import ProposalRefused, RaftOptions
from kvraft.raft.messages import TimeoutNow
from kvraft.replica import ReplicaOptions
from kvraft.replica.limits import TURN_S_MAX
from kvraft.replica.submissions import Stopping
from tests.replica.cluster import HUNG_S, SOMEBODY, Ask, Cluster, address, own_calls, read, write

PATIENCE_S = 1.0


def hand_over(cluster: Cluster, member: int) -> list[None]:
    """Let a member hand over; the list is filled when it is done."""
    done: list[None] = []
    promise = Deferred.fromCoroutine(cluster.members[member].replica.hand_over(PATIENCE_S))
    promise.addCallback(done.append)
    return done


def test_leadership_is_handed_over(cluster: Cluster) -> None:
    """A leader that is to end passes its office on within a few round trips, without an election timeout."""
    old = cluster.settle()

    done = hand_over(cluster, old)
    took = cluster.run_until(lambda: bool(done))

    assert cluster.leader not in (old, None)
    assert took < 0.05


def test_writes_in_flight_are_answered(cluster: Cluster) -> None:
    """What stands in the log when leadership is handed over is committed, answered, and waited for (row 43)."""
    old = cluster.settle()
    asks = [cluster.ask(old, write(f"k{number}")) for number in range(10)]
    cluster.run(0)

    done = hand_over(cluster, old)
    cluster.run_until(lambda: bool(done))

    assert [ask.results for ask in asks] == [[number] for number in range(1, 11)]


def test_handing_over_waits_for_the_answers(cluster: Cluster) -> None:
    """When the successor is known before it has committed what is in flight, the node stays until it can answer."""
    old = cluster.settle()
    slow, quick = cluster.followers()
    cluster.members[old].node.best_successor = lambda: quick  # type: ignore[method-assign]
    cluster.members[old].journal.delay = cluster.members[slow].journal.delay = 0.05
    ask = cluster.ask(old, write("a"))
    cluster.run(0.01)

    done = hand_over(cluster, old)
    cluster.run_until(lambda: cluster.members[old].node.leader == quick)
    assert not ask.is_over
    cluster.run_until(lambda: bool(done))

    assert ask.results == [1]


def test_writes_of_the_interregnum_are_told_the_successor(cluster: Cluster) -> None:
    """Writes and reads that come while leadership moves are held, and then answered with the new leader (row 43)."""
    old = cluster.settle()
    done = hand_over(cluster, old)
    asks: list[Ask] = []
    replica = cluster.members[old].replica
    while not done:
        if replica.node.leader == old:
            asks += [cluster.ask(old, write(f"k{len(asks)}")), cluster.ask(old, read("a"))]
        cluster.run(0.0002)
    refused = [ask for ask in asks if ask.errors]

    assert all(ask.is_over for ask in asks), "someone still waits"
    assert len(refused) > 5
    for ask in refused:
        assert isinstance(ask.error, NotLeaderRefusal)
        assert ask.error.leader_hint == address(cluster.elect())
    store = cluster.members[cluster.settle()].store
    for number, ask in enumerate(asks):
        if isinstance(ask.operations[0], bytes):
            assert (store.get(f"k{number}".encode()) is not None) == bool(ask.answers)


def test_hand_over_under_load_loses_nothing() -> None:
    """Leadership goes round under load: every answer is kept, every definite refusal never happened (row 43)."""
    cluster = Cluster(seed=5)
    cluster.settle()
    asks: list[tuple[str, Ask]] = []
    for round_number in range(12):
        done = hand_over(cluster, cluster.settle())
        for number in range(40):
            target = cluster.random.choice(cluster.running).id
            key = f"{round_number}.{number}"
            asks.append((key, cluster.ask(target, write(key))))
            cluster.run(cluster.random.choice((0, 0.0001, 0.0005, 0.002)))
        cluster.run_until(partial(bool, done))
    cluster.run(6.0)

    store = cluster.members[cluster.settle()].store
    for key, ask in asks:
        assert ask.is_over
        assert bool(ask.answers) == (store.get(key.encode()) is not None)
        assert ask.answers or ask.error.definite
    assert sum(bool(ask.answers) for _, ask in asks) > 100
    assert len(cluster.states()) == 1
    cluster.check()


def test_a_dead_successor_is_not_waited_for_long(cluster: Cluster) -> None:
    """When the successor does not take over, the wait ends with the patience, and the leader takes writes again."""
    old = cluster.settle()
    replica = cluster.members[old].replica
    done = hand_over(cluster, old)
    for follower in cluster.followers():
        cluster.members[follower].replica.node.voting = False  # it ignores the order
    ask = cluster.ask(old, write("a"))

    took = cluster.run_until(lambda: bool(done))

    assert took <= PATIENCE_S + 0.1
    assert replica.node.leader == old
    assert ask.results == [1]  # held, and taken when the transfer was given up
    for follower in cluster.followers():
        cluster.members[follower].replica.node.voting = True


def test_the_most_complete_follower_succeeds(cluster: Cluster) -> None:
    """The order goes to the member whose log is longest among those that are alive."""
    old = cluster.settle()
    behind, ahead = cluster.followers()
    cluster.members[behind].journal.delay = 0.3
    cluster.do(write("a"))
    cluster.run(0.01)

    done = hand_over(cluster, old)
    cluster.run_until(lambda: bool(done))

    ordered = {to for to, message in cluster.members[old].sent if isinstance(message, TimeoutNow)}
    assert ordered == {ahead}
    cluster.settle()


def test_who_does_not_lead_has_nothing_to_hand_over(cluster: Cluster) -> None:
    """On a follower, and in a cluster of one, handing over is done at once."""
    cluster.settle()
    assert hand_over(cluster, cluster.followers()[0])

    alone = Cluster(1)
    assert hand_over(alone, alone.settle())
    alone.check()


def test_hand_over_ends_when_the_node_is_stopped(cluster: Cluster) -> None:
    """A replica that is stopped while it hands over does not wait on."""
    old = cluster.settle()
    cluster.isolate(old)
    done = hand_over(cluster, old)
    cluster.run(0.02)

    cluster.members[old].replica.stop()
    cluster.run(0.01)

    assert done
    cluster.members[old].is_alive = False


def test_stop_tells_everyone_the_truth(cluster: Cluster) -> None:
    """Open requests are answered: unknown for those in the log, definite for the others, reads too."""
    leader = cluster.settle()
    cluster.isolate(leader)
    in_the_log = cluster.ask(leader, write("a"))
    asked = cluster.ask(leader, read("a"))
    cluster.run(0.01)
    waiting, new_read = cluster.ask(leader, write("b")), cluster.ask(leader, read("b"))

    cluster.members[leader].replica.stop()

    assert isinstance(in_the_log.error, OutcomeUnknown)
    for ask in (asked, waiting, new_read, cluster.ask(leader, write("c"))):
        assert isinstance(ask.error, Stopping)
        assert ask.error.definite


def test_stop_leaves_nothing_behind(cluster: Cluster) -> None:
    """A stopped replica has no call on the clock and sends nothing more, also when its last save comes back."""
    leader = cluster.members[cluster.settle()]
    leader.journal.delay = 0.1
    cluster.ask(leader.id, write("a"))
    cluster.run(0)
    assert own_calls(cluster, leader)

    leader.replica.stop()
    leader.replica.stop()

    assert own_calls(cluster, leader) == []
    sent = len(leader.sent)
    cluster.run(1.0)
    assert len(leader.sent) == sent
    assert own_calls(cluster, leader) == []


def test_a_client_may_stop_the_node(cluster: Cluster) -> None:
    """A stop from within a client's callback ends the turn; nothing is sent after it."""
    leader = cluster.members[cluster.settle()]
    promise = leader.replica.intake.submit(SOMEBODY, [write("a")])
    sent: list[int] = []

    def stop(_: object) -> None:
        leader.replica.stop()
        sent.append(len(leader.sent))

    promise.addCallback(stop)
    other = cluster.ask(leader.id, write("b"))
    cluster.run_until(lambda: bool(sent))
    cluster.run(0.5)

    assert len(leader.sent) == sent[0]
    assert other.is_over
    assert own_calls(cluster, leader) == []


def test_a_turn_ends_where_the_node_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would come after a stop in the same turn is neither applied nor answered."""
    monkeypatch.setattr("kvraft.replica.group_commit.BATCH_BYTES_MAX", 1)  # one entry a submission, all in one save
    cluster = Cluster(1, raft=RaftOptions(apply_bytes_max=1))  # one entry a Ready, eight Readys a turn
    member = cluster.members[cluster.settle()]
    applied = member.store.applied_index
    member.replica.intake.submit(SOMEBODY, [write("a")]).addCallback(lambda _: member.replica.stop())
    behind = [cluster.ask(0, write("b")) for _ in range(3)]

    cluster.run(0.1)

    assert member.node.log.durable == applied + 4
    assert member.store.applied_index == applied + 1
    assert all(isinstance(ask.error, OutcomeUnknown) for ask in behind)
    cluster.check()


def test_a_turn_that_has_taken_long_lets_the_reactor_look_at_its_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backlog is applied in several turns, each only as long as it may be: no client waits for all of it."""
    cluster = Cluster(1, raft=RaftOptions(apply_entries_max=1))
    member = cluster.members[cluster.settle()]
    monkeypatch.setattr("kvraft.replica.group_commit.BATCH_BYTES_MAX", 1)  # one entry a submission, all in one save
    for _ in range(3):
        member.replica.intake.submit(SOMEBODY, [write("a")])
    order: list[str] = []
    apply = member.replica.store.apply

    def apply_slowly(*arguments: Any) -> Any:
        cluster.clock.rightNow += 2 * TURN_S_MAX
        order.append("apply")
        return apply(*arguments)

    monkeypatch.setattr(member.replica.store, "apply", apply_slowly)
    monkeypatch.setattr("kvraft.replica.submissions.Deadlines.expire", lambda _, __: order.append("turn"))
    cluster.run(0.1)

    assert order.count("apply") == 3
    assert "apply, apply" not in ", ".join(order)


def test_a_stopped_follower_keeps_its_promises_to_itself(cluster: Cluster) -> None:
    """A save that ends after the stop acknowledges nothing."""
    leader = cluster.settle()
    follower = cluster.members[cluster.followers()[0]]
    follower.journal.delay = 0.05
    cluster.ask(leader, write("a"))
    cluster.run(0.01)
    assert follower.journal.pending_since is not None

    follower.replica.stop()
    sent = len(follower.sent)
    cluster.run(0.1)

    assert follower.journal.pending_since is None
    assert len(follower.sent) == sent


def test_no_request_outlives_its_time() -> None:
    """The deadline is that of each request: an older one that is answered does not keep a younger one waiting."""
    cluster = Cluster(options=ReplicaOptions(request_timeout=1.0))
    leader = cluster.settle()
    first = cluster.ask(leader, write("a"))
    cluster.run(0.1)
    for follower in cluster.followers():
        cluster.members[follower].journal.delay = HUNG_S
    second = cluster.ask(leader, write("b"))
    cluster.run(0.5)
    third = cluster.ask(leader, write("c"))
    cluster.run(0.6)

    assert first.results == [1]
    assert isinstance(second.error, OutcomeUnknown)
    assert not third.is_over
    cluster.run(0.6)
    assert isinstance(third.error, OutcomeUnknown)
    cluster.check()


# --- the cluster's identity ------------------------------------------------------------------------------------------


def test_the_identity_is_given_once(cluster: Cluster) -> None:
    """The first leader gives the cluster an id, all members learn the same one, and later leaders leave it."""
    first = cluster.settle()
    expected = f"made by {first}"
    for _ in range(3):
        cluster.isolate(cluster.settle())
        cluster.run_until(lambda: cluster.leader is not None and len(cluster.cut_links) > 0)
        cluster.run(1.0)
        cluster.heal()
    cluster.settle()

    assert {member.store.cluster_id for member in cluster.running} == {expected}
    assert [member.clusters for member in cluster.members.values()] == [[expected]] * 3
    identities = [
        entry
        for entry in cluster.members[first].node.log.slice(1, cluster.members[first].node.log.last_index)
        if b"made by" in entry.payload
    ]
    assert len(identities) == 1


def test_a_provisional_identity_is_respected() -> None:
    """A leader that has a cluster id from a peer uses that one, and makes none of its own."""
    cluster = Cluster(make_cluster_id=lambda member: "known from a peer")
    cluster.settle()

    assert {member.store.cluster_id for member in cluster.running} == {"known from a peer"}
    cluster.check()


def test_an_identity_may_have_to_wait() -> None:
    """A leader that cannot take writes in the moment in which it takes office goes on, and gives the id later."""
    cluster = Cluster()
    cluster.run_until(lambda: cluster.leader is not None)
    assert cluster.leader is not None
    leader = cluster.members[cluster.leader]
    propose = leader.node.propose
    refusals: list[object] = []

    def refuse(*arguments: object, **kind: object) -> object:
        if not kind and len(refusals) < 3:
            refusals.append(arguments)
            raise ProposalRefused("leadership is being handed over")
        return propose(*arguments, **kind)  # type: ignore[arg-type]

    leader.node.propose = refuse  # type: ignore[method-assign,assignment]
    ask = cluster.ask(leader.id, write("a"))
    cluster.await_answers(ask)
    cluster.settle()

    assert len(refusals) == 3
    assert ask.results == [1]
    assert {member.store.cluster_id for member in cluster.running} == {f"made by {leader.id}"}
    cluster.check()
