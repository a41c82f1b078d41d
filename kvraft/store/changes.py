"""Records of changes, and their layout in a snapshot.

    [3, number, [[last revision, cluster time, size, [change, ...]], ...]]
    [4, number, part, parts, bytes]      a part of one such record with a single change, whose values are long

A change is `[revision, key, old value, its revision, its create revision, its version, new value, create revision,
version]`. A value is nil where there is none. Create revision and version are 0 where they follow from the current
item or a later change. Chunks are numbered from 0 in the order of the changes. A record may be spread over consecutive
chunks: changes with the same last revision belong to one record.

The loader checks that no change is missing between the oldest revision and that of the snapshot.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from itertools import chain
from typing import Annotated, ClassVar, Final

import msgspec
from typing_extensions import override

from kvraft.commands import HistoryBounds, Item, Mutation, Once, Set, decode_batch
from kvraft.raft import Entry
from kvraft.store import chunks
from kvraft.store.chunks import Chunk, SnapshotInvalid, State
from kvraft.store.section import SectionLoader
from kvraft.store.untracked import untracked, untracked_rows

CHANGE_OVERHEAD_BYTES: Final = 80
"""The most that the encoding adds to the key and the values of a change."""
RECORD_OVERHEAD_BYTES: Final = 64
"""The most that it adds to the changes of a record, and to a chunk."""

_Count = Annotated[int, msgspec.Meta(ge=0)]
_Positive = Annotated[int, msgspec.Meta(ge=1)]
Old = Item | tuple[bytes, int] | None
"""The replaced content: a complete item; or its value and modify revision only, when its create revision is that of the
key's next item, and its version one less; or None."""
New = Item | tuple[bytes] | None
"""The new content: a complete item; or its value only; or None."""
Change = tuple[int, bytes, Old, New]
"""A revision, a key, and its content before and after."""
_StoredChange = tuple[_Positive, bytes, bytes | None, _Count, _Count, _Count, bytes | None, _Count, _Count]
_StoredRecord = tuple[_Positive, _Count, _Count, list[_StoredChange]]

Event = tuple[bytes, Item | None, Item | None]
"""A key, and its item before and after; None: it has none."""


class SetRun(msgspec.Struct, frozen=True, gc=False):
    """Consecutive sets, each at its own revision.

    It keeps few objects: commands are decoded again when needed from the log entry, which the log holds in memory
    anyway, and the old values are one string. Keeping commands and items would make every write a quarter slower, since
    the memory that it allocates and frees is never in the processor's cache (measured).
    """

    first: int
    """The revision of the first one."""
    source: Entry | Sequence[Set]
    """The entry with the commands, each a `Set`, or each a `Once` with a `Set`; small runs keep the sets themselves."""
    place: int
    """How many commands precede them in the entry."""
    values: bytes
    """The replaced values, joined."""
    lengths: "array[int]"
    """The length of each replaced value; also 0 where there was none."""
    revisions: "array[int]"
    """The modify revision of each replaced item; 0 where there was none."""

    def sets(self, commands: Sequence[Mutation] | None = None) -> Sequence[Mutation]:
        """Return the sets; `commands` are those of the log entry, if the caller has them."""
        if not isinstance(self.source, Entry):
            return self.source
        if commands is None:
            _, commands = decode_batch(self.source.payload)
        run = commands[self.place : self.place + len(self.lengths)]
        return [each.write for each in run if isinstance(each, Once)] or run

    def read(self, sets: Sequence[Mutation] | None = None) -> Iterator[Change]:
        """Yield the changes, oldest first; `sets` is the result of `sets`, if the caller has it."""
        end = 0
        for revision, (write, length, was) in enumerate(
            zip(self.sets() if sets is None else sets, self.lengths, self.revisions, strict=True), self.first
        ):
            assert isinstance(write, Set), "a run of sets holds another command"
            begin, end = end, end + length
            yield revision, write.key, (self.values[begin:end], was) if was else None, (write.value,)

    @property
    def size(self) -> int:
        """How many changes there are."""
        return len(self.lengths)

    @property
    def pieces(self) -> Sized:
        """The objects that take time to be freed."""
        return self.revisions


class TransactionRun(msgspec.Struct, frozen=True, gc=False):
    """The changes of one transaction."""

    revision: int
    events: list[Event]
    is_expiry: bool = False
    """Whether it removed expired keys or keys of ended leases."""

    def read(self) -> Iterator[Change]:
        """Yield the changes, in their order."""
        for key, old, new in self.events:
            yield self.revision, key, old, new

    @property
    def size(self) -> int:
        """How many changes there are."""
        return len(self.events)

    @property
    def pieces(self) -> Sized:
        """The objects that take time to be freed."""
        return self.events


class ChangeRun(msgspec.Struct, frozen=True, gc=False):
    """Changes, each with its revision."""

    changes: list[Change]

    def read(self) -> Iterator[Change]:
        """Yield the changes, in their order."""
        return iter(self.changes)

    @property
    def size(self) -> int:
        """How many changes there are."""
        return len(self.changes)

    @property
    def pieces(self) -> Sized:
        """The objects that take time to be freed."""
        return self.changes


Run = SetRun | TransactionRun | ChangeRun


class Record(msgspec.Struct, frozen=True, gc=False):
    """The changes of one log entry."""

    last: int
    """The revision of the last change."""
    time_us: int
    """The cluster time of the entry, microseconds."""
    size: int
    """Bytes that the record counts."""
    changes: int
    """How many changes there are."""
    runs: list[Run]


_DEFAULT: Final = HistoryBounds()


class HistoryState(State, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """The history's fields of a snapshot's state."""

    LEVEL: ClassVar[int] = 3

    history_oldest: _Count = 0
    history_records: _Count = 0
    history_revisions: _Count = _DEFAULT.revisions
    history_bytes: _Count = _DEFAULT.bytes
    history_seconds: _Count = _DEFAULT.seconds


class Changes(Chunk, frozen=True, gc=False, array_like=True, tag=3):
    """Records, or pieces of them."""

    LEVEL: ClassVar[int] = 3

    number: _Count
    records: list[_StoredRecord]


class ChangesPart(Chunk, frozen=True, gc=False, array_like=True, tag=4):
    """The part of number `part`, counted from 0, of a record with one change that has `parts`."""

    LEVEL: ClassVar[int] = 3

    number: _Count
    part: _Count
    parts: _Positive
    content: bytes


_encode: Final = msgspec.msgpack.Encoder().encode
_long_decoder: Final = msgspec.msgpack.Decoder(_StoredRecord)


def gather(records: Iterable[Record]) -> Iterator[Chunk]:
    """Yield the chunks one by one, each filled as far as possible; read only the records that each chunk needs."""
    bytes_full, changes_full = chunks.room()
    number = size = count = 0
    gathered: list[_StoredRecord] = []
    for record in records:
        size += RECORD_OVERHEAD_BYTES
        share = record.size  # belongs to the record's first piece
        changes: list[_StoredChange] = []
        for change in chain.from_iterable(run.read() for run in record.runs):
            stored = _stored(change)
            more = _size(stored)
            is_long = more > chunks.VALUE_PART_BYTES
            if count and (is_long or size + more > bytes_full or count == changes_full):
                if changes:
                    gathered.append((record.last, record.time_us, share, changes))
                    share = 0
                yield Changes(number, gathered)
                number, size, count = number + 1, RECORD_OVERHEAD_BYTES, 0
                gathered, changes = [], []
            if is_long:
                for part in _cut(number, (record.last, record.time_us, share, [stored])):
                    yield part
                    number += 1
                share = 0
                continue
            changes.append(stored)
            size += more
            count += 1
        if changes:
            gathered.append((record.last, record.time_us, share, changes))
    if gathered:
        yield Changes(number, gathered)


def _stored(change: Change) -> _StoredChange:
    revision, key, old, new = change
    old_value, old_revision, old_created, old_version = None, 0, 0, 0
    if old is not None:
        if isinstance(old, Item):
            old_value, old_created = old.value, old.create_revision
            old_revision, old_version = old.modify_revision, old.version
        else:
            old_value, old_revision = old
    new_value, new_created, new_version = None, 0, 0
    if new is not None:
        if isinstance(new, Item):
            new_value, new_created, new_version = new.value, new.create_revision, new.version
        else:
            new_value = new[0]
    return revision, key, old_value, old_revision, old_created, old_version, new_value, new_created, new_version


def _change(stored: _StoredChange) -> Change:
    revision, key, old_value, old_revision, old_created, old_version, new_value, new_created, new_version = stored
    old: Old = None
    if old_value is not None:
        old = Item(old_value, old_created, old_revision, old_version) if old_version else (old_value, old_revision)
    new: New = None
    if new_value is not None:
        new = Item(new_value, new_created, revision, new_version) if new_version else (new_value,)
    return revision, key, old, new


def _size(stored: _StoredChange) -> int:
    return CHANGE_OVERHEAD_BYTES + len(stored[1]) + len(stored[2] or b"") + len(stored[6] or b"")


def _cut(number: int, record: _StoredRecord) -> Iterator[ChangesPart]:
    content, step = _encode(record), chunks.VALUE_PART_BYTES
    offsets = range(0, len(content), step)
    for part, offset in enumerate(offsets):
        yield ChangesPart(number + part, part, len(offsets), content[offset : offset + step])


class ChangesLoader(SectionLoader):
    """Builds a history from its chunks.

    Args:
        restore: appends a record to the history.
    """

    def __init__(self, restore: Callable[[Record], None], state: HistoryState, revision: int) -> None:
        if state.history_oldest > revision:
            raise SnapshotInvalid(f"its history begins at revision {state.history_oldest}, and it has {revision}")
        self._restore = restore
        self._state = state
        self.promised = state.history_records
        self._revision = revision
        self._next = 0
        """The number of the next chunk."""
        self._waiting: dict[int, Changes | ChangesPart] = {}
        """Chunks that came before an earlier one."""
        self._parts: list[bytes] = []
        self._begun: list[_StoredRecord] = []
        """The pieces of the record that may be incomplete."""
        self._reached = state.history_oldest
        """The revision of the latest change."""
        self._loaded = 0

    @property
    @override
    def loaded(self) -> int:
        return self._loaded

    @override
    def add(self, chunk: Chunk) -> None:
        """At most CHUNK_BYTES_MAX bytes of work, and the joining of one long change, for chunks in their order."""
        assert isinstance(chunk, Changes | ChangesPart), "a chunk of another section"
        if chunk.number < self._next or chunk.number in self._waiting:
            raise SnapshotInvalid(f"chunk {chunk.number} of its history comes twice")
        self._waiting[chunk.number] = chunk
        while (following := self._waiting.pop(self._next, None)) is not None:
            self._next += 1
            for record in following.records if isinstance(following, Changes) else self._join(following):
                self._take(record)

    @override
    def finish(self) -> None:
        if not self._waiting and not self._parts:
            self._end_record()
        if self._loaded != self.promised:
            raise SnapshotInvalid(f"it holds {self._loaded} records of changes, and its state promises {self.promised}")
        if self._state != HistoryState() and self._reached != self._revision:
            raise SnapshotInvalid(f"its history ends at revision {self._reached}, and it has {self._revision}")

    def _join(self, part: ChangesPart) -> list[_StoredRecord]:
        if part.part != len(self._parts) or part.part >= part.parts:
            raise SnapshotInvalid("the parts of a change do not fit together")
        self._parts.append(part.content)
        if len(self._parts) < part.parts:
            return []
        content = b"".join(self._parts)
        self._parts.clear()
        try:
            return [_long_decoder.decode(content)]
        except msgspec.MsgspecError as error:
            raise SnapshotInvalid(f"a long change is damaged: {error}") from error

    def _take(self, record: _StoredRecord) -> None:
        last, _, _, changes = record
        if self._begun and self._begun[0][0] != last:
            self._end_record()
        self._loaded += not self._begun
        for revision, *_ in changes:
            if revision not in {self._reached, self._reached + 1} or revision > last:
                raise SnapshotInvalid(f"revision {self._reached + 1} is missing in its history")
            self._reached = revision
        self._begun.append(record)

    def _end_record(self) -> None:
        """Join the pieces of a record."""
        pieces, self._begun = self._begun, []
        if not pieces:
            return
        last, time_us = pieces[0][:2]
        if self._reached != last:
            raise SnapshotInvalid(f"revision {self._reached + 1} is missing in its history")
        changes = [_change(stored) for piece in pieces for stored in piece[3]]
        self._restore(
            Record(
                last,
                time_us,
                sum(piece[2] for piece in pieces),
                len(changes),
                untracked([ChangeRun(untracked_rows(changes))]),
            )
        )
