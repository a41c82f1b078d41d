"""Long work is done in small steps with rests between them, so that no step holds a turn for long."""

from collections.abc import Callable, Sized
from itertools import pairwise

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from kvraft.replica import pacing
from kvraft.replica.pacing import FORGOTTEN_AT_ONCE, FREED_AT_ONCE, REST_S_MAX, forget, free, rest
from tests.raft.single import make_node


@pytest.mark.parametrize(
    ("worked", "share", "pause"), [(0.002, 0.25, 0.006), (0.004, 0.5, 0.004), (9.0, 0.25, REST_S_MAX)]
)
def test_a_rest_is_as_long_as_the_share_demands(worked: float, share: float, pause: float) -> None:
    """Work of 2 ms with a share of a quarter is followed by 6 ms of rest; no rest is longer than the limit."""
    clock = Clock()
    clock.advance(worked)

    resting = Deferred.fromCoroutine(rest(clock, 0.0, share))

    clock.advance(pause * 0.9)
    assert not resting.called
    clock.advance(pause * 0.2)
    assert resting.called


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """What is called whenever a step is over: tests add to it."""
    called: list[Callable[[], None]] = []

    async def look(*_: object) -> None:
        for each in called:
            each()

    monkeypatch.setattr(pacing, "rest", look)
    return called


def test_what_is_freed_goes_in_steps(looks: list[Callable[[], None]]) -> None:
    """One step frees no more keys than allowed, but for the last piece; to free empty pieces is work as well."""
    sizes = [300] * 40 + [0] * 5000
    pieces: list[Sized] = [dict.fromkeys(range(size)) for size in sizes]

    def count() -> None:
        left.append(sum(map(len, pieces)) + len(pieces))

    left: list[int] = []
    count()
    looks.append(count)

    Deferred.fromCoroutine(free(Clock(), pieces))

    assert pieces == []
    assert max(before - after for before, after in pairwise(left)) < FREED_AT_ONCE + 301


@pytest.mark.parametrize(("size", "at_once"), [(10**9, FORGOTTEN_AT_ONCE), (1000, 40)])
def test_the_log_is_forgotten_in_steps(
    looks: list[Callable[[], None]], monkeypatch: pytest.MonkeyPatch, size: int, at_once: int
) -> None:
    """One step drops no more entries, and no more bytes of them, than allowed."""
    monkeypatch.setattr(pacing, "FORGOTTEN_BYTES_AT_ONCE", size)
    node = make_node(*[1] * 5000, commit=5000)
    begins = [0]
    looks.append(lambda: begins.append(node.log.snapshot_index))

    Deferred.fromCoroutine(forget(Clock(), node, 4500))

    assert begins[-1] == node.log.snapshot_index == 4500
    assert 0 < max(after - before for before, after in pairwise(begins)) <= at_once


def test_nothing_is_forgotten_that_was_not_given_out() -> None:
    """The log is dropped as far as its entries were handed out to be applied, and no further."""
    clock = Clock()
    node = make_node(*[1] * 30, commit=20)

    forgetting = Deferred.fromCoroutine(forget(clock, node, 30))
    clock.pump([0] * 5)

    assert forgetting.called
    assert node.log.snapshot_index == node.applying == 20
