"""The configuration as a value: what it must satisfy, which sets decide, and its way through an entry (§6; row 20)."""

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvraft.raft import Membership
from kvraft.raft.membership import REMOVED_KEPT, REMOVED_MAX

IDS = st.frozensets(st.integers(0, 9), max_size=5)


@st.composite
def memberships(draw: st.DrawFn) -> Membership:
    """Return any configuration that there can be."""
    voters = draw(st.frozensets(st.integers(0, 9), min_size=1, max_size=5))
    outgoing = draw(IDS)
    learners = draw(IDS) - voters - outgoing
    promoting = frozenset(member for member in learners if draw(st.booleans()))
    replacing = {member: draw(st.sampled_from(sorted(voters))) for member in promoting if draw(st.booleans())}
    addresses = {member: draw(st.text(max_size=5)) for member in voters | learners}
    removed = draw(IDS) - voters - learners
    known = {member: draw(st.text(max_size=5)) for member in voters | outgoing | learners if draw(st.booleans())}
    below = draw(st.integers(0, 9))
    return Membership(voters, outgoing, learners, promoting, replacing, addresses, removed, known, below)


@given(memberships())
def test_row_20_nothing_is_lost_on_the_way_through_an_entry(membership: Membership) -> None:
    """Learners, those to be promoted, and the voters that they replace: all is read back as written (row 20)."""
    assert Membership.decode(membership.encode()) == membership


@given(memberships())
def test_equal_configurations_are_equal_bytes(membership: Membership) -> None:
    """The order in which a set is built does not show in the entry."""
    again = Membership(
        sorted(membership.voters, reverse=True),
        sorted(membership.outgoing, reverse=True),
        sorted(membership.learners, reverse=True),
        sorted(membership.promoting, reverse=True),
        dict(reversed(list(membership.replacing.items()))),
        dict(reversed(list(membership.addresses.items()))),
        sorted(membership.removed, reverse=True),
        dict(reversed(list(membership.incarnations.items()))),
        membership.removed_below,
    )
    assert again.encode() == membership.encode()


def test_an_entry_can_be_read_by_a_person() -> None:
    """What is not there is not written."""
    membership = Membership([1, 0], learners=[2], promoting=[2], replacing={2: 0}, addresses={2: "there:1"})
    expected = b'{"voters":[0,1],"learners":[2],"promoting":[2],"replacing":[[2,0]],"addresses":[[2,"there:1"]]}'
    assert membership.encode() == expected


@pytest.mark.parametrize(
    "payload", [b"", b"{}", b'{"voters":[]}', b'{"voters":[0],"learners":[0]}', b'{"voters":[0],"x":1}']
)
def test_what_is_no_membership_is_refused(payload: bytes) -> None:
    """Bytes that hold no configuration, or an impossible one, are a ValueError."""
    with pytest.raises(ValueError):  # noqa: PT011 - msgspec's words are its own
        Membership.decode(payload)


@pytest.mark.parametrize(
    ("named", "why"),
    [
        ({"voters": ()}, "at least one voter"),
        ({"voters": (0,), "learners": (0,)}, "either a voter or a learner"),
        ({"voters": (0,), "outgoing": (1,), "learners": (1,)}, "either a voter or a learner"),
        ({"voters": (0,), "promoting": (1,)}, "only a learner can be promoted"),
        ({"voters": (0,), "learners": (1,), "replacing": {1: 0}}, "only a learner can be promoted"),
        ({"voters": (0,), "incarnations": {1: "a"}}, "only a member's id"),
        ({"voters": (0,), "removed": (0,)}, "does not come back under the same id"),
        ({"voters": (0,), "learners": (1,), "removed": (1,)}, "does not come back under the same id"),
    ],
)
def test_an_impossible_configuration_cannot_be_made(named: dict[str, Any], why: str) -> None:
    """The rules of a configuration are checked where it is made."""
    with pytest.raises(ValueError, match=why):
        Membership(**named)


def test_a_learner_is_a_member_that_decides_nothing() -> None:
    """Learners receive the log, and neither their votes nor their acknowledgements count (thesis §4.2.1)."""
    membership = Membership([0, 1], [1, 2], [3])
    assert membership.members == {0, 1, 2, 3}
    assert membership.majorities == ({0, 1}, {1, 2})
    assert [membership.decides(member) for member in range(4)] == [True, True, True, False]


@given(memberships(), st.integers(0, 200), st.integers(0, 20))
def test_a_compacted_configuration_lets_nobody_back(membership: Membership, count: int, first: int) -> None:
    """A removed id stays removed, the members stay members, and no more ids are named than the limit allows."""
    gone = frozenset(range(10 + first, 10 + first + count))
    before = attrs.evolve(membership, removed=membership.removed | gone, removed_below=0)

    after = before.compacted()

    assert len(after.removed) <= REMOVED_MAX
    assert all(each in after.departed for each in before.removed)
    assert not any(member in after.departed for member in after.voters | after.learners)
    assert attrs.evolve(after, removed=before.removed, removed_below=0) == before
    assert all(each >= after.removed_below for each in after.removed)
    if len(before.removed) <= REMOVED_MAX:
        assert after == before, "and a node of an earlier level gets nothing that it cannot read"


def test_the_limit_of_removed_ids() -> None:
    """One below and at the limit all are named, one above it the highest are, and the next above the bound."""
    for count in (REMOVED_MAX - 1, REMOVED_MAX):
        named = Membership([0], removed=range(1, count + 1))
        assert named.compacted() == named
    compacted = Membership([0, 500], removed=range(1, REMOVED_MAX + 2)).compacted()
    assert sorted(compacted.removed) == [*range(REMOVED_MAX + 2 - REMOVED_KEPT, REMOVED_MAX + 2)]
    assert compacted.removed_below == min(compacted.removed)
    assert compacted.removed_with(0) == compacted.removed
    assert compacted.removed_with(500) == compacted.removed | {500}
    assert 0 not in compacted.departed
    assert {1, REMOVED_MAX + 1} <= {each for each in range(500) if each in compacted.departed}


def test_a_configuration_of_an_earlier_level_is_written_as_before() -> None:
    """The bound is in no entry that an earlier kvraft may read."""
    assert b"removed_below" not in Membership([0], removed=[1]).encode()
    assert Membership.decode(b'{"voters":[0],"removed":[7]}').removed_below == 0
