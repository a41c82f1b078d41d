"""Majorities, each rule against a twin that tries everything (§5, §6)."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvraft.raft import Membership
from kvraft.raft.quorum import Outcome, election, majority, reached

VOTERS = st.frozensets(st.integers(0, 6), min_size=1)
MAJORITIES = st.lists(VOTERS, min_size=1, max_size=2)
MARKS = st.fixed_dictionaries({voter: st.integers(0, 5) for voter in range(7)})
VOTES = st.dictionaries(st.integers(0, 8), st.booleans())


def quorums(voters: frozenset[int]) -> list[set[int]]:
    """Return every set of voters that is a majority."""
    sets = [set(chosen) for size in range(len(voters) + 1) for chosen in combinations(sorted(voters), size)]
    return [chosen for chosen in sets if 2 * len(chosen) > len(voters)]


def dumb_reached(majorities: list[frozenset[int]], marks: dict[int, int]) -> int:
    """Return the highest value for which each set has a majority that has reached it."""
    return max(
        value
        for value in range(6)
        if all(any(all(marks[v] >= value for v in quorum) for quorum in quorums(voters)) for voters in majorities)
    )


def dumb_election(majorities: list[frozenset[int]], votes: dict[int, bool]) -> Outcome:
    """Say how an election stands by trying every majority."""
    if all(any(all(votes.get(v) is True for v in quorum) for quorum in quorums(voters)) for voters in majorities):
        return Outcome.WON
    for voters in majorities:
        if not any(all(votes.get(v) is not False for v in quorum) for quorum in quorums(voters)):
            return Outcome.LOST
    return Outcome.PENDING


@pytest.mark.parametrize(("size", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (7, 4)])
def test_a_majority_is_more_than_half(size: int, needed: int) -> None:
    """Any two majorities have a member in common (§5)."""
    assert majority(size) == needed
    assert 2 * needed > size


@given(MAJORITIES, MARKS)
def test_what_a_quorum_has_reached(majorities: list[frozenset[int]], marks: dict[int, int]) -> None:
    """The sorted median is what trying every majority finds, with one configuration and with two."""
    assert reached(majorities, marks.__getitem__) == dumb_reached(majorities, marks)


@given(MAJORITIES, VOTES)
def test_how_an_election_stands(majorities: list[frozenset[int]], votes: dict[int, bool]) -> None:
    """Counting finds what trying every majority finds; the votes of strangers count for nothing."""
    assert election(majorities, votes) is dumb_election(majorities, votes)


def test_a_membership_has_a_voter_and_learners_apart() -> None:
    """A configuration without voters, or in which a learner votes, is refused."""
    with pytest.raises(ValueError, match="at least one voter"):
        Membership([])
    with pytest.raises(ValueError, match="either a voter or a learner"):
        Membership([0, 1], learners=[1])
    with pytest.raises(ValueError, match="either a voter or a learner"):
        Membership([0], outgoing=[1], learners=[1])


def test_who_belongs_and_who_decides() -> None:
    """Everyone receives the log; voters and outgoing voters decide (§6, thesis §4.2.1)."""
    simple = Membership([0, 1, 2])
    joint = Membership([0, 1], outgoing=[1, 2], learners=[3])
    assert list(map(set, simple.majorities)) == [{0, 1, 2}] == [set(simple.members)]
    assert list(map(set, joint.majorities)) == [{0, 1}, {1, 2}]
    assert joint.members == {0, 1, 2, 3}
    assert [joint.decides(node) for node in range(5)] == [True, True, True, False, False]
