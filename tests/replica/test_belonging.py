"""Whom a node talks to although it knows of no membership: who goes by a later configuration than it does."""

from random import Random

import pytest
from twisted.internet.task import Clock

from kvraft.raft import HardState, Membership, Node
from kvraft.replica.belonging import Belonging
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
