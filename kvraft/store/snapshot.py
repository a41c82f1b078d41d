"""The whole store as a series of chunks, taken in small steps while writes go on, and put together again from them.

A snapshot is a *state*, everything that is not a key, fit for the header of a file, and *chunks*, MessagePack arrays
that open with their kind::

    [1, [[key, [value, create revision, modify revision, version]], ...]]           whole items
    [2, key, create revision, modify revision, version, part, parts, bytes]         a part of one long value

Neither the order of items nor that of chunks carries meaning, so how the writer cuts its keys into shards binds no
reader. Chunks carry no checksum; the file or frame that holds them guards them against damage. What is checked here is
that they come to a store that could have been: every key once, every long value whole, as many keys as the state
promises.
"""

import itertools
from collections.abc import Generator, Iterator
from contextlib import suppress
from typing import Annotated, Any, Final

import msgspec

from kvraft.commands import KEY_BYTES_MAX, Item
from kvraft.store.features import FEATURE_LEVEL, SNAPSHOT_CHUNKS, SNAPSHOT_STATE, UnknownFeatureLevel
from kvraft.store.keyspace import Frozen, Keyspace, Released
from kvraft.store.store import Store

SNAPSHOT_LAYOUT: Final = 1
"""The layout of state and chunks."""

CHUNK_BYTES_MAX: Final = 256 * 1024
"""Longest chunk that is ever believed, in bytes."""
CHUNK_BYTES_FULL: Final = 64 * 1024
"""A chunk that is made holds no more bytes than this, or a single item."""
CHUNK_ITEMS_FULL: Final = 256
"""A chunk that is made holds no more items than this: to gather and encode one costs 2 to 8 µs (measured), so that a
step takes one or two milliseconds, however short the items are."""
VALUE_PART_BYTES: Final = 128 * 1024
"""A longer value is cut into parts of so many bytes, each a chunk of its own."""
ITEM_OVERHEAD_BYTES: Final = 40
"""The most that the encoding adds to an item's key and value: 2 arrays, 2 binary headers, 3 integers."""
CHUNK_OVERHEAD_BYTES: Final = 48
"""The most that the encoding adds to the items of a chunk, or to the key and the bytes of a part."""
KEY_BYTES_NAMED: Final = 64
"""So many bytes of a key are shown in an error."""

assert KEY_BYTES_MAX + VALUE_PART_BYTES + ITEM_OVERHEAD_BYTES + CHUNK_OVERHEAD_BYTES <= CHUNK_BYTES_MAX


class SnapshotInvalid(Exception):
    """State and chunks do not come to a store; fetch or take another snapshot."""


class UnknownSnapshotLayout(SnapshotInvalid):
    """A later kvraft took it, or it holds a section of a later one; this one must not guess what that means."""

    needs_upgrade = True


_Count = Annotated[int, msgspec.Meta(ge=0)]
_Positive = Annotated[int, msgspec.Meta(ge=1)]
_Item = tuple[bytes, _Positive, _Positive, _Positive]


class _State(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What of a store is not a key. Its fields are those of the header of a file: JSON, no layout change unnoticed."""

    layout: _Positive
    applied_index: _Count
    applied_term: _Count
    revision: _Count
    cluster_time: _Count
    cluster_id: str | None
    checksum: _Count
    key_count: _Count
    feature_level: _Count = 0
    """Left out at 0, so that whoever does not know of levels reads the snapshots of a cluster that has none."""
    quota_bytes: _Count = 0
    quota_keys: _Count = 0
    """Left out at 0 as well: only from feature level 2 on can there be others."""


class _Items(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=1):
    """Whole items."""

    items: list[tuple[bytes, _Item]]


class _Part(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=2):
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
        """What all parts of one value have in common, beside their key."""
        return self.create_revision, self.modify_revision, self.version, self.parts


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Items | _Part)
_parts_decoder = msgspec.msgpack.Decoder(list[msgspec.Raw])
_kind_decoder = msgspec.msgpack.Decoder(_Count)


def take(store: Store) -> "StoreSnapshot":
    """Freeze what `store` holds now; reading it is left to the caller, chunk by chunk.

    Raises:
        AlreadyFrozen: another snapshot of it has not been read to its end or released.
    """
    frozen = store.keys.freeze()
    state = _State(
        layout=SNAPSHOT_LAYOUT,
        applied_index=store.applied_index,
        applied_term=store.applied_term,
        revision=store.revision,
        cluster_time=store.cluster_time,
        cluster_id=store.cluster_id,
        checksum=store.checksum,
        key_count=store.key_count,
        feature_level=store.feature_level,
        quota_bytes=store.quota_bytes,
        quota_keys=store.quota_keys,
    )
    return StoreSnapshot(msgspec.to_builtins(state), frozen)


class StoreSnapshot(Iterator[bytes]):
    """An iterator of the chunks of one snapshot. The store may be written to between two steps.

    One step makes one chunk, of at most CHUNK_ITEMS_FULL items, and reads no shard more than it needs for that.
    """

    def __init__(self, state: dict[str, Any], frozen: Frozen) -> None:
        self.state = state
        """Everything but the keys, fit for JSON."""
        self._frozen = frozen
        self._released = False
        self._chunks = _encode_chunks(frozen)

    def __next__(self) -> bytes:
        """Return the next chunk.

        Raises:
            Released: `release` was called.
        """
        if self._released:
            raise Released("this snapshot was released; take a new one")
        return next(self._chunks)

    def release(self) -> list[dict[bytes, Any]]:
        """Let go of the store; harmless behind the end.

        Returns what was kept for this snapshot, in pieces: it takes some 0.4 µs to free what one write has left
        (measured), and there may be millions.
        """
        self._released = True
        self._chunks.close()
        return self._frozen.release()


def _encode_chunks(frozen: Frozen) -> Generator[bytes, None, None]:
    """Yield chunk after chunk, each filled as far as it will go with whole items of one shard after the other."""
    room = CHUNK_BYTES_FULL - CHUNK_OVERHEAD_BYTES
    items: list[tuple[bytes, Item]] = []
    size = 0
    for pair in itertools.chain.from_iterable(frozen):
        key, item = pair
        value_size = len(item[0])
        if value_size > VALUE_PART_BYTES:
            yield from _encode_parts(key, item)
            continue
        item_size = len(key) + value_size + ITEM_OVERHEAD_BYTES
        if items and (size + item_size > room or len(items) == CHUNK_ITEMS_FULL):
            yield _encode(_Items(items))
            items = []
            size = 0
        items.append(pair)
        size += item_size
    if items:
        yield _encode(_Items(items))


def _encode(content: _Items | _Part) -> bytes:
    chunk = _encoder.encode(content)
    assert len(chunk) <= CHUNK_BYTES_MAX, f"a chunk of {len(chunk)} bytes could never be loaded"
    return chunk


def _encode_parts(key: bytes, item: Item) -> Iterator[bytes]:
    value, create_revision, modify_revision, version = item
    offsets = range(0, len(value), VALUE_PART_BYTES)
    for part, offset in enumerate(offsets):
        piece = value[offset : offset + VALUE_PART_BYTES]
        yield _encode(_Part(key, create_revision, modify_revision, version, part, len(offsets), piece))


class StoreLoader:
    """Puts a store together from a snapshot; nobody sees it before it is whole.

    It makes one store, and after an error none. Who gives it up half-way calls `dismantle`.

    The garbage collector finds nothing to do among keys and items, but does not know that: whoever loads much lets it
    rest meanwhile, and then hides from it what was loaded, without a collection before it (`kvraft.collector`).
    """

    def __init__(self, state: dict[str, Any]) -> None:
        """Begin with the state of a snapshot, as it came back from JSON.

        Raises:
            UnknownSnapshotLayout: a later kvraft took it.
            SnapshotInvalid: it is no state of a snapshot.
        """
        self._state = _decode_state(state)
        self._keys = Keyspace()
        self._is_usable = True
        """Until it has failed, or has made its store."""
        self._parts: dict[bytes, tuple[_Part, dict[int, bytes]]] = {}
        self.key_count = 0
        """How many whole items have been added."""

    @property
    def key_count_expected(self) -> int:
        """How many items the state promises."""
        return self._state.key_count

    def add(self, chunk: bytes) -> None:
        """Add one chunk, in any order; at most CHUNK_BYTES_MAX bytes of work, and the joining of one long value.

        Raises:
            UnknownSnapshotLayout: it is a chunk of a later kvraft.
            SnapshotInvalid: it is no chunk, a key comes twice, or an item cannot be of this state.
        """
        self._use_up()
        if len(chunk) > CHUNK_BYTES_MAX:
            raise SnapshotInvalid(f"a chunk has {len(chunk)} bytes; at most {CHUNK_BYTES_MAX} are ever made")
        try:
            content = _decoder.decode(chunk)
        except msgspec.MsgspecError as error:
            _check_kind(chunk)
            raise SnapshotInvalid(f"a chunk is damaged: {error}") from error
        self._restore(content.items if isinstance(content, _Items) else self._join(content))
        self._is_usable = True

    def finish(self) -> Store:
        """Return the store, when everything that the state promises is there.

        Raises:
            SnapshotInvalid: keys or parts of a value are missing.
        """
        self._use_up()
        if self._parts:
            raise SnapshotInvalid(f"parts are missing of {len(self._parts)} long values")
        state = self._state
        if self.key_count != state.key_count:
            raise SnapshotInvalid(f"it holds {self.key_count} keys, and its state promises {state.key_count}")
        store = Store()
        store.feature_level = state.feature_level
        store.quota_bytes, store.quota_keys = state.quota_bytes, state.quota_keys
        store.applied_index = state.applied_index
        store.applied_term = state.applied_term
        store.revision = state.revision
        store.cluster_time = state.cluster_time
        store.cluster_id = state.cluster_id
        store.checksum = state.checksum
        store.keys = self._keys
        store.key_count = state.key_count
        return store

    def dismantle(self) -> list[dict[bytes, Any]]:
        """Give up what is half built and return it in pieces, as `Keyspace.dismantle` does; not behind `finish`."""
        self._is_usable = False
        return self._keys.dismantle()

    def _use_up(self) -> None:
        """Be unusable until all went well, so that there is no going on behind an error."""
        if not self._is_usable:
            raise SnapshotInvalid("this loader has failed or finished before; begin again with a new one")
        self._is_usable = False

    def _restore(self, items: list[tuple[bytes, Item]]) -> None:
        restore = self._keys.restore
        newest = self._state.revision
        for key, item in items:
            if not item[1] <= item[2] <= newest:
                raise SnapshotInvalid(f"{_name(key)} has revisions {item[1]} and {item[2]} at revision {newest}")
            if not restore(key, item):
                raise SnapshotInvalid(f"{_name(key)} comes twice")
        self.key_count += len(items)

    def _join(self, new: _Part) -> list[tuple[bytes, Item]]:
        """Return the one item that is whole with this part, or none."""
        first, values = self._parts.setdefault(new.key, (new, {}))
        if new.belongs_to != first.belongs_to or new.part >= new.parts or new.part in values:
            raise SnapshotInvalid(f"the parts of {_name(new.key)} do not fit together")
        values[new.part] = new.value
        if len(values) < new.parts:
            return []
        del self._parts[new.key]
        value = b"".join(values[part] for part in range(new.parts))
        return [(new.key, (value, new.create_revision, new.modify_revision, new.version))]


def _decode_state(state: dict[str, Any]) -> _State:
    layout = state.get("layout")
    if isinstance(layout, int) and layout > SNAPSHOT_LAYOUT:
        raise UnknownSnapshotLayout(f"a snapshot of layout {layout} is unknown to this kvraft; upgrade this node")
    if unknown := sorted(state.keys() - SNAPSHOT_STATE):
        raise UnknownSnapshotLayout(
            f"a snapshot with the section {unknown[0]!r} is unknown to this kvraft; upgrade this node"
        )
    try:
        converted = msgspec.convert(state, _State)
    except msgspec.ValidationError as error:
        raise SnapshotInvalid(f"its state cannot be read: {error}") from error
    if converted.feature_level > FEATURE_LEVEL:
        raise UnknownSnapshotLayout(str(UnknownFeatureLevel(converted.feature_level)))
    return converted


def _check_kind(chunk: bytes) -> None:
    """Refuse a chunk that cannot be decoded for being of a later kvraft's kind."""
    with suppress(msgspec.MsgspecError, RecursionError):
        parts = _parts_decoder.decode(chunk)
        kind = _kind_decoder.decode(parts[0]) if parts else None
        if kind is not None and kind not in SNAPSHOT_CHUNKS:
            raise UnknownSnapshotLayout(f"a chunk of kind {kind} is unknown to this kvraft; upgrade this node")


def _name(key: bytes) -> str:
    return f"key {key[:KEY_BYTES_NAMED]!r}"
