"""A member is reached elsewhere, a learner replaces: what the log takes over, and what it refuses."""

import pytest

from kvraft.commands import MoveMember, RemoveMember
from kvraft.config import Address
from kvraft.raft import Membership
from kvraft.replica.administration import AdminRefused, moved, with_learner
from tests.replica.cluster import Cluster, write
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
    """A request in its name then comes from a process on a copy of its data; an operator's request counts."""
    for member in range(3):
        refusal = carry_out(cluster, MoveMember(member, "127.0.0.1:9997", "its own")).error
        assert f"node {member} runs twice" in str(refusal)
    assert carry_out(cluster, MoveMember(1, "127.0.0.1:9997")).answer == {"status": "OK"}


@pytest.mark.parametrize(("size", "silent"), [(2, []), (3, [1]), (5, [1, 2])])
def test_a_move_into_a_dead_end_is_refused(size: int, silent: list[int]) -> None:
    """If no process answers as the member, a majority must answer without it; the refusal says what to do."""
    cluster = Cluster(size)
    leader = cluster.elect()
    others = [member for member in range(size) if member != leader]
    for member in others[: len(silent)]:
        cluster.kill(member)
    cluster.run(1.0)
    for member in (others[-1], leader):
        refusal = str(carry_out(cluster, MoveMember(member, "127.0.0.1:9999")).error)
        assert f"node {member} has not answered at 127.0.0.1:9999" in refusal
        assert "start it there first" in refusal
        assert "force the change" in refusal
    cluster.do(write("goes on"))

    cluster.places[others[-1]] = Address("127.0.0.1", 9999)
    assert carry_out(cluster, MoveMember(others[-1], "127.0.0.1:9999")).answer == {"status": "OK"}
    assert carry_out(cluster, MoveMember(leader, "127.0.0.1:9998", force=True)).answer == {"status": "OK"}


def test_who_has_just_been_moved_away_counts_no_more(cluster: Cluster) -> None:
    """However recent its last message: two quick moves are a dead end, and so is a move and a removal."""
    leader = cluster.elect()
    first, second = (member for member in range(3) if member != leader)
    assert carry_out(cluster, MoveMember(first, "127.0.0.1:9999")).answer == {"status": "OK"}
    cluster.cut(leader, first, noticed=True)  # as the leader dials the new address
    for command in (MoveMember(second, "127.0.0.1:9998"), RemoveMember(second)):
        assert "the cluster would stop" in str(carry_out(cluster, command).error)


def test_a_leader_that_is_reached_elsewhere_moves_itself(cluster: Cluster) -> None:
    """After the whole cluster has moved; a copy of its data that asks for another place is refused."""
    leader = cluster.elect()
    cluster.places[leader] = Address("127.0.0.1", 9999)
    assert "runs twice: it answers at 127.0.0.1:9999" in str(
        carry_out(cluster, MoveMember(leader, "127.0.0.1:9998", "its own")).error
    )
    assert carry_out(cluster, MoveMember(leader, "127.0.0.1:9999", "its own")).answer == {"status": "OK"}


def test_a_member_that_answers_where_it_asks_to_be_is_no_copy(cluster: Cluster) -> None:
    """It was found by its hello or by config.json before the log had its new address."""
    leader = cluster.elect()
    member = next(each for each in range(3) if each != leader)
    cluster.places[member] = Address("127.0.0.1", 9999)
    assert carry_out(cluster, MoveMember(member, "127.0.0.1:9999", "its own")).answer == {"status": "OK"}
    cluster.says[member] = Address("127.0.0.1", 9998)  # and answers at both addresses
    assert carry_out(cluster, MoveMember(member, "127.0.0.1:9998", "its own")).answer == {"status": "OK"}


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
