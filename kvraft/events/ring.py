"""The events that a node keeps: bounded, and each at most once for what happens again and again."""

import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec

from kvraft.events.kinds import CAPACITY, KINDS, Group
from kvraft.events.sentences import sentence

MERGE_S: Final = 10.0
"""What happens again within so many seconds is the same event once more, seconds."""
MERGE_AMONG: Final = 16
"""How many of the newest events of a group are searched for it."""


class Note(Protocol):
    """Takes an event."""

    def __call__(self, kind: str, *, at: float | None = None, **facts: object) -> None:
        """Note one of `KINDS`; `at` is its time in the clock's seconds, now where it is left out."""
        ...


def ignore(kind: str, *, at: float | None = None, **facts: object) -> None:
    """Note nothing: for parts of a node that stand alone, as in a test."""


class Event(msgspec.Struct):
    """Something that happened, once or several times in a row."""

    seq: int
    """Later events have higher numbers. One that happens again gets a new number."""
    kind: str
    since: float
    """When it happened first, in the clock's seconds."""
    at: float
    """When it happened last."""
    facts: dict[str, object]
    times: int = 1


class EventRing:
    """The events of one node.

    Args:
        node: its id.
        seconds: returns the time by which events are ordered, which never goes back.
        wall: returns the time of day, in seconds since 1970; it is called only when events are read.
    """

    def __init__(self, node: int, seconds: Callable[[], float], wall: Callable[[], float] = time.time) -> None:
        self._node = node
        self._seconds = seconds
        self._wall = wall
        self._events: dict[Group, deque[Event]] = {
            group: deque(maxlen=capacity) for group, capacity in CAPACITY.items()
        }
        self.newest = 0
        """The number of the newest event."""

    def note(self, kind: str, *, at: float | None = None, **facts: object) -> None:
        """Note an event; see `Note`."""
        at = self._seconds() if at is None else at
        self.newest += 1
        event = Event(self.newest, kind, at, at, facts)
        events = self._events[KINDS[kind].group]
        among = MERGE_AMONG if KINDS[kind].merges else 0
        for place in range(len(events) - 1, max(-1, len(events) - 1 - among), -1):
            if _is_same(events[place], event):
                before = events[place]
                del events[place]
                event.since, event.times = before.since, before.times + 1
                if "seconds" in facts:
                    facts["seconds"] = max(facts["seconds"], before.facts["seconds"])  # type: ignore[call-overload]
                break
        events.append(event)

    def read(self, since: int = 0) -> dict[str, Any]:
        """Return the events after number `since`, oldest first, in values that JSON can hold.

        A number that this process has not reached is one of the process before: then all events are returned.
        """
        after = since if since <= self.newest else 0
        events = sorted(
            (event for group in self._events.values() for event in group if event.seq > after),
            key=lambda event: event.seq,
        )
        now = self._wall()
        offset = now - self._seconds()
        return {
            "node": self._node,
            "time": round(now, 3),
            "next": self.newest,
            "events": [self._tell(event, offset) for event in events],
        }

    def _tell(self, event: Event, offset: float) -> dict[str, Any]:
        told: dict[str, Any] = {
            "seq": event.seq,
            "time": round(event.at + offset, 3),
            "node": self._node,
            "kind": event.kind,
            **event.facts,
        }
        if event.times > 1:
            told |= {"times": event.times, "first_time": round(event.since + offset, 3)}
        return {**told, "text": sentence(told)}


def _is_same(before: Event, event: Event) -> bool:
    if before.kind != event.kind or event.at - before.at > MERGE_S:
        return False
    return all(before.facts.get(name) == event.facts.get(name) for name in KINDS[event.kind].identity)
