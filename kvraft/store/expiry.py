"""The deadlines of keys, in cluster time, by key and in order.

A key that never expires costs nothing here. An expiring key has two places: its deadline by its name, spread over many
small dicts as the keys are (`kvraft.store.keyspace`), and its name by its deadline, in the order in which expired keys
are removed. That order is the same on every member, whether the table was built by entries or from a snapshot.
"""

from collections.abc import Iterator, Mapping, Sized
from itertools import chain
from typing import Annotated, Any, ClassVar, Final

import msgspec
from typing_extensions import override

from kvraft.store.chunks import Chunk, SnapshotInvalid, State
from kvraft.store.keyspace import SHARDS
from kvraft.store.section import FrozenSection, Section, SectionLoader
from kvraft.store.table import DeadlineOrder, Table, gather

DEADLINE_BYTES: Final = 200
"""Bytes that a deadline counts in addition to its key: two places in dicts and lists, an integer, and a string of bytes
that holds the key again."""
DEADLINE_US_MAX: Final = 2**64 - 1
"""The latest deadline that a snapshot can hold, microseconds. No command of a client can reach it."""
_ROW_BYTES: Final = 16
"""The most that the encoding adds to a key with its deadline."""

_Count = Annotated[int, msgspec.Meta(ge=0)]
_Positive = Annotated[int, msgspec.Meta(ge=1)]


class ExpiryState(State, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The fields of a snapshot's state that belong to this table."""

    LEVEL: ClassVar[int] = 3

    expiring_keys: _Count = 0


class Deadlines(Chunk, frozen=True, gc=False, array_like=True, tag=5):
    """Keys and their deadlines, microseconds of cluster time."""

    LEVEL: ClassVar[int] = 3

    deadlines: list[tuple[bytes, _Positive]]


class Expiry(Section):
    """A mapping of keys to deadlines."""

    STATE: ClassVar[type[State]] = ExpiryState
    CHUNKS: ClassVar[tuple[type[Chunk], ...]] = (Deadlines,)

    def __init__(self) -> None:
        self.table: Table[int] = Table(SHARDS)
        self._order = DeadlineOrder()
        self.bytes_used = 0
        """Bytes of the keys that expire, and DEADLINE_BYTES for each."""

    @property
    def key_count(self) -> int:
        """How many keys expire."""
        return self.table.count

    def get(self, key: bytes) -> int | None:
        """Return the deadline of a key; None: it has none."""
        return self.table.get(key)

    @property
    def earliest(self) -> int | None:
        """The earliest deadline."""
        return self._order.earliest

    def has_due(self, time_us: int) -> bool:
        """Whether any key has expired at this time and is not removed yet."""
        return self._order.has_due(time_us)

    def is_due(self, key: bytes, time_us: int) -> bool:
        """Whether this key has expired at this time."""
        deadline = self.get(key)
        return deadline is not None and deadline <= time_us

    def due(self, time_us: int) -> Iterator[bytes]:
        """Yield the keys that have expired at this time, the earliest first. Nothing may be changed meanwhile."""
        return self._order.due(time_us)

    def set(self, key: bytes, deadline: int | None) -> int | None:
        """Set the deadline of a key, or remove it; return the old one."""
        old = self.table.set(key, deadline)
        self._order.move(key, old, deadline)
        self.bytes_used += ((deadline is not None) - (old is not None)) * (len(key) + DEADLINE_BYTES)
        return old

    def deadlines(self) -> dict[bytes, int]:
        """Return all deadlines."""
        return dict(self.table.rows())

    # --- snapshots ---------------------------------------------------------------------------------------------------

    @property
    @override
    def frozen(self) -> bool:
        return self.table.frozen

    @override
    def freeze(self) -> FrozenSection:
        frozen = self.table.freeze()
        rows = chain.from_iterable(frozen)
        return FrozenSection(ExpiryState(self.key_count), gather(rows, _row_bytes, Deadlines), frozen.release)

    @override
    def loader(self, state: Mapping[str, Any], revision: int) -> "DeadlinesLoader":
        return DeadlinesLoader(self, ExpiryState.of(state))

    @override
    def dismantle(self) -> list[Sized]:
        return [*self.table.dismantle(), *self._order.pieces()]


def _row_bytes(row: tuple[bytes, int]) -> int:
    key, _ = row
    return len(key) + _ROW_BYTES


class DeadlinesLoader(SectionLoader):
    """Builds the table from its chunks."""

    def __init__(self, expiry: Expiry, state: ExpiryState) -> None:
        self._expiry = expiry
        self.promised = state.expiring_keys

    @property
    @override
    def loaded(self) -> int:
        return self._expiry.key_count

    @override
    def add(self, chunk: Chunk) -> None:
        assert isinstance(chunk, Deadlines), "a chunk of another section"
        for key, deadline in chunk.deadlines:
            if self._expiry.set(key, deadline) is not None:
                raise SnapshotInvalid("a key has two deadlines")

    @override
    def finish(self) -> None:
        if self.loaded != self.promised:
            raise SnapshotInvalid(f"it holds {self.loaded} deadlines, and its state promises {self.promised}")
