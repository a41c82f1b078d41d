"""When a replica has a turn: at once, together with what else arrives, or not at all."""

import pytest

from kvraft.raft.messages import Heartbeat, HeartbeatReply
from tests.replica.cluster import Cluster, Member, own_calls, read, write


def watch_turns(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return a list that grows with every turn of any replica."""
    turns: list[object] = []
    monkeypatch.setattr("kvraft.replica.submissions.Deadlines.expire", lambda _, now: turns.append(now))
    return turns


def test_a_follower_carries_out_at_once_what_it_is_told(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answer has left before `receive` returns, and no turn follows."""
    leader = cluster.settle()
    follower = cluster.members[cluster.followers()[0]]
    turns = watch_turns(monkeypatch)
    sent = len(follower.sent)

    follower.replica.inbox.receive(leader, [Heartbeat(follower.node.term, commit=0, round=7)])

    assert follower.sent[sent:] == [(leader, HeartbeatReply(follower.node.term, 7))]
    assert len(turns) == 1
    cluster.run(0)
    assert len(turns) == 1


def test_a_follower_that_stops_over_what_it_is_told_has_no_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node whose core has met a defect carries out nothing more."""
    cluster = Cluster()
    leader = cluster.settle()
    follower = cluster.members[cluster.followers()[0]]
    turns = watch_turns(monkeypatch)
    monkeypatch.setattr(follower.node, "step", None)

    follower.replica.inbox.receive(leader, [Heartbeat(follower.node.term, commit=0, round=7)])

    assert len(follower.fatal) == 1
    assert not turns


def test_a_leader_waits_for_what_else_comes(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages of several followers and requests of clients share one turn."""
    leader = cluster.members[cluster.settle()]
    turns = watch_turns(monkeypatch)

    for follower in cluster.followers():
        leader.replica.inbox.receive(follower, [HeartbeatReply(leader.node.term, 0)])
    cluster.ask(leader.id, write("a"))

    assert not turns
    cluster.run(0)
    assert len(turns) == 1


def test_a_follower_has_no_turn_ahead_of_one_that_is_due(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is on the clock already takes what comes as well."""
    leader = cluster.settle()
    follower = cluster.members[cluster.followers()[0]]
    turns = watch_turns(monkeypatch)
    follower.replica.inbox.link_up(leader)

    follower.replica.inbox.receive(leader, [Heartbeat(follower.node.term, commit=0, round=7)])

    assert not turns
    cluster.run(0)
    assert len(turns) == 1


def test_a_leader_has_no_turn_for_news_that_change_nothing(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most answers to heartbeats are such; one that confirms a read has its turn."""
    leader = cluster.members[cluster.settle()]
    turns = watch_turns(monkeypatch)
    follower = cluster.followers()[0]

    leader.replica.inbox.receive(follower, [HeartbeatReply(leader.node.term, 0)])
    cluster.run(0)
    assert not turns

    asked = cluster.ask(leader.id, read("a"))
    cluster.run(0)
    assert len(turns) == 1
    newest = max(message.round for _, message in leader.sent if isinstance(message, Heartbeat))
    leader.replica.inbox.receive(follower, [HeartbeatReply(leader.node.term, newest)])
    cluster.run(0)
    assert len(turns) == 2
    assert asked.is_over


def test_a_leader_has_a_turn_at_once_for_a_state_that_is_not_its_own(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state that it has itself is no news."""
    leader = cluster.members[cluster.settle()]
    leader.node.states.mine = 7, 5
    turns = watch_turns(monkeypatch)
    follower = cluster.followers()[0]

    leader.replica.inbox.receive(follower, [HeartbeatReply(leader.node.term, 0, applied=7, checksum=5)])
    cluster.run(0)
    assert not turns

    leader.replica.inbox.receive(follower, [HeartbeatReply(leader.node.term, 0, applied=7, checksum=6)])
    cluster.run(0)
    assert len(turns) == 1


def wake(cluster: Cluster, leader: Member) -> list[object]:
    """Let a leader's heartbeat be due and its timer fire, alone; return the nodes it has sent something to by then."""
    sent = len(leader.sent)
    cluster.clock.rightNow = leader.node.deadline
    (timer_fired,) = (call for call in own_calls(cluster, leader) if call != leader.replica.run)
    timer_fired()
    return [to for to, _ in leader.sent[sent:]]


def test_what_is_due_is_done_at_once(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A heartbeat leaves when its time has come, and no other turn follows."""
    leader = cluster.members[cluster.settle()]
    turns = watch_turns(monkeypatch)

    assert wake(cluster, leader) == cluster.followers()
    assert len(turns) == 1
    assert not leader.replica.is_due


def test_writes_that_wait_let_what_is_due_wait_for_their_turn(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are to go together with what arrives by the next iteration of the reactor."""
    leader = cluster.members[cluster.settle()]
    for key in ("a", "b"):  # the second waits for the save of the first
        cluster.ask(leader.id, write(key))
        cluster.run(0)
    turns = watch_turns(monkeypatch)

    assert wake(cluster, leader) == []
    assert not turns
    assert leader.replica.is_due


def test_a_node_that_fails_over_what_is_due_has_no_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """It carries out nothing more."""
    cluster = Cluster()
    leader = cluster.members[cluster.settle()]
    turns = watch_turns(monkeypatch)
    monkeypatch.setattr(leader.node, "wake", None)

    assert wake(cluster, leader) == []
    assert len(leader.fatal) == 1
    assert not turns
