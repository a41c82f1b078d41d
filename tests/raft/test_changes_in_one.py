"""Changes of the members that leave, add or hand over in one step."""

import attrs
import pytest

from kvraft.raft import Membership, ProposalRefused, transfer
from kvraft.raft.messages import TimeoutNow
from tests.raft.single import leader_role, make_sure_leader


def test_a_voter_and_a_bound_learner_leave_in_one_change() -> None:
    """The joint configuration binds only its own members."""
    membership = Membership(range(3), learners={3}, incarnations={0: "a", 1: "b", 2: "c", 3: "d"})
    node = make_sure_leader(1, membership=membership)

    node.change_membership(Membership((0, 1), incarnations={0: "a", 1: "b"}), node.now)

    assert node.membership.members == {0, 1, 2}
    assert sorted(node.membership.incarnations) == [0, 1, 2]


def test_a_voter_that_is_bound_to_nothing_is_refused() -> None:
    """It would count for every majority and never vote."""
    membership = Membership(range(3), incarnations={0: "a", 1: "b", 2: "c"})
    node = make_sure_leader(1, membership=membership)

    with pytest.raises(ProposalRefused, match="a voter without a vote"):
        node.change_membership(attrs.evolve(membership, voters=range(4)), node.now, force=True)


def test_a_leader_that_has_removed_itself_hands_over_to_nobody_silent() -> None:
    """The longest log is no help on a member that has not answered lately."""
    node = make_sure_leader(1, members=3)
    leader = leader_role(node)
    leader.progress[1].match += 1
    leader.progress[1].last_contact = node.now - node.options.election_timeout_max
    leader.progress[2].last_contact = node.now

    transfer.order_successor(node, leader)

    assert [to for to, message in node.messages if isinstance(message, TimeoutNow)] == [2]
