"""Majorities: what a set of voters has agreed on, with one configuration or two joint ones (§5, §6).

In joint consensus every decision needs a majority of the old voters *and* a majority of the new ones. So each function
takes all the sets of voters and returns what a majority of every set supports.
"""

import enum
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TypeVar

Voters = Collection[int]
_T = TypeVar("_T", int, float)


class Outcome(enum.Enum):
    """The state of an election."""

    WON = "won"
    PENDING = "pending"
    LOST = "lost"


def majority(size: int) -> int:
    """Return how many of `size` voters make a majority."""
    return size // 2 + 1


def reached(majorities: Iterable[Voters], value: Callable[[int], _T]) -> _T:
    """Return the highest value that a majority of each set of voters has reached.

    With match indexes this is the index stored on a quorum (§5.3); with times of last contact, the time since which
    each member of a quorum has answered (CheckQuorum); with read rounds, the newest confirmed one (thesis §6.4).
    """
    return min([sorted(map(value, voters))[len(voters) - majority(len(voters))] for voters in majorities])


def election(majorities: Iterable[Voters], votes: Mapping[int, bool]) -> Outcome:
    """Count votes: True is a grant, False a refusal, absent is not yet known (§5.2)."""
    outcome = Outcome.WON
    for voters in majorities:
        assert voters, "a majority needs at least one voter"
        granted = sum(1 for voter in voters if votes.get(voter) is True)
        refused = sum(1 for voter in voters if votes.get(voter) is False)
        if refused > len(voters) - majority(len(voters)):
            return Outcome.LOST
        if granted < majority(len(voters)):
            outcome = Outcome.PENDING
    return outcome
