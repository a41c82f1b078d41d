"""The recent changes of the store: for reads at earlier revisions, and for watches.

The history is a series of records, one for each log entry that changed something. A record holds the old item of each
change, not a copy of the store: a past state is the present one with the later changes undone. So a write costs one
list, and a read at an earlier revision searches the changes after it. An index of the older records, which is made when
it is first needed, speeds up such reads.

The history is bounded by the number of revisions, by bytes and by cluster time. The bounds are replicated through the
log, and records are dropped one log entry at a time, so every member can read equally far back. The history begins when
the cluster reaches feature level 3.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Mapping, Sequence, Sized
from itertools import islice, takewhile
from operator import itemgetter
from typing import Any, ClassVar, Final

from typing_extensions import override

from kvraft.commands import HistoryBounds, Item
from kvraft.store.changes import (
    Changes,
    ChangesLoader,
    ChangesPart,
    HistoryState,
    Old,
    Record,
    Run,
    gather,
)
from kvraft.store.chunks import Chunk, State
from kvraft.store.section import AlreadyFrozen, FrozenSection, Released, Section
from kvraft.store.untracked import untracked

HISTORY_LEVEL: Final = 3
"""The feature level from which on there is a history."""
CHANGE_BYTES: Final = 200
"""Bytes that a change counts in addition to those of its log entry and of the replaced value."""
SEGMENT_CHANGES: Final = 1_000
"""Fewest changes that a complete segment of the index covers."""
TRIM_EVERY: Final = 256
"""The bounds are checked when the revision passes a multiple of this, or of an eighth of the revisions to be kept, if
that is less: to check them for each log entry costs more than all the rest."""
FREED_AT_ONCE: Final = 2_000
"""Most changes that are freed in one step, after bounds were lowered or time has passed: a millisecond."""
_SECOND_US: Final = 1_000_000


class Segment:
    """An index of some consecutive changes."""

    __slots__ = ("_keys", "_with_items", "changes", "first", "last", "olds")

    def __init__(self, first: int) -> None:
        self.first = first
        """The first revision that it may hold."""
        self.last = first - 1
        self.changes = 0
        self.olds: dict[bytes, list[tuple[int, Old]]] = {}
        """For each key the revisions of its changes, oldest first, with what each replaced."""
        self._with_items: set[bytes] = set()
        """Keys with a change that holds the complete replaced item."""
        self._keys: list[bytes] | None = None

    def add(self, run: Run) -> None:
        """Add the next changes."""
        for revision, key, old, _ in run.read():
            self.olds.setdefault(key, []).append((revision, old))
            self.last = revision
            if type(old) is Item:
                self._with_items.add(key)
        self.changes += run.size
        self._keys = None

    @property
    def keys(self) -> list[bytes]:
        """The changed keys, in order."""
        if self._keys is None:
            self._keys = sorted(self.olds)
        return self._keys

    def find(self, key: bytes, after: int) -> int | None:
        """Return the position, among the changes of a key, of the first one after a revision."""
        found = self.olds.get(key)
        if found is None or found[-1][0] <= after:
            return None
        return 0 if self.first > after else bisect_right(found, after, key=itemgetter(0))

    def count(self, key: bytes, place: int) -> tuple[int, Item | None]:
        """Count the changes of a key from a position on, up to one that holds the complete replaced item."""
        olds = self.olds.get(key, ())
        if key in self._with_items:
            for passed, (_, old) in enumerate(olds[place:]):
                if type(old) is Item:
                    return passed, old
        return max(0, len(olds) - place), None


class History(Section):
    """The records of recent changes."""

    STATE: ClassVar[type[State]] = HistoryState
    CHUNKS: ClassVar[tuple[type[Chunk], ...]] = (Changes, ChangesPart)

    def __init__(self) -> None:
        self.bounds = HistoryBounds()
        self.oldest = 0
        """The oldest revision whose state can be read. The history holds all changes after it."""
        self.bytes = 0
        self.records: deque[Record] = deque()
        """One for each log entry. A record is never changed."""
        self.latest: Record | None = None
        """The record of the latest log entry that changed something, for watches: it is set even if the bounds have
        dropped the record."""
        self.open: list[Run] = []
        """The changes so far of the log entry that is being applied."""
        self._open_changes = 0
        self._trim_at = TRIM_EVERY
        """The revision at which the bounds are checked next."""
        self._segments: list[Segment] = []
        """The index, as far as it has been needed; it may begin before the oldest record."""
        self._indexed = 0
        """The revision up to which the index reaches."""
        self._open_index: tuple[list[Run], Segment, int] | None = None
        """An index of the `open` runs, and of how many of them."""
        self._useless: list[Record] = []
        """Dropped records, to be freed step by step."""
        self._frozen: object | None = None
        """Identifies the snapshot that is being read."""

    # --- writing -----------------------------------------------------------------------------------------------------

    def begin(self, revision: int) -> None:
        """Begin the history after this revision."""
        self.oldest = self._indexed = revision
        self._trim_at = self._next_trim(revision)

    def set_bounds(self, bounds: HistoryBounds, revision: int, time_us: int) -> None:
        """Set the bounds, and drop what exceeds them."""
        self.bounds = bounds
        self._trim(revision, time_us, bounds.bytes)

    def note(self, run: Run, changes: int) -> None:
        """Add changes of the log entry that is being applied."""
        self.open.append(run)
        self._open_changes += changes

    def seal(self, revision: int, time_us: int, entry_bytes: int, room: int | None = None) -> None:
        """End the record of a log entry at this revision; if the bounds are due to be checked, drop what exceeds them.

        `room` is what the store's quota leaves for the history, bytes; None: no limit beyond the bounds.
        """
        changes = self._open_changes
        size = entry_bytes + changes * CHANGE_BYTES
        self.latest = record = Record(revision, time_us, size, changes, untracked(self.open))
        self.records.append(record)
        self.open = []
        self._open_changes = 0
        self._open_index = None
        self.bytes += size
        bytes_max = self.bounds.bytes if room is None else min(room, self.bounds.bytes)
        if revision >= self._trim_at or self.bytes > bytes_max:
            self._trim(revision, time_us, bytes_max)

    def _trim(self, revision: int, time_us: int, bytes_max: int) -> None:
        """Drop the records that exceed the bounds: the same on every member, so it ignores reads in progress."""
        self._free()
        self._trim_at = self._next_trim(revision)
        records = self.records
        revisions, _, seconds = self.bounds
        dropped = 0
        while records and (
            revision - records[0].last >= revisions
            or self.bytes > bytes_max
            or time_us - records[0].time_us > seconds * _SECOND_US
        ):
            oldest = records.popleft()
            self.oldest = oldest.last
            self.bytes -= oldest.size
            dropped += oldest.changes
            if dropped > FREED_AT_ONCE:
                self._useless.append(oldest)
        while self._segments and self._segments[0].last <= self.oldest:
            del self._segments[0]

    def _next_trim(self, revision: int) -> int:
        step = max(1, min(TRIM_EVERY, self.bounds.revisions // 8))
        return (revision // step + 1) * step

    def _free(self) -> None:
        room = FREED_AT_ONCE
        while self._useless and room > 0:
            room -= self._useless.pop().changes

    # --- reading -----------------------------------------------------------------------------------------------------

    def item_at(
        self, revision: int, key: bytes, current: Item | None, segments: Sequence[Segment] | None = None
    ) -> Item | None:
        """Return the item of `key` at a kept revision; `current` is its present item.

        `segments` is the result of `index` for that revision, if the caller has it.
        """
        if segments is None:
            segments = self.index(revision)
        for number, segment in enumerate(segments):
            place = segment.find(key, revision)
            if place is None:
                continue
            _, old = segment.olds[key][place]
            if old is None or isinstance(old, Item):
                return old
            return _complete(old, key, segments[number:], place, current)
        return current

    def index(self, after: int) -> list[Segment]:
        """Bring the index up to date; return the segments with changes after a revision, oldest first."""
        segments = self._segments
        missing = [*takewhile(lambda record: record.last > self._indexed, reversed(self.records))]
        for record in reversed(missing):
            if not segments or segments[-1].changes >= SEGMENT_CHANGES:
                segments.append(Segment(max(self._indexed, self.oldest) + 1))
            for run in record.runs:
                segments[-1].add(run)
            self._indexed = record.last
        found = [segment for segment in segments if segment.last > after]
        if self.open:
            found.append(self._index_open())
        return found

    def _index_open(self) -> Segment:
        runs, segment, done = self._open_index or ([], Segment(0), 0)
        if runs is not self.open:
            runs, segment, done = self.open, Segment(self.records[-1].last + 1 if self.records else self.oldest + 1), 0
        for run in islice(runs, done, None):
            segment.add(run)
        self._open_index = runs, segment, len(runs)
        return segment

    # --- snapshots ---------------------------------------------------------------------------------------------------

    @property
    @override
    def frozen(self) -> bool:
        return self._frozen is not None

    @override
    def freeze(self) -> FrozenSection:
        """Freeze the history: the list of records is copied, which takes at most some milliseconds."""
        if self._frozen is not None:
            raise AlreadyFrozen("another snapshot is being taken; only one is taken at a time")
        records = [*self.records]
        revisions, bytes_max, seconds = self.bounds
        state = HistoryState(
            history_oldest=self.oldest,
            history_records=len(records),
            history_revisions=revisions,
            history_bytes=bytes_max,
            history_seconds=seconds,
        )
        self._frozen = snapshot = object()
        return FrozenSection(state, self._read(snapshot, records), lambda: self._release(snapshot, records))

    def _read(self, snapshot: object, records: Sequence[Record]) -> Iterator[Chunk]:
        for chunk in gather(records):
            if self._frozen is not snapshot:
                raise Released("this snapshot was released before its end; take a new one")
            yield chunk
        self._frozen = None

    def _release(self, snapshot: object, records: list[Record]) -> list[Sized]:
        if self._frozen is not snapshot:
            return []
        self._frozen = None
        return [records]

    @override
    def loader(self, state: Mapping[str, Any], revision: int) -> ChangesLoader:
        loaded = HistoryState.of(state)
        self.oldest = self._indexed = loaded.history_oldest
        self.bounds = HistoryBounds(loaded.history_revisions, loaded.history_bytes, loaded.history_seconds)
        self._trim_at = self._next_trim(revision)
        return ChangesLoader(self._restore, loaded, revision)

    def _restore(self, record: Record) -> None:
        self.records.append(record)
        self.bytes += record.size

    @override
    def dismantle(self) -> list[Sized]:
        self._frozen = self.latest = None
        pieces: list[Sized] = []
        for record in self.records:
            pieces += [run.pieces for run in record.runs]
        pieces += [segment.olds for segment in self._segments]
        self.records.clear()
        self._segments.clear()
        return pieces


def _complete(
    old: tuple[bytes, int], key: bytes, segments: Sequence[Segment], place: int, current: Item | None
) -> Item:
    """Return an item whose value and modify revision are known, completed from later changes of its key."""
    later: Item | None = None
    passed = 0
    for segment in segments:
        more, later = segment.count(key, place)
        passed += more
        if later is not None:
            break
        place = 0
    following = later or current
    assert following is not None, "what was overwritten and not removed is there"
    value, revision = old
    return Item(value, following.create_revision, revision, following.version - passed)
