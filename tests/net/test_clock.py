"""What the service does to its process: its clock and its limits. Its life is tested with real processes."""

import time
from collections.abc import Callable, Iterator

import pytest
from twisted.internet.base import ReactorBase
from twisted.internet.epollreactor import EPollReactor

from kvraft.net.clock import use_monotonic_time

HOUR_S = 3600.0


@pytest.fixture
def reactor(monkeypatch: pytest.MonkeyPatch) -> Iterator[ReactorBase]:
    """A reactor of its own, never run, whose turns the test takes one by one.

    Like Twisted's it follows `time.time`, but looks it up each time, so that a test can set the clock.
    """
    monkeypatch.setattr(ReactorBase, "seconds", staticmethod(lambda: time.time()))  # noqa: PLW0108 - see above
    reactor = EPollReactor()
    yield reactor
    for call in reactor.getDelayedCalls():
        call.cancel()
    for reader in reactor.removeAll():
        reader.connectionLost(None)


def shift_wall_clock(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let somebody set the clock of the machine."""
    true_time: Callable[[], float] = time.time
    monkeypatch.setattr(time, "time", lambda: true_time() + seconds)


@pytest.mark.parametrize("shift_s", [HOUR_S, -HOUR_S])
def test_a_jump_of_the_wall_clock_moves_no_timer(
    reactor: ReactorBase, monkeypatch: pytest.MonkeyPatch, shift_s: float
) -> None:
    """A timer that was due in a minute is still due in a minute when the clock was set by an hour (row 29)."""
    use_monotonic_time(reactor)
    fired: list[str] = []
    reactor.callLater(60, fired.append, "early")
    due = reactor.timeout()
    shift_wall_clock(monkeypatch, shift_s)
    reactor.runUntilCurrent()
    left = reactor.timeout()
    assert fired == []
    assert due is not None
    assert left is not None
    assert due - 50 < left <= due


def test_without_it_a_jump_fires_every_timer(reactor: ReactorBase, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twisted alone follows the wall clock, so the cure is still needed."""
    fired: list[str] = []
    reactor.callLater(60, fired.append, "early")
    shift_wall_clock(monkeypatch, HOUR_S)
    reactor.runUntilCurrent()
    assert fired == ["early"]
