"""Snapshots of the store: taken as a series of chunks in small steps while writes go on, and loaded from these chunks.

A snapshot is a *state*, fit for the header of a file, and *chunks*, MessagePack arrays that begin with their kind. Some
fields of the state are the snapshot's own (`_Header`); the others, and all chunks, belong to the sections of the store,
which define their content. This module freezes and reads each section in turn, and passes the chunks of a snapshot back
to their sections; it does not depend on particular sections.

The order of fields and of chunks carries no meaning. Chunks have no checksum: the file or frame that holds them
protects them against damage. The loader checks that the chunks form a possible store.
"""

from collections.abc import Callable, Generator, Iterator, Sized
from contextlib import suppress
from functools import cache, reduce
from operator import or_
from typing import Annotated, Any, Final

import msgspec

from kvraft.store import chunks
from kvraft.store.chunks import Chunk, SnapshotInvalid, State, UnknownSnapshotLayout, kind
from kvraft.store.features import FEATURE_LEVEL, UnknownFeatureLevel
from kvraft.store.section import AlreadyFrozen, FrozenSection, Released
from kvraft.store.store import Store

SNAPSHOT_LAYOUT: Final = 1
"""The layout of state and chunks."""

_Count = Annotated[int, msgspec.Meta(ge=0)]
_Positive = Annotated[int, msgspec.Meta(ge=1)]


class _Header(State, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The values of a store that belong to no section."""

    layout: _Positive
    applied_index: _Count
    applied_term: _Count
    revision: _Count
    cluster_time: _Count
    cluster_id: str | None
    checksum: _Count
    feature_level: _Count = 0
    """Omitted at 0, so that a version without feature levels can read the snapshots of a cluster at level 0."""
    quota_bytes: _Count = 0
    quota_keys: _Count = 0
    """Omitted at 0 as well: they can differ from 0 only from feature level 2 on."""


_parts_decoder = msgspec.msgpack.Decoder(list[msgspec.Raw])
_kind_decoder = msgspec.msgpack.Decoder(_Count)


def take(store: Store) -> "StoreSnapshot":
    """Freeze the present content of `store`; the caller reads it chunk by chunk.

    Raises:
        AlreadyFrozen: another snapshot of it has not been read to its end or released.
    """
    if store.frozen:
        raise AlreadyFrozen("another snapshot is being taken; only one is taken at a time")
    header = _Header(
        layout=SNAPSHOT_LAYOUT,
        applied_index=store.applied_index,
        applied_term=store.applied_term,
        revision=store.revision,
        cluster_time=store.cluster_time,
        cluster_id=store.cluster_id,
        checksum=store.checksum,
        feature_level=store.feature_level,
        quota_bytes=store.quota_bytes,
        quota_keys=store.quota_keys,
    )
    return StoreSnapshot(header, [section.freeze() for section in store.sections])


class StoreSnapshot(Iterator[bytes]):
    """An iterator over the chunks of one snapshot. The store may be written to between two steps.

    One step makes one chunk, and reads only as much of a section as it needs for that.
    """

    def __init__(self, header: _Header, frozen: list[FrozenSection]) -> None:
        self.state: dict[str, Any] = msgspec.to_builtins(header)
        """Everything but the chunks, fit for JSON."""
        for section in frozen:
            fields = msgspec.to_builtins(section.state)
            assert not fields or header.feature_level >= section.state.LEVEL, f"{fields} are of a later feature level"
            self.state.update(fields)
        self._frozen = frozen
        self._released = False
        self._chunks = _encode_all(frozen, header.feature_level)

    def __next__(self) -> bytes:
        """Return the next chunk.

        Raises:
            Released: `release` was called, or the store was dismantled.
        """
        if self._released:
            raise Released("this snapshot was released; take a new one")
        return next(self._chunks)

    def release(self) -> list[Sized]:
        """Stop reading the store; harmless after the end.

        Returns the content that was saved for this snapshot, in pieces: to free that of one write takes some 0.4 µs
        (measured), and there may be millions.
        """
        self._released = True
        self._chunks.close()
        return [piece for section in self._frozen for piece in section.release()]


def _encode_all(frozen: list[FrozenSection], level: int) -> Generator[bytes, None, None]:
    for section in frozen:
        for content in section.chunks:
            assert level >= content.LEVEL, f"a chunk of level {content.LEVEL} in a snapshot of level {level}"
            yield chunks.encode(content)


class StoreLoader:
    """Builds a store from a snapshot; `finish` returns it when it is complete.

    It makes one store, and none after an error. A caller that gives up calls `dismantle`.

    Keys and items contain no garbage, but the garbage collector would walk through all of them. A caller that loads
    much disables it meanwhile, and then hides the loaded objects from it without a collection
    (`kvraft.replica.collector`).
    """

    def __init__(self, state: dict[str, Any]) -> None:
        """Begin with the state of a snapshot, as decoded from JSON.

        Raises:
            UnknownSnapshotLayout: a later kvraft took it.
            SnapshotInvalid: it is not the state of a snapshot.
        """
        self._store = Store()
        self._header = _decode_header(state, self._store)
        self._loaders = [section.loader(state, self._header.revision) for section in self._store.sections]
        self._adders: dict[type[Chunk], Callable[[Chunk], None]] = {
            content: loader.add
            for section, loader in zip(self._store.sections, self._loaders, strict=True)
            for content in section.CHUNKS
        }
        self._decoder = _decoder(tuple(self._adders))
        self._is_usable = True
        """Until it has failed, or has made its store."""

    @property
    def loaded(self) -> int:
        """How many complete rows of all tables have been added."""
        return sum(loader.loaded for loader in self._loaders)

    @property
    def promised(self) -> int:
        """How many rows the state promises."""
        return sum(loader.promised for loader in self._loaders)

    def add(self, chunk: bytes) -> None:
        """Add one chunk, in any order: a small step.

        Raises:
            UnknownSnapshotLayout: it is a chunk of a later kvraft.
            SnapshotInvalid: it is no chunk, or a section cannot have held it.
        """
        self._use_up()
        if len(chunk) > chunks.CHUNK_BYTES_MAX:
            raise SnapshotInvalid(f"a chunk has {len(chunk)} bytes; at most {chunks.CHUNK_BYTES_MAX} are ever made")
        try:
            content = self._decoder.decode(chunk)
        except msgspec.MsgspecError as error:
            self._check_kind(chunk)
            raise SnapshotInvalid(f"a chunk is damaged: {error}") from error
        self._adders[type(content)](content)
        self._is_usable = True

    def finish(self) -> Store:
        """Return the store, which must hold everything that the state promises.

        Raises:
            SnapshotInvalid: a section is incomplete.
        """
        self._use_up()
        for loader in self._loaders:
            loader.finish()
        store, header = self._store, self._header
        store.feature_level = header.feature_level
        store.quota_bytes, store.quota_keys = header.quota_bytes, header.quota_keys
        store.applied_index = header.applied_index
        store.applied_term = header.applied_term
        store.revision = header.revision
        store.cluster_time = header.cluster_time
        store.cluster_id = header.cluster_id
        store.checksum = header.checksum
        store.look_for_expired()
        return store

    def dismantle(self) -> list[Sized]:
        """Give up the incomplete store and return it in pieces, as `Store.dismantle` does; not after `finish`."""
        self._is_usable = False
        return self._store.dismantle()

    def _use_up(self) -> None:
        """Mark the loader unusable until the step succeeds, so that it cannot be used after an error."""
        if not self._is_usable:
            raise SnapshotInvalid("this loader has failed or finished before; begin again with a new one")
        self._is_usable = False

    def _check_kind(self, chunk: bytes) -> None:
        """Raise UnknownSnapshotLayout if a chunk cannot be decoded because a later kvraft has added its kind."""
        with suppress(msgspec.MsgspecError, RecursionError):
            parts = _parts_decoder.decode(chunk)
            found = _kind_decoder.decode(parts[0]) if parts else None
            if found is not None and found not in map(kind, self._adders):
                raise UnknownSnapshotLayout(f"a chunk of kind {found} is unknown to this kvraft; upgrade this node")


@cache
def _decoder(kinds: tuple[type[Chunk], ...]) -> msgspec.msgpack.Decoder[Chunk]:
    return msgspec.msgpack.Decoder(reduce(or_, kinds))


def _decode_header(state: dict[str, Any], store: Store) -> _Header:
    layout = state.get("layout")
    if isinstance(layout, int) and layout > SNAPSHOT_LAYOUT:
        raise UnknownSnapshotLayout(f"a snapshot of layout {layout} is unknown to this kvraft; upgrade this node")
    known = set(_Header.__struct_fields__).union(*(section.STATE.__struct_fields__ for section in store.sections))
    if unknown := sorted(state.keys() - known):
        raise UnknownSnapshotLayout(
            f"a snapshot with the section {unknown[0]!r} is unknown to this kvraft; upgrade this node"
        )
    header = _Header.of(state)
    if header.feature_level > FEATURE_LEVEL:
        raise UnknownSnapshotLayout(str(UnknownFeatureLevel(header.feature_level)))
    return header
