"""The chunks and the state of a snapshot: the base classes of all kinds, and the limits of a chunk.

A kind of chunk is one frozen class, whose tag is the kind. The state is JSON in the header of a file; each section has
a class for its fields. Both have the feature level from which on a snapshot may hold them, as a mutation has the level
from which on the log may hold it. The meaning of a kind or a field never changes: other content needs another kind.

The limits are looked up in this module when a snapshot is taken or loaded, so that replacing one here replaces it for
all sections.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Self

import msgspec

CHUNK_BYTES_MAX: Final = 256 * 1024
"""Longest chunk that is accepted, in bytes."""
CHUNK_BYTES_FULL: Final = 64 * 1024
"""Most bytes of a chunk with more than one item."""
CHUNK_ITEMS_FULL: Final = 256
"""Most items of a chunk: to gather and encode one costs 2 to 8 µs (measured), so that a step takes one or two
milliseconds even with short items."""
VALUE_PART_BYTES: Final = 128 * 1024
"""A longer value is cut into parts of so many bytes, each in its own chunk."""


class SnapshotInvalid(Exception):
    """State and chunks do not form a store; fetch or take another snapshot."""


class UnknownSnapshotLayout(SnapshotInvalid):
    """A later kvraft took it, or it holds a section of a later one, which this version cannot interpret."""

    needs_upgrade = True


class Chunk(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One kind of chunk."""

    LEVEL: ClassVar[int] = 0
    """The feature level (`kvraft.store.features`) from which on a snapshot may hold it."""


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Fields of a snapshot's state. Those of a level above 0 have defaults, and are omitted when equal to them."""

    LEVEL: ClassVar[int] = 0
    """The feature level from which on a snapshot may hold them."""

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Self:
        """Return the fields of this class from the whole state of a snapshot, as decoded from JSON.

        Raises:
            SnapshotInvalid: a field is missing or invalid.
        """
        own = {field: state[field] for field in cls.__struct_fields__ if field in state}
        try:
            return msgspec.convert(own, cls)
        except msgspec.ValidationError as error:
            raise SnapshotInvalid(f"its state cannot be read: {error}") from error


_encoder = msgspec.msgpack.Encoder()


def room() -> tuple[int, int]:
    """Return the most bytes and items of a chunk to be made."""
    return CHUNK_BYTES_FULL, CHUNK_ITEMS_FULL


def encode(chunk: Chunk) -> bytes:
    """Return the bytes of a chunk."""
    encoded = _encoder.encode(chunk)
    assert len(encoded) <= CHUNK_BYTES_MAX, f"a chunk of {len(encoded)} bytes could never be loaded"
    return encoded


def kind(chunk: type[Chunk]) -> int:
    """Return the number of a class of chunks in a snapshot."""
    config: Any = chunk.__struct_config__
    tag = config.tag
    assert isinstance(tag, int), f"{chunk.__name__} has no kind"
    return tag
