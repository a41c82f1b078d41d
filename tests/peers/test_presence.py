"""One line of the log for each peer that comes or goes, however many connections that takes."""

from typing import Final

import pytest
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.error import DNSLookupError
from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, formatEvent

from kvraft.net.endpoint import why_unreachable
from kvraft.peers.keepalive import INTERVAL_S
from kvraft.peers.presence import ONE_WAY_S, Direction, Presence

TO: Final = Direction.TO
FROM: Final = Direction.FROM


class Stage:
    """A presence, its clock, and what it has said."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.events: list[LogEvent] = []
        self.presence = Presence(Logger(namespace="x", observer=self.events.append), self.clock)  # type: ignore[arg-type]

    def said(self) -> list[str]:
        """Return what was said since the last time."""
        texts = [formatEvent(event) for event in self.events]
        self.events.clear()
        return texts

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and have the presence look as its owner does."""
        for _ in range(round(seconds / INTERVAL_S)):
            self.clock.advance(INTERVAL_S)
            self.presence.look()


@pytest.fixture
def stage() -> Stage:
    """No member is connected yet."""
    return Stage()


@pytest.mark.parametrize(("first", "second", "lost"), [(TO, FROM, "to"), (FROM, TO, "from")])
def test_a_peer_comes_and_goes(stage: Stage, first: Direction, second: Direction, lost: str) -> None:
    """It has come when both connections stand, and has gone with the first that is lost; each is one line."""
    stage.presence.came(1, first)
    assert stage.said() == []
    stage.presence.came(1, second)
    assert stage.said() == ["node 1 is connected"]
    stage.pass_time(10.0)

    stage.presence.went(1, first)
    stage.presence.went(1, second)
    stage.pass_time(10.0)

    assert stage.said() == [f"node 1 is disconnected: the connection {lost} it is lost"]


@pytest.mark.parametrize(
    ("direction", "which"),
    [
        (TO, "this node reaches it, and it does not reach this node"),
        (FROM, "it reaches this node, and this node does not reach it"),
    ],
)
def test_one_direction_alone_is_a_warning(stage: Stage, direction: Direction, which: str) -> None:
    """It is said once when that lasts, and what comes of it as well."""
    stage.presence.came(1, direction)
    stage.pass_time(ONE_WAY_S - INTERVAL_S)
    assert stage.said() == []
    stage.pass_time(10.0)
    assert stage.said() == [f"node 1 is connected in one direction only: {which}"]

    stage.presence.came(1, FROM if direction is TO else TO)
    assert stage.said() == ["node 1 is connected"]
    stage.presence.went(1, direction)
    assert stage.said() == [f"node 1 is disconnected: {direction.value}"]
    stage.pass_time(10.0)
    assert len(stage.said()) == 1


def test_peers_are_told_apart(stage: Stage) -> None:
    """Two halves of different peers are no peer."""
    stage.presence.came(1, TO)
    stage.presence.came(2, FROM)

    assert stage.said() == []


def test_a_short_visit_is_none(stage: Stage) -> None:
    """One connection that is lost before the other is made is no news."""
    stage.presence.came(1, TO)
    stage.presence.went(1, TO)
    stage.presence.came(1, FROM)
    stage.presence.went(1, FROM)

    assert stage.said() == []


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (Refused(osError=111), "connection refused"),
        (TimeoutError("no answer within 1 s"), "no answer within 1 s"),
        (OSError(113, "No route to host"), "no route to host"),
        (DNSLookupError("no results for hostname lookup: nowhere"), "no results for hostname lookup: nowhere"),
        (ValueError(), "ValueError"),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, Exception) else "",
)
def test_why_a_peer_is_not_reached(error: Exception, why: str) -> None:
    """It is said once in a line, in few words."""
    assert why_unreachable(error).endswith(why)
    assert why_unreachable(error).lower().count("refused") <= 1
