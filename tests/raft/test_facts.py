"""The facts about elections that the core returns: which node asked, which granted or refused, and why."""

import pytest

from kvraft.raft import Node
from kvraft.raft.facts import FACTS_MAX, Fact, FactKind, Facts, Why
from kvraft.raft.messages import AppendEntries, Heartbeat, PreVote, PreVoteReply, RequestVote, RequestVoteReply
from tests.raft.single import campaign, make_leader, make_node, settle


def facts_of(node: Node) -> list[tuple[FactKind, int, int | None, Why | None]]:
    """Take the facts, without their times."""
    return [(fact.kind, fact.term, fact.peer, fact.why) for fact in node.facts.take()]


def follower_of(leader: int, *, now: float = 0.0) -> Node:
    """Return a node that has just received a message of its leader."""
    node = make_node(1, term=1, now=now)
    node.step(leader, Heartbeat(1, 0, 0), now)
    settle(node)
    return node


def test_a_node_says_why_it_asks_for_pre_votes() -> None:
    """Silence of the leader, its broken connection, and an election without a result are different reasons."""
    silent, lost = follower_of(1), follower_of(1)
    silent.wake(silent.deadline)
    assert facts_of(silent) == [(FactKind.ASKED, 1, 1, Why.SILENCE)]
    silent.wake(silent.deadline)
    assert facts_of(silent) == [(FactKind.ASKED, 1, None, Why.NO_RESULT)]

    lost.peer_lost(1, 0.01)
    lost.wake(lost.deadline)
    assert facts_of(lost) == [(FactKind.ASKED, 1, 1, Why.CONNECTION_LOST)]


def test_a_leader_that_is_back_takes_the_place_of_a_broken_connection() -> None:
    """After its connection broke a message of the leader came: what follows is its silence."""
    node = follower_of(1)
    node.peer_lost(1, 0.01)
    node.step(1, Heartbeat(1, 0, 0), 0.02)
    node.wake(node.deadline)
    assert facts_of(node) == [(FactKind.ASKED, 1, 1, Why.SILENCE)]


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (PreVote(2, last_index=0, last_term=0), Why.SHORTER_LOG),
        (PreVote(1, last_index=5, last_term=1), Why.OLD_TERM),
    ],
)
def test_a_refused_pre_vote_has_a_reason(request_: PreVote, why: Why) -> None:
    """The log of the candidate is shorter, or its term not later."""
    node = make_node(1, term=1)
    node.step(2, request_, 1.0)
    assert facts_of(node) == [(FactKind.REFUSED_PRE_VOTE, request_.term, 2, why)]


def test_who_follows_a_leader_refuses_without_an_answer() -> None:
    """Stickiness sends nothing, and is a fact nevertheless (thesis §4.2.3)."""
    node = follower_of(1)
    node.step(2, PreVote(2, last_index=5, last_term=1), 0.01)
    node.step(2, RequestVote(2, last_index=5, last_term=1), 0.01)
    assert settle(node) == ()
    assert facts_of(node) == [
        (FactKind.REFUSED_PRE_VOTE, 2, 2, Why.HAS_LEADER),
        (FactKind.REFUSED_VOTE, 2, 2, Why.HAS_LEADER),
    ]


def test_votes_are_told_with_their_reasons() -> None:
    """The one vote of a term is given; the next candidate, and one with a shorter log, are refused."""
    node = make_node(1, term=1)
    node.step(2, RequestVote(2, last_index=1, last_term=1), 1.0)
    node.step(1, RequestVote(2, last_index=1, last_term=1), 1.0)
    node.step(1, RequestVote(3, last_index=0, last_term=0), 1.0)
    node.step(1, RequestVote(2, last_index=1, last_term=1), 1.0)
    assert facts_of(node) == [
        (FactKind.GRANTED_VOTE, 2, 2, None),
        (FactKind.REFUSED_VOTE, 2, 1, Why.VOTED_FOR_ANOTHER),
        (FactKind.REFUSED_VOTE, 3, 1, Why.SHORTER_LOG),
        (FactKind.REFUSED_VOTE, 2, 1, Why.OLD_TERM),
    ]


def test_a_node_without_a_vote_says_so() -> None:
    """A node that may have lost its promises refuses all candidates."""
    node = make_node(term=1, voting=False)
    node.step(2, PreVote(2, last_index=1, last_term=1), 1.0)
    node.step(2, RequestVote(2, last_index=1, last_term=1), 1.0)
    assert facts_of(node) == [
        (FactKind.REFUSED_PRE_VOTE, 2, 2, Why.NO_VOTE),
        (FactKind.REFUSED_VOTE, 2, 2, Why.NO_VOTE),
    ]


def test_a_candidate_tells_whose_votes_it_gets() -> None:
    """From the pre-votes to the leadership every answer is a fact."""
    node = make_node(term=1, members=5)
    node.wake(node.deadline)
    node.step(1, PreVoteReply(2, granted=True), 1.0)
    node.step(2, PreVoteReply(1, granted=False), 1.0)
    node.step(3, PreVoteReply(2, granted=True), 1.0)
    settle(node)
    node.step(1, RequestVoteReply(2, granted=True), 1.0)
    node.step(2, RequestVoteReply(2, granted=False), 1.0)
    node.step(3, RequestVoteReply(2, granted=True), 1.0)
    assert node.is_leader
    assert facts_of(node) == [
        (FactKind.ASKED, 1, None, Why.SILENCE),
        (FactKind.GOT_PRE_VOTE, 2, 1, None),
        (FactKind.MISSED_PRE_VOTE, 2, 2, None),
        (FactKind.GOT_PRE_VOTE, 2, 3, None),
        (FactKind.STOOD, 2, None, Why.PRE_VOTES),
        (FactKind.GOT_VOTE, 2, 1, None),
        (FactKind.MISSED_VOTE, 2, 2, None),
        (FactKind.GOT_VOTE, 2, 3, None),
    ]


def test_a_leader_says_why_it_steps_down() -> None:
    """It misses a majority, sees a later term, or is ordered to."""
    alone, deposed, resigned = make_leader(), make_leader(), make_leader()
    for node in (alone, deposed, resigned):
        node.facts.take()
    alone.wake(alone.now + 10.0)
    assert facts_of(alone) == [(FactKind.STEPPED_DOWN, alone.term, None, Why.NO_QUORUM)]
    term = deposed.term
    deposed.step(1, AppendEntries(term + 1, 0, 0, 0), 1.0)
    assert facts_of(deposed) == [(FactKind.STEPPED_DOWN, term, 1, Why.HIGHER_TERM)]
    resigned.resign(1.0)
    assert facts_of(resigned) == [(FactKind.STEPPED_DOWN, resigned.term, None, Why.RESIGNED)]


def test_facts_alone_are_no_work_for_the_driver() -> None:
    """A fact asks for no turn: the driver takes it with the next one."""
    node = follower_of(1)
    node.step(2, PreVote(2, last_index=5, last_term=1), 0.01)
    assert node.facts.waiting
    assert not node.has_ready()


def test_facts_that_nobody_takes_are_bounded() -> None:
    """At most FACTS_MAX wait, the oldest ones."""
    facts = Facts()
    for term in range(FACTS_MAX + 1):
        facts.note(0.0, FactKind.STOOD, term)
    assert [fact.term for fact in facts.take()] == [*range(FACTS_MAX)]
    assert not facts.waiting
    assert facts.take() == []


def test_a_fact_has_the_time_of_its_input() -> None:
    """The times of facts are those of the driver's clock."""
    node = make_node(term=1)
    campaign(node)
    assert {fact.at for fact in node.facts.take()} == {node.now}
    assert Fact(1.0, FactKind.STOOD, 1).why is None
