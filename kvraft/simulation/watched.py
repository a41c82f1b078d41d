"""Checks the events of watches against a replay of the log: etcd's guarantees.

Ordered, unique, reliable and atomic: the events of a watch are the changes of the log, in its order, from its first
revision to some last one, each revision complete. Resumable and bookmarkable: when an end or a progress line names a
revision, all changes up to it have been delivered.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import attrs

from kvraft.commands import Item, Span
from kvraft.raft import InvariantViolated
from kvraft.simulation.conduct import demand
from kvraft.simulation.replay import Replay

Change = tuple[Item | None, Item | None]
"""The items of a key before and after."""
Revision = tuple[int, Mapping[bytes, Change]]
"""A revision, and its changes."""


@attrs.define(eq=False)
class Told:
    """One watch, and all lines that it delivered."""

    spelled: str
    span: Span
    with_previous: bool
    first: int
    """The first revision to deliver."""
    revision: int
    """The revision of the store when it began."""
    lines: list[Mapping[str, Any]] = attrs.field(factory=list)
    is_complete: bool = False
    """Whether it must have delivered all changes."""
    complete_to: int | None = None
    """The revision of the store when it ended, if it must have delivered all changes; None: the newest."""

    def __str__(self) -> str:
        return f"WATCH {self.spelled} from revision {self.first}"


def check_told(watches: Iterable[Told], replay: Replay) -> None:
    """Check all watches of a run.

    Raises:
        InvariantViolated: one delivered something else than the changes of the log.
    """
    states = replay.twin.states
    changes: list[Revision] = []
    for revision in range(1, len(states)):
        before, after = states[revision - 1], states[revision]
        keys = [key for key in before.keys() | after.keys() if before.get(key) != after.get(key)]
        changes.append((revision, {key: (before.get(key), after.get(key)) for key in sorted(keys)}))
    for told in watches:
        within = [(revision, {key: each for key, each in of.items() if key in told.span}) for revision, of in changes]
        _Judge(told, [each for each in within if each[1]], len(changes)).check()


class _Judge:
    """Checks one watch.

    Args:
        told: the watch.
        changes: the changes in its span.
        newest: the revision of the store at the end.
    """

    def __init__(self, told: Told, changes: Sequence[Revision], newest: int) -> None:
        self._told = told
        self._changes = changes
        self._newest = newest
        self._reached = told.first - 1
        """All changes up to this revision have been delivered."""
        self._open: set[bytes] = set()
        """Keys whose changes at the next revision have been delivered."""

    def check(self) -> None:
        """Check each line against the changes."""
        told = self._told
        demand(told.revision <= self._newest, f"{told} begins at revision {told.revision}, which never was")
        for line in told.lines:
            if line.get("event") == "PROGRESS":
                self._check_reached(line["revision"], line)
            elif "event" in line:
                self._check_event(line)
            elif line["error"] == "COMPACTED":
                needed = self._reached + 1
                demand(line["oldest_revision"] >= needed, f"{told} is sent {line}, and needs revision {needed}")
            else:
                self._check_reached(line["resume_from"] - 1, line)
        if told.is_complete:
            newest = self._newest if told.complete_to is None else told.complete_to
            self._check_reached(newest, "nothing more, although all is well")

    def _next(self, after: int) -> Revision | None:
        place = bisect_right(self._changes, after, key=itemgetter(0))
        return self._changes[place] if place < len(self._changes) else None

    def _check_event(self, line: Mapping[str, Any]) -> None:
        following = self._next(self._reached)
        if following is None:
            raise InvariantViolated(f"{self._told} is sent what has not happened: {line}")
        revision, changes = following
        key = line["key"].encode()
        if line["revision"] != revision or key not in changes or key in self._open:
            raise InvariantViolated(
                f"{self._told} is sent {line}; next is what revision {revision} has changed, {[*changes]}, of which "
                f"{sorted(self._open)} were sent"
            )
        expected = self._expected(line["watch"], revision, key, changes[key])
        if {**line, "more": None} != {**expected, "more": None}:
            raise InvariantViolated(f"{self._told} is sent {line}, and not {expected}")
        self._open.add(key)
        is_whole = len(self._open) == len(changes)
        if is_whole == ("more" in line):
            raise InvariantViolated(f"{self._told} is sent {line}, of {[*changes]} at that revision")
        if is_whole:
            self._reached = revision
            self._open.clear()

    def _expected(self, number: int, revision: int, key: bytes, change: Change) -> Mapping[str, Any]:
        before, after = change
        event: dict[str, Any] = {"watch": number, "event": "DELETE", "key": key.decode(), "revision": revision}
        if after is not None:
            value, created = after.value.decode(), after.create_revision
            event.update(event="PUT", value=value, create_revision=created, version=after.version)
        if self._told.with_previous:
            event["prev_value"] = None if before is None else before.value.decode()
        return event

    def _check_reached(self, revision: int, line: object) -> None:
        """Check that all changes up to a revision have been delivered, and none after it."""
        following = self._next(self._reached)
        demand(
            not self._open
            and self._reached <= revision <= self._newest
            and (following is None or following[0] > revision),
            f"{self._told} is sent {line}; it was sent all up to revision {self._reached}, and next comes {following}",
        )
        self._reached = revision
