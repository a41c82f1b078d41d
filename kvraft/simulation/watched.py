"""Whether what watches were told is what happened: etcd's guarantees, judged by a replay of the log.

Ordered, unique, reliable and atomic: the events of a watch are those of the log, in its order, from the first revision
that counts to some last one, each revision whole. Resumable and bookmarkable: what an end or a sign of progress says of
a revision is true of all changes up to it.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import attrs

from kvraft.commands import Item, Span
from kvraft.simulation.conduct import demand
from kvraft.simulation.replay import Replay

Change = tuple[Item | None, Item | None]
"""What stood under a key before and afterwards."""
Revision = tuple[int, Mapping[bytes, Change]]
"""A revision, and what it has changed."""


@attrs.define(eq=False)
class Told:
    """One watch, and all that was told on it."""

    spelled: str
    span: Span
    with_previous: bool
    first: int
    """The first revision whose changes count."""
    revision: int
    """That of the store when it began."""
    lines: list[Mapping[str, Any]] = attrs.field(factory=list)
    is_complete: bool = False
    """Whether it must have been told everything."""

    def __str__(self) -> str:
        return f"WATCH {self.spelled} from revision {self.first}"


def check_told(watches: Iterable[Told], replay: Replay) -> None:
    """Judge all watches of a run.

    Raises:
        InvariantViolated: one was not told what happened.
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
    """Goes through one watch.

    Args:
        told: the watch.
        changes: what has happened in its span.
        newest: the revision of the store at the end.
    """

    def __init__(self, told: Told, changes: Sequence[Revision], newest: int) -> None:
        self._told = told
        self._changes = changes
        self._newest = newest
        self._reached = told.first - 1
        """All changes up to this revision have been told."""
        self._open: set[bytes] = set()
        """Keys whose changes at the next revision have been told."""

    def check(self) -> None:
        """Hold each line against what has happened."""
        told = self._told
        demand(told.revision <= self._newest, f"{told} begins at revision {told.revision}, which never was")
        for line in told.lines:
            if line.get("event") == "PROGRESS":
                self._check_reached(line["revision"], line)
            elif "event" in line:
                self._check_event(line)
            elif line["error"] == "COMPACTED":
                needed = self._reached + 1
                demand(line["oldest_revision"] >= needed, f"{told} is told {line}, and needs revision {needed}")
            else:
                self._check_reached(line["resume_from"] - 1, line)
        if told.is_complete:
            self._check_reached(self._newest, "nothing more, although all is well")

    def _next(self, after: int) -> Revision | None:
        place = bisect_right(self._changes, after, key=itemgetter(0))
        return self._changes[place] if place < len(self._changes) else None

    def _check_event(self, line: Mapping[str, Any]) -> None:
        following = self._next(self._reached)
        demand(following is not None, f"{self._told} is told what has not happened: {line}")
        assert following is not None
        revision, changes = following
        key = line["key"].encode()
        demand(
            line["revision"] == revision and key in changes and key not in self._open,
            f"{self._told} is told {line}; next is what revision {revision} has changed, {[*changes]}, of which "
            f"{sorted(self._open)} were told",
        )
        expected = self._expected(line["watch"], revision, key, changes[key])
        demand({**line, "more": None} == {**expected, "more": None}, f"{self._told} is told {line}, and not {expected}")
        self._open.add(key)
        is_whole = len(self._open) == len(changes)
        demand(is_whole != ("more" in line), f"{self._told} is told {line}, of {[*changes]} at that revision")
        if is_whole:
            self._reached = revision
            self._open.clear()

    def _expected(self, number: int, revision: int, key: bytes, change: Change) -> Mapping[str, Any]:
        before, after = change
        event: dict[str, Any] = {"watch": number, "event": "DELETE", "key": key.decode(), "revision": revision}
        if after is not None:
            value, created, _, version = after
            event.update(event="PUT", value=value.decode(), create_revision=created, version=version)
        if self._told.with_previous:
            event["prev_value"] = None if before is None else before[0].decode()
        return event

    def _check_reached(self, revision: int, line: object) -> None:
        """Check that all changes up to a revision have been told, and none after it."""
        following = self._next(self._reached)
        demand(
            not self._open
            and self._reached <= revision <= self._newest
            and (following is None or following[0] > revision),
            f"{self._told} is told {line}; it was told all up to revision {self._reached}, and next comes {following}",
        )
        self._reached = revision
