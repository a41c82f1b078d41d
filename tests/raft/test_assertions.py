"""The core notices at once what must never be, in production too: each assertion stops the node with words."""

import random
from collections.abc import Callable

import attrs
import pytest

from kvraft.raft import HardState, Membership, Node, changes, election, quorum
from kvraft.raft.log import Log
from kvraft.raft.progress import Progress, State
from tests.raft.single import campaign, leader_role, make_entries

BOUND = Membership(range(3), incarnations={1: "one"})


def follower() -> Node:
    """Return a node in term 5 that has voted."""
    return Node(0, Membership(range(3)), now=0.0, random=random.Random(1), hard_state=HardState(5, 1, 0))


def promise(before: HardState, **changed: object) -> None:
    """Let a node with this hard state save another one."""
    node = Node(0, Membership(range(3)), now=0.0, random=random.Random(1), hard_state=before)
    for name, value in changed.items():
        setattr(node, name, value)
    node.ready()


def change_of(before: Membership, after: Membership) -> None:
    """Let the leader of one configuration append another without asking whether it may."""
    node = Node(0, Membership([0]), now=0.0, random=random.Random(1))
    campaign(node)
    node.advance(node.ready())
    node.memberships.append((node.log.last_index, before))
    changes.append(node, leader_role(node), after)


@pytest.mark.parametrize(
    ("breach", "words"),
    [
        (lambda: election.become_follower(follower(), 4, None), "the term goes back from 5 to 4"),
        (lambda: election.become_leader(follower()), "a Follower wins an election"),
        (lambda: promise(HardState(5, 1), vote=2), "the vote for 1 in term 5 stands"),
        (lambda: promise(HardState(5, 1, founder=True), term=6, founder=False), "a founder stays one"),
        (lambda: Log(make_entries(1, 1)).slice(1, 3), "entry 3 is asked for, and the log ends at 2"),
        (lambda: Log(snapshot_index=4, snapshot_term=1).truncate_from(4), "covered by a snapshot"),
        (lambda: Progress(3, state=State.SNAPSHOT).sent(3, 9, 0.0), "sent no entries"),
        (lambda: Progress(3, probing=True).sent(3, 9, 0.0), "one probe at a time"),
        (lambda: Progress(3, match=3).become_probe(), "match 3 < next 3"),
        (lambda: quorum.election([()], {}), "a majority needs at least one voter"),
        (lambda: change_of(BOUND, attrs.evolve(BOUND, incarnations={1: "two"})), "node 1 is bound once more"),
        (lambda: change_of(Membership([0], removed=[7]), Membership([0, 7])), "an id that was removed comes back"),
    ],
)
def test_what_must_never_be_stops_the_node(breach: Callable[[], object], words: str) -> None:
    """The words name the rule and what was found."""
    with pytest.raises(AssertionError, match=words):
        breach()
