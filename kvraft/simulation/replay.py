"""The log as answers are judged by it: a dumb twin of the store replays it, command by command.

All writes have one order, that of the log, so checkers need not search for one. What an answer can show is bounded by
what was committed when it was asked for, and when it was given.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from operator import attrgetter
from typing import Final

import attrs
import msgspec

from kvraft.commands import HistoryBounds, Mutation, Result, SetHistory, SetQuota, decode_batch
from kvraft.raft import Entry, EntryKind
from kvraft.simulation.twin import State, Twin
from kvraft.store.features import decode_level
from kvraft.store.history import CHANGE_BYTES, HISTORY_LEVEL

encode: Final = msgspec.msgpack.Encoder().encode
"""Equal commands are equal bytes."""


@attrs.frozen
class Done:
    """One command of the log."""

    command: Mutation
    result: Result
    index: int
    """Of its entry."""
    revision: int
    """Of the store with it."""
    has_changed: bool


@attrs.frozen
class Held:
    """A lock with its queue, as the latest command has left it."""

    token: int
    owner: bytes
    until: int
    waiting: int


@attrs.frozen
class Point:
    """The store between two commands of the log."""

    index: int
    """Of the entry that was applied last, or is being applied."""
    revision: int
    time_us: int
    deadlines: Mapping[bytes, int]
    leases: Mapping[int, tuple[int, int]]
    """The time to live and the deadline of each lease, those that have ended and are not removed yet included."""
    attached: Mapping[bytes, int]
    """The lease of each key that has one."""
    locks: Mapping[bytes, Held]

    def has_ended(self, lease: int) -> bool:
        """Whether a lease is not there, or its time is over."""
        return self.leases.get(lease, (0, 0))[1] <= self.time_us


class Replay:
    """All that a log comes to.

    Args:
        committed: the entries, by index.
    """

    def __init__(self, committed: Mapping[int, Entry]) -> None:
        self.twin = Twin()
        self.done: defaultdict[bytes, list[Done]] = defaultdict(list)
        """By the encoded command: what each came to, in the order of the log."""
        self.points = [Point(0, 0, 0, {}, {}, {}, {})]
        """All of them, in the order of the log."""
        self.history_begins: int | None = None
        """The revision from which on the store keeps its history."""
        self.steps_max = 1
        """Most revisions that one entry of the log has made."""
        self._payload_bytes = 0
        for index in sorted(committed):
            if committed[index].kind == EntryKind.COMMANDS:
                time_us, commands = decode_batch(committed[index].payload)
                self._payload_bytes += len(committed[index].payload)
                self._apply(index, time_us, commands)
            elif self.history_begins is None and _begins_history(committed[index]):
                self.history_begins = self.twin.revision

    def _apply(self, index: int, time_us: int, commands: Sequence[Mutation]) -> None:
        twin = self.twin
        twin.time_us = max(twin.time_us, time_us)
        self._note(index)
        begin = twin.revision
        for command in commands:
            before = twin.revision
            result = twin.apply(command)
            self.done[encode(command)].append(Done(command, result, index, twin.revision, twin.revision > before))
            self._note(index)
        self.steps_max = max(self.steps_max, twin.revision - begin)

    def _note(self, index: int) -> None:
        twin = self.twin
        locks = {
            name: Held(requests[0].token, requests[0].owner, requests[0].until, len(requests) - 1)
            for name, requests in twin.locks.locks.items()
        }
        leases, attached = dict(twin.leases), dict(twin.attached)
        self.points.append(Point(index, twin.revision, twin.time_us, twin.deadlines, leases, attached, locks))

    @cached_property
    def history_bytes(self) -> int:
        """About as many bytes as a history of all changes would count."""
        states = self.twin.states
        changed = [
            before.get(key)
            for before, after in pairwise(states)
            for key in before.keys() | after.keys()
            if before.get(key) != after.get(key)
        ]
        replaced = sum(len(item.value) for item in changed if item is not None)
        return self._payload_bytes + replaced + len(changed) * CHANGE_BYTES

    @property
    def history_bounds(self) -> Sequence[HistoryBounds]:
        """All bounds that the history has ever had."""
        commands = [alike[0].command for alike in self.done.values() if alike]
        return [HistoryBounds(*msgspec.structs.astuple(each)) for each in commands if isinstance(each, SetHistory)]

    @property
    def has_quota(self) -> bool:
        """Whether there has ever been a quota of bytes."""
        commands = [alike[0].command for alike in self.done.values() if alike]
        return any(isinstance(each, SetQuota) and each.bytes_max for each in commands)

    def window(self, low: int, high: int) -> Sequence[Point]:
        """Return what a read can see that was asked for and answered when so much of the log was committed."""
        first = bisect_right(self.points, low, key=attrgetter("index")) - 1
        return self.points[first : bisect_right(self.points, high, key=attrgetter("index"))]

    def visible(self, point: Point) -> State:
        """Return the keys that have not expired, and whose leases have not ended."""
        state, deadlines = self.twin.states[point.revision], point.deadlines
        due = {key for key, deadline in deadlines.items() if deadline <= point.time_us}
        due |= {key for key, lease in point.attached.items() if point.has_ended(lease)}
        return {key: item for key, item in state.items() if key not in due} if due else state


def _begins_history(entry: Entry) -> bool:
    return entry.kind == EntryKind.FEATURE_LEVEL and decode_level(entry.payload) >= HISTORY_LEVEL
