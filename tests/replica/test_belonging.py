"""Whom a node talks to although it knows of no membership: who goes by a later configuration than it does."""

from random import Random

import pytest
from twisted.internet.task import Clock

from kvraft import exits
from kvraft.peers import LOST_DATA
from kvraft.raft import CommittedContradicted, HardState, Membership, MessageRefused, Node
from kvraft.replica.belonging import (
    CONTRADICTIONS_MAX,
    HAS_AN_OLDER_COPY,
    KNOWS_BETTER,
    LAST_ANSWERS_S,
    Belonging,
)
from kvraft.replica.outbox import Nowhere
from tests.replica.cluster import address


@pytest.mark.parametrize(
    ("ours", "known_as", "voting", "term", "index", "is_admitted"),
    [
        ("cluster", None, True, 1, 1, True),
        ("cluster", None, False, 1, 1, True),
        ("cluster", None, True, 1, 0, False),
        (None, None, False, 1, 1, True),
        (None, None, True, 1, 1, False),
        (None, None, True, 0, 1, True),
        (None, "ours", True, 1, 1, True),
        (None, "ours", True, 1, 0, False),
        (None, "another", True, 1, 1, False),
        (None, "another", True, 0, 1, False),
    ],
)
def test_who_has_promised_something_believes_no_stranger_before_it_knows_its_cluster(
    ours: str | None, known_as: str | None, *, voting: bool, term: int, index: int, is_admitted: bool
) -> None:
    """Nobody depends on who has no vote or is in term 0; all others believe their own cluster, which knows them."""
    founders = Membership([0, 1])
    node = Node(0, founders, now=0.0, random=Random(1), hard_state=HardState(term), incarnation="ours")
    if voting:
        node.regain_vote()
    belonging = Belonging(node, Clock(), lambda _: None)

    assert node.voting is voting
    facts = {"configuration": index, "address": address(7)}
    assert belonging.admits(7, facts, ours, known_as, Nowhere()) is is_admitted


def test_a_node_that_knows_better_than_its_leader_ends() -> None:
    """A leader that contradicts what is committed here would be dropped for ever; other refusals count nothing."""
    clock, said = Clock(), list[exits.LastWords]()
    belonging = Belonging(Node(0, Membership([0, 1]), now=0.0, random=Random(1)), clock, said.append)

    for _ in range(CONTRADICTIONS_MAX - 1):
        belonging.was_told_impossible(CommittedContradicted("entry 1"))
        belonging.was_told_impossible(MessageRefused("nonsense"))
    clock.advance(LAST_ANSWERS_S)
    assert said == []
    belonging.was_told_impossible(CommittedContradicted("entry 1"))
    clock.advance(LAST_ANSWERS_S)
    assert said == [KNOWS_BETTER]


@pytest.mark.parametrize(("peer", "ends"), [(1, True), (3, False)])
def test_a_voter_s_word_is_enough_for_who_lost_data(peer: int, *, ends: bool) -> None:
    """Only the leader can know it, and the node may not know yet who that is; a learner leads nobody."""
    clock, said = Clock(), list[exits.LastWords]()
    node = Node(0, Membership(range(3), learners=[3]), now=0.0, random=Random(1))
    Belonging(node, clock, said.append).refused(peer, LOST_DATA)
    clock.advance(LAST_ANSWERS_S)
    assert said == ([HAS_AN_OLDER_COPY] if ends else [])
