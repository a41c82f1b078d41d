"""A member is reached elsewhere, a learner replaces: what the log takes over, and what it refuses."""

import pytest

from kvraft.commands import MoveMember
from kvraft.raft import Membership
from kvraft.replica.administration import AdminRefused, moved, with_learner
from tests.replica.cluster import Cluster
from tests.replica.test_administration import carry_out


def test_a_member_moves(cluster: Cluster) -> None:
    """Its new address stands in the log, and a wrong one, a taken one and a foreign memory are refused."""
    order = carry_out(cluster, MoveMember(2, "127.0.0.1:9999"))
    assert order.answer == {"status": "OK"}
    for member in range(3):
        cluster.run_until(lambda: cluster.members[member].node.membership.addresses[2] == "127.0.0.1:9999")  # noqa: B023
        assert cluster.members[member].node.membership.voters == {0, 1, 2}

    for command, why in (
        (MoveMember(7, "127.0.0.1:9998"), "node 7 is no member"),
        (MoveMember(1, "127.0.0.1:9999"), "is the address of another member"),
        (MoveMember(1, "nowhere"), "this is no address"),
    ):
        assert why in str(carry_out(cluster, command).error)


def test_a_member_that_answers_at_its_old_address_does_not_move_itself(cluster: Cluster) -> None:
    """Who asks in its name then is a process on a copy of its data; an operator's word counts nevertheless."""
    for member in range(3):
        refusal = carry_out(cluster, MoveMember(member, "127.0.0.1:9997", "its own")).error
        assert f"node {member} runs twice" in str(refusal)
    assert carry_out(cluster, MoveMember(1, "127.0.0.1:9997")).answer == {"status": "OK"}


def test_only_the_known_memory_moves() -> None:
    """A node that says of itself that it has moved must have the memory that its id is bound to."""
    membership = Membership([0, 1], addresses={0: "a:1", 1: "b:1"}, incarnations={1: "kept"})

    assert moved(membership, 1, "c:1", "kept").addresses == {0: "a:1", 1: "c:1"}
    assert moved(membership, 0, "c:1", "any").addresses == {0: "c:1", 1: "b:1"}
    with pytest.raises(AdminRefused, match="another data directory"):
        moved(membership, 1, "c:1", "lost")


def test_a_learner_can_be_told_to_replace_a_voter() -> None:
    """One that was added before; at another address it would be another node."""
    membership = Membership(range(3), learners=[3], addresses={3: "127.0.0.1:9003"})
    target = with_learner(membership, 3, "127.0.0.1:9003", replaces=1)
    assert target.replacing == {3: 1}
    assert target.promoting == target.learners == {3}
    with pytest.raises(AdminRefused, match="a member already"):
        with_learner(membership, 3, "127.0.0.1:9004", replaces=1)
    with pytest.raises(AdminRefused, match="a member already"):
        with_learner(membership, 3, "127.0.0.1:9003")
