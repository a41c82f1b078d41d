from collections.abc import Callable
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from kvraft.chaos.nodes import Nodes
from kvraft.chaos.observer import NeverHappened, Observer

PATIENCE_S = 5.0
Statuses = dict[int, dict[str, Any]]


class ThreeNodes:
    """All the observer asks of nodes besides what they say."""

    ids = range(3)
    running = range(3)


class Scripted(Observer):
    """Has the statuses of the nodes; a leader answers a read, unless a test sets it otherwise."""

    def __init__(self, statuses: Statuses, *, answers: bool = True) -> None:
        self.clock = Clock()
        super().__init__(self.clock, cast(Nodes, ThreeNodes()))
        self.statuses = statuses
        self.answers = answers

    async def status(self, node: int) -> dict[str, Any]:
        """What that node says."""
        return self.statuses[node]

    async def command(self, node: int, line: str) -> dict[str, Any]:
        """A value, or an error."""
        return {"value": None} if self.answers else {"error": "TIMEOUT"}


def healthy() -> Statuses:
    """Three nodes that agree in everything: node 1 leads."""
    same = {"term": 4, "leader": 1, "commit": 9, "applied": 9, "checksum": "aa", "revision": 7, "keys": 3}
    return {node: {"role": "leader" if node == 1 else "follower", **same} for node in range(3)}


def but(node: int, **different: object) -> Statuses:
    """The same, with one node that says something else."""
    statuses = healthy()
    statuses[node] |= different
    return statuses


def silent(node: int) -> Statuses:
    """The same, with one node that says nothing."""
    return {**healthy(), node: {}}


def outcome(observer: Scripted, wait: Callable[[float], Any]) -> object:
    """Return what came of a wait, when all patience is over."""
    results: list[object] = []
    Deferred.fromCoroutine(wait(PATIENCE_S)).addBoth(results.append)
    observer.clock.pump([0.05] * round(PATIENCE_S / 0.05 + 10))
    (result,) = results
    return result


@pytest.mark.parametrize("name", ["await_answers", "await_progress", "await_equality"])
def test_healthy_nodes_are_seen_at_once(name: str) -> None:
    """Nodes that answer, follow one leader and hold the same are waited for no longer."""
    observer = Scripted(healthy())

    assert outcome(observer, getattr(observer, name)) == 0.0


@pytest.mark.parametrize(
    ("name", "observer"),
    [
        ("await_answers", Scripted(silent(2))),
        ("await_progress", Scripted(silent(2))),
        ("await_progress", Scripted(but(2, leader=None))),
        ("await_progress", Scripted(but(2, leader=0))),
        ("await_progress", Scripted({node: {"leader": None} for node in range(3)})),
        ("await_progress", Scripted(healthy(), answers=False)),
        ("await_equality", Scripted(silent(0))),
        ("await_equality", Scripted(but(0, applied=8))),
        ("await_equality", Scripted(but(0, checksum="bb"))),
        ("await_equality", Scripted(but(0, keys=4))),
    ],
)
def test_what_never_comes_is_told(name: str, observer: Scripted) -> None:
    """A node that is silent, that follows another or no leader, a leader that answers nothing, another state."""
    result = outcome(observer, getattr(observer, name))

    assert isinstance(result, Failure)
    assert result.check(NeverHappened)
    assert "after 5 s still no" in result.getErrorMessage()
    assert "'applied'" in result.getErrorMessage()


def test_what_comes_late_is_seen() -> None:
    """The wait ends when the last node follows, and returns how long it was."""
    observer = Scripted(but(2, leader=None))
    results: list[float] = []
    Deferred.fromCoroutine(observer.await_progress(PATIENCE_S)).addCallback(results.append)
    observer.clock.pump([0.05] * 20)
    assert results == []

    observer.statuses = healthy()
    observer.clock.pump([0.05] * 4)

    assert results == [pytest.approx(1.0, abs=0.2)]


@pytest.mark.parametrize(
    ("statuses", "leader"),
    [
        (healthy(), 1),
        (but(0, role="leader", term=5), 0),
        (but(0, role="leader", term=3), 1),
        (but(1, role="follower"), None),
        (silent(1), None),
    ],
)
def test_the_leader_of_the_highest_term_counts(statuses: Statuses, leader: int | None) -> None:
    """A leader that was deposed and does not know it yet is none."""
    results: list[int | None] = []

    Deferred.fromCoroutine(Scripted(statuses).leader()).addCallback(results.append)

    assert results == [leader]
