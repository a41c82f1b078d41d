"""The chunks and the state that a snapshot is made of: what all kinds have in common, and how long a chunk may be.

A kind of chunk is one frozen class, and its tag is the kind. The state is JSON in the header of a file; each section
has a class for its fields. Both name the feature level from which on they may stand in a snapshot, as a mutation names
the one from which on it may stand in the log. What a kind or a field means never changes: other content is another
kind.

The limits are looked up in this module when a snapshot is taken or loaded, so that whoever replaces one here replaces
it for all sections.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Self

import msgspec

CHUNK_BYTES_MAX: Final = 256 * 1024
"""Longest chunk that is ever believed, in bytes."""
CHUNK_BYTES_FULL: Final = 64 * 1024
"""A chunk that is made holds no more bytes than this, or a single item."""
CHUNK_ITEMS_FULL: Final = 256
"""A chunk that is made holds no more items than this: to gather and encode one costs 2 to 8 µs (measured), so that a
step takes one or two milliseconds, however short the items are."""
VALUE_PART_BYTES: Final = 128 * 1024
"""A longer value is cut into parts of so many bytes, each a chunk of its own."""


class SnapshotInvalid(Exception):
    """State and chunks do not come to a store; fetch or take another snapshot."""


class UnknownSnapshotLayout(SnapshotInvalid):
    """A later kvraft took it, or it holds a section of a later one; this one must not guess what that means."""

    needs_upgrade = True


class Chunk(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One kind of chunk."""

    LEVEL: ClassVar[int] = 0
    """The feature level (`kvraft.store.features`) from which on it may stand in a snapshot."""


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Fields of a snapshot's state. Those of a level above 0 have defaults, and are left out where they equal them."""

    LEVEL: ClassVar[int] = 0
    """The feature level from which on they may stand in a snapshot."""

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Self:
        """Return what the whole state of a snapshot, as it came back from JSON, says in the fields of this class.

        Raises:
            SnapshotInvalid: one is missing, or is not what it must be.
        """
        own = {field: state[field] for field in cls.__struct_fields__ if field in state}
        try:
            return msgspec.convert(own, cls)
        except msgspec.ValidationError as error:
            raise SnapshotInvalid(f"its state cannot be read: {error}") from error


_encoder = msgspec.msgpack.Encoder()


def room() -> tuple[int, int]:
    """Return how many bytes, and how many items, fill a chunk that is made."""
    return CHUNK_BYTES_FULL, CHUNK_ITEMS_FULL


def encode(chunk: Chunk) -> bytes:
    """Return the bytes of a chunk."""
    encoded = _encoder.encode(chunk)
    assert len(encoded) <= CHUNK_BYTES_MAX, f"a chunk of {len(encoded)} bytes could never be loaded"
    return encoded


def kind(chunk: type[Chunk]) -> int:
    """Return the number that stands for a class of chunks in a snapshot."""
    config: Any = chunk.__struct_config__
    tag = config.tag
    assert isinstance(tag, int), f"{chunk.__name__} has no kind"
    return tag
