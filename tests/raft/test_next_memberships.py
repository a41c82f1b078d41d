"""The configurations that can follow one: what changes in each, and that all else stays (§6, thesis §4.2)."""

from collections.abc import Callable
from typing import Final

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kvraft.raft import Membership
from tests.raft.test_membership import memberships

FULL: Final = Membership(
    voters=[0, 1, 2],
    learners=[3, 4],
    promoting=[3, 4],
    replacing={3: 0, 4: 1},
    addresses={member: f"host{member}:1" for member in range(5)},
    removed=[7, 8],
    incarnations={0: "a", 1: "b", 3: "c"},
    removed_below=6,
)
"""A configuration in which every field but the outgoing voters says something."""
JOINT: Final = attrs.evolve(FULL, outgoing=[0, 1, 6])


def fields_changed(before: Membership, after: Membership) -> set[str]:
    """Return the names of the fields that are not the same."""
    names = {field.name for field in attrs.fields(Membership)}
    return {name for name in names if getattr(before, name) != getattr(after, name)}


def test_a_learner_is_added() -> None:
    """It is reached at its address and will be promoted; it replaces no voter."""
    after = FULL.with_learner(9, "new:1")

    assert fields_changed(FULL, after) == {"learners", "promoting", "addresses"}
    assert after.learners == after.promoting == {3, 4, 9}
    assert after.addresses == {**FULL.addresses, 9: "new:1"}


def test_a_learner_that_replaces_is_added() -> None:
    """The member that it replaces is a voter until then."""
    after = FULL.with_learner(9, "new:1", replaces=2)

    assert fields_changed(FULL, after) == {"learners", "promoting", "replacing", "addresses"}
    assert after.replacing == {3: 0, 4: 1, 9: 2}


def test_a_learner_may_be_told_later_whom_it_replaces() -> None:
    """A learner that is there already will be promoted from then on."""
    only_learns = Membership([0, 1], learners=[3], addresses={3: "there:1"})

    after = only_learns.with_learner(3, "there:1", replaces=1)

    assert after == attrs.evolve(only_learns, promoting=[3], replacing={3: 1})


def test_a_voter_leaves() -> None:
    """Nothing is kept of it but its id, and no learner replaces it."""
    after = FULL.without(0)

    assert fields_changed(FULL, after) == {"voters", "replacing", "addresses", "incarnations"}
    assert after.voters == {1, 2}
    assert after.replacing == {4: 1}
    assert after.addresses.keys() == {1, 2, 3, 4}
    assert after.incarnations == {1: "b", 3: "c"}
    assert 0 in after.departed, "which names no id below its bound"
    assert attrs.evolve(FULL, removed_below=0).without(0).removed == {0, 7, 8}


def test_a_learner_leaves() -> None:
    """It replaces no voter any more."""
    after = FULL.without(3)

    assert fields_changed(FULL, after) == {"learners", "promoting", "replacing", "addresses", "incarnations"}
    assert after.learners == after.promoting == {4}
    assert after.replacing == {4: 1}
    assert Membership([0, 1], learners=[3]).without(3).removed == {3}


def test_a_member_moves() -> None:
    """Its address changes and nothing else; also while another change is under way."""
    for before in (FULL, JOINT):
        after = before.moved(1, "elsewhere:1")
        assert fields_changed(before, after) == {"addresses"}
        assert after.addresses == {**FULL.addresses, 1: "elsewhere:1"}


def test_a_promoted_learner_takes_the_place_of_the_one_it_replaces() -> None:
    """One configuration has the new voter and not the old one any more; the others' promotions stay."""
    after = FULL.promoted(3)

    assert fields_changed(FULL, after) == {
        "voters",
        "learners",
        "promoting",
        "replacing",
        "addresses",
        "incarnations",
    }
    assert after.voters == {1, 2, 3}
    assert after.learners == after.promoting == {4}
    assert after.replacing == {4: 1}
    assert after.addresses.keys() == {1, 2, 3, 4}
    assert after.incarnations == {1: "b", 3: "c"}
    assert attrs.evolve(FULL, removed_below=0).promoted(3).removed == {0, 7, 8}
    assert Membership([0], (), [1], [1]).promoted(1) == Membership([0, 1])


def test_who_has_left_already_is_not_replaced() -> None:
    """The learner only grows the cluster then, even if the other one has come back as a learner."""
    assert Membership([1], (), [2], [2], {2: 0}).promoted(2) == Membership([1, 2])
    assert Membership([1], (), [0, 2], [2], {2: 0}).promoted(2) == Membership([1, 2], (), [0])


def test_members_are_bound_to_their_memories() -> None:
    """The bindings that stand are kept."""
    after = FULL.bound({2: "d"})

    assert fields_changed(FULL, after) == {"incarnations"}
    assert after.incarnations == {0: "a", 1: "b", 2: "d", 3: "c"}
    assert not after.differs_in_members(FULL)
    assert FULL.moved(0, "elsewhere:1").differs_in_members(FULL)


def test_the_way_to_other_voters_is_joint() -> None:
    """The old voters decide, are reached and are known until it is over (§6)."""
    target = FULL.promoted(3)

    joint = target.joint_from(FULL)

    assert fields_changed(target, joint) == {"outgoing", "addresses", "incarnations"}
    assert joint.majorities == ({1, 2, 3}, {0, 1, 2})
    assert (joint.addresses, joint.incarnations) == (FULL.addresses, FULL.incarnations)
    assert joint.without_outgoing() == target


def test_a_learner_that_leaves_with_a_voter_leaves_at_once() -> None:
    """It decides nothing; and a member that moves in the same change has the new address."""
    target = FULL.without(3).without(0).moved(1, "elsewhere:1")

    joint = target.joint_from(FULL)

    assert joint.members == {0, 1, 2, 4}
    assert joint.addresses == {0: "host0:1", 1: "elsewhere:1", 2: "host2:1", 4: "host4:1"}
    assert joint.incarnations == {0: "a", 1: "b"}
    assert joint.without_outgoing() == target


@given(memberships(), st.data())
def test_every_joint_configuration_leads_where_it_was_meant_to(before: Membership, data: st.DataObject) -> None:
    """Whichever nodes leave or are promoted: the way to a target ends at the target."""
    before = attrs.evolve(before, outgoing=(), incarnations={}, addresses=dict.fromkeys(before.voters, "there:1"))
    leaving = data.draw(st.sampled_from(sorted(before.voters)))
    assume(before.voters != {leaving})
    targets = [before.without(leaving), *(before.promoted(learner) for learner in before.promoting)]

    for target in targets:
        assert target.joint_from(before).without_outgoing() == target
        assert Membership.decode(target.encode()) == target


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda: JOINT.with_learner(9, "new:1"), "half-way to another one"),
        (lambda: JOINT.without(1), "half-way to another one"),
        (lambda: JOINT.promoted(3), "half-way to another one"),
        (lambda: JOINT.joint_from(FULL), "leads to one that is not"),
        (lambda: FULL.joint_from(JOINT), "follows a joint one"),
        (FULL.without_outgoing, "has no target"),
        (lambda: FULL.with_learner(0, "new:1"), "votes already"),
        (lambda: FULL.with_learner(7, "new:1"), "was removed"),
        (lambda: FULL.with_learner(5, "new:1"), "was removed"),
        (lambda: FULL.with_learner(9, "new:1", replaces=3), "no voter"),
        (lambda: FULL.without(9), "no member"),
        (lambda: Membership([0], learners=[1]).without(0), "the only voter"),
        (lambda: FULL.moved(9, "new:1"), "no member"),
        (lambda: FULL.promoted(2), "not a learner that is to be promoted"),
        (lambda: FULL.bound({0: "d"}), r"\[0\] are bound once more"),
    ],
)
def test_a_configuration_that_cannot_follow_is_a_defect(change: Callable[[], Membership], why: str) -> None:
    """The function that makes one does not check it."""
    with pytest.raises(AssertionError, match=why):
        change()
