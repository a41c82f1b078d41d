"""The chunks of the keyspace in a snapshot: how items are encoded in them and loaded from them.

    [1, [[key, [value, create revision, modify revision, version]], ...]]           complete items
    [2, key, create revision, modify revision, version, part, parts, bytes]         a part of one long value

Neither the order of items nor that of chunks carries meaning, so readers do not depend on the shards of the keyspace.
The loader checks that every key occurs once and every long value is complete, that no revision is later than the
snapshot, and that there are as many keys as the state promises.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Final

import msgspec
from typing_extensions import override

from kvraft.commands import KEY_BYTES_MAX, Item
from kvraft.store import chunks
from kvraft.store.chunks import Chunk, SnapshotInvalid, State
from kvraft.store.section import SectionLoader

ITEM_OVERHEAD_BYTES: Final = 40
"""The most that the encoding adds to an item's key and value: 2 arrays, 2 binary headers, 3 integers."""
CHUNK_OVERHEAD_BYTES: Final = 48
"""The most that the encoding adds to the items of a chunk, or to the key and the bytes of a part."""
KEY_BYTES_NAMED: Final = 64
"""Most bytes of a key that an error shows."""

assert KEY_BYTES_MAX + chunks.VALUE_PART_BYTES + ITEM_OVERHEAD_BYTES + CHUNK_OVERHEAD_BYTES <= chunks.CHUNK_BYTES_MAX

_Count = Annotated[int, msgspec.Meta(ge=0)]
_Positive = Annotated[int, msgspec.Meta(ge=1)]
Pair = tuple[bytes, Item]
"""A key and its item."""


class KeyspaceState(State, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The keyspace's fields of a snapshot's state."""

    key_count: _Count


class Items(Chunk, frozen=True, gc=False, array_like=True, tag=1):
    """Complete items."""

    items: list[tuple[bytes, Item]]


class Part(Chunk, frozen=True, gc=False, array_like=True, tag=2):
    """The part of number `part`, counted from 0, of a value that has `parts`."""

    key: bytes
    create_revision: _Positive
    modify_revision: _Positive
    version: _Positive
    part: _Count
    parts: _Positive
    value: bytes

    @property
    def belongs_to(self) -> tuple[int, int, int, int]:
        """The fields that all parts of one value have in common, in addition to their key."""
        return self.create_revision, self.modify_revision, self.version, self.parts


def gather(pairs: Iterable[Pair]) -> Iterator[Chunk]:
    """Yield the chunks one by one, each filled as far as possible; read only the items that each chunk needs."""
    bytes_full, items_full = chunks.room()
    room = bytes_full - CHUNK_OVERHEAD_BYTES
    value_bytes_whole = chunks.VALUE_PART_BYTES
    items: list[Pair] = []
    size = 0
    for pair in pairs:
        key, item = pair
        value_size = len(item.value)
        if value_size > value_bytes_whole:
            yield from _cut(key, item)
            continue
        item_size = len(key) + value_size + ITEM_OVERHEAD_BYTES
        if items and (size + item_size > room or len(items) == items_full):
            yield Items(items)
            items = []
            size = 0
        items.append(pair)
        size += item_size
    if items:
        yield Items(items)


def _cut(key: bytes, item: Item) -> Iterator[Part]:
    value, step = item.value, chunks.VALUE_PART_BYTES
    offsets = range(0, len(value), step)
    for part, offset in enumerate(offsets):
        piece = value[offset : offset + step]
        yield Part(key, item.create_revision, item.modify_revision, item.version, part, len(offsets), piece)


class ItemsLoader(SectionLoader):
    """Builds a keyspace from its chunks."""

    def __init__(self, restore: Callable[[list[Pair]], bytes | None], state: KeyspaceState, revision: int) -> None:
        self._restore = restore
        self.promised = state.key_count
        self._revision = revision
        self._parts: dict[bytes, tuple[Part, dict[int, bytes]]] = {}
        self._loaded = 0

    @property
    @override
    def loaded(self) -> int:
        return self._loaded

    @override
    def add(self, chunk: Chunk) -> None:
        """Add a chunk: at most CHUNK_BYTES_MAX bytes of work, and the joining of one long value."""
        if isinstance(chunk, Items):
            self._add(chunk.items)
        else:
            assert isinstance(chunk, Part), "a chunk of another section"
            self._add(self._join(chunk))

    @override
    def finish(self) -> None:
        if self._parts:
            raise SnapshotInvalid(f"parts are missing of {len(self._parts)} long values")
        if self._loaded != self.promised:
            raise SnapshotInvalid(f"it holds {self._loaded} keys, and its state promises {self.promised}")

    def _add(self, items: list[Pair]) -> None:
        newest = self._revision
        for key, item in items:
            if not item.create_revision <= item.modify_revision <= newest:
                raise SnapshotInvalid(
                    f"{_name(key)} has revisions {item.create_revision} and {item.modify_revision} at revision {newest}"
                )
        double = self._restore(items)
        if double is not None:
            raise SnapshotInvalid(f"{_name(double)} comes twice")
        self._loaded += len(items)

    def _join(self, new: Part) -> list[Pair]:
        """Return the item that this part completes, or an empty list."""
        first, values = self._parts.setdefault(new.key, (new, {}))
        if new.belongs_to != first.belongs_to or new.part >= new.parts or new.part in values:
            raise SnapshotInvalid(f"the parts of {_name(new.key)} do not fit together")
        values[new.part] = new.value
        if len(values) < new.parts:
            return []
        del self._parts[new.key]
        value = b"".join(values[part] for part in range(new.parts))
        return [(new.key, Item(value, new.create_revision, new.modify_revision, new.version))]


def _name(key: bytes) -> str:
    return f"key {key[:KEY_BYTES_NAMED]!r}"
