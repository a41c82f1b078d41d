"""Whom a node talks to although it knows of no membership: who goes by a later configuration than it does."""

from random import Random

import pytest
from twisted.internet.task import Clock

from kvraft.raft import Membership, Node
from kvraft.replica.belonging import Belonging
from kvraft.replica.outbox import Nowhere
from tests.replica.cluster import address


@pytest.mark.parametrize(
    ("ours", "voting", "index", "is_admitted"),
    [
        ("cluster", True, 1, True),
        ("cluster", False, 1, True),
        ("cluster", True, 0, False),
        (None, False, 1, True),
        (None, True, 1, False),
    ],
)
def test_who_has_a_vote_believes_no_stranger_before_it_knows_its_cluster(
    ours: str | None, *, voting: bool, index: int, is_admitted: bool
) -> None:
    """Nobody depends on what a node without a vote has promised; all others are believed in their own cluster alone."""
    node = Node(0, Membership([0, 1]), now=0.0, random=Random(1), voting=voting)
    belonging = Belonging(node, Clock(), lambda _: None)

    assert node.voting is voting
    facts = {"configuration": index, "address": address(7)}
    assert belonging.admits(7, facts, ours, Nowhere()) is is_admitted
