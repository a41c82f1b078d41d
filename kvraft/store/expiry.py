"""When keys expire: the deadline of each key that has one, in cluster time, and all deadlines in their order.

A key that never expires costs nothing here. An expiring key has two places: its deadline by its name, spread over many
small dicts as the keys are (`kvraft.store.keyspace`), and its name by its deadline, in the order in which expired keys
are removed. That order is the same on every member, however the table came to be.
"""

from collections.abc import Iterator, Mapping, Sized
from itertools import chain
from typing import Annotated, Any, ClassVar, Final
from zlib import crc32

import msgspec
from typing_extensions import override

from kvraft.store import chunks
from kvraft.store.chunks import Chunk, SnapshotInvalid, State
from kvraft.store.keyspace import SHARDS, FrozenShards
from kvraft.store.ordered import OrderedKeys
from kvraft.store.section import AlreadyFrozen, FrozenSection, Section, SectionLoader

DEADLINE_BYTES: Final = 200
"""What a deadline is counted with beside the bytes of its key: two places in dicts and lists, an integer, and a string
of bytes that holds the key once more."""
DEADLINE_US_MAX: Final = 2**64 - 1
"""The latest deadline, microseconds: what a snapshot can hold. No log of a client comes to it."""
_STAMP_BYTES: Final = 9
"""The length of a deadline in front of its key: room for one more than the latest."""
_ENTRY_OVERHEAD_BYTES: Final = 16
"""The most that the encoding adds to a key with its deadline, and to a chunk."""
_MASK: Final = SHARDS - 1
_EMPTY: Final[dict[bytes, int]] = {}
"""Stands for every shard that has never held a deadline: written to by nobody."""

_Count = Annotated[int, msgspec.Meta(ge=0)]
_Positive = Annotated[int, msgspec.Meta(ge=1)]


class ExpiryState(State, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The fields of a snapshot's state that belong to this table."""

    LEVEL: ClassVar[int] = 3

    expiring_keys: _Count = 0


class Deadlines(Chunk, frozen=True, gc=False, array_like=True, tag=5):
    """Keys and when they expire, microseconds of cluster time."""

    LEVEL: ClassVar[int] = 3

    deadlines: list[tuple[bytes, _Positive]]


def _place(deadline: int, key: bytes) -> bytes:
    """Return what sorts by the deadline, and by the key where deadlines are the same."""
    return deadline.to_bytes(_STAMP_BYTES, "big") + key


class Expiry(Section):
    """A mapping of keys to deadlines."""

    STATE: ClassVar[type[State]] = ExpiryState
    CHUNKS: ClassVar[tuple[type[Chunk], ...]] = (Deadlines,)

    def __init__(self) -> None:
        self._shards: list[dict[bytes, int]] = [_EMPTY] * SHARDS
        self._frozen: FrozenShards[int] | None = None
        self._ordered = OrderedKeys()
        self.key_count = 0
        """How many keys expire."""
        self.bytes_used = 0
        """Bytes of their keys, and DEADLINE_BYTES for each."""

    def get(self, key: bytes) -> int | None:
        """Return when a key expires; None: never."""
        return self._shards[crc32(key) & _MASK].get(key)

    @property
    def earliest(self) -> int | None:
        """The earliest deadline."""
        first = self._ordered.first
        return None if first is None else int.from_bytes(first[:_STAMP_BYTES], "big")

    def has_due(self, time_us: int) -> bool:
        """Whether a key has expired at this time that is still here."""
        earliest = self.earliest
        return earliest is not None and earliest <= time_us

    def is_due(self, key: bytes, time_us: int) -> bool:
        """Whether this key has expired at this time."""
        deadline = self.get(key)
        return deadline is not None and deadline <= time_us

    def due(self, time_us: int) -> Iterator[bytes]:
        """Yield the keys that have expired at this time, the earliest first. Nothing may be changed meanwhile."""
        for place in self._ordered.between(b"", _place(time_us + 1, b"")):
            yield place[_STAMP_BYTES:]

    def set(self, key: bytes, deadline: int | None) -> int | None:
        """Let a key expire at a time, or never; return what held before."""
        index = crc32(key) & _MASK
        shard = self._shards[index]
        old = shard.get(key)
        if old == deadline:
            return old
        if self._frozen is not None:
            self._frozen.keep(index, key, old)
        if old is not None:
            self._ordered.remove(_place(old, key))
            self.key_count -= 1
            self.bytes_used -= len(key) + DEADLINE_BYTES
        if deadline is None:
            del shard[key]
            return old
        if shard is _EMPTY:
            shard = self._shards[index] = {}
        shard[key] = deadline
        self._ordered.add_all((_place(deadline, key),))
        self.key_count += 1
        self.bytes_used += len(key) + DEADLINE_BYTES
        return old

    def deadlines(self) -> dict[bytes, int]:
        """Return all of them."""
        return dict(chain.from_iterable(shard.items() for shard in self._shards))

    # --- snapshots ---------------------------------------------------------------------------------------------------

    @property
    @override
    def frozen(self) -> bool:
        return self._frozen is not None

    @override
    def freeze(self) -> FrozenSection:
        if self._frozen is not None:
            raise AlreadyFrozen("another snapshot is being taken; only one is taken at a time")
        self._frozen = shards = FrozenShards(self, self._shards)
        return FrozenSection(ExpiryState(self.key_count), _gather(chain.from_iterable(shards)), shards.release)

    def thaw(self, frozen: FrozenShards[int]) -> None:
        """Keep nothing for `frozen` any more; only `FrozenShards` itself calls this."""
        assert self._frozen is frozen, "a snapshot thaws what another one holds"
        self._frozen = None

    @override
    def loader(self, state: Mapping[str, Any], revision: int) -> "DeadlinesLoader":
        return DeadlinesLoader(self, ExpiryState.of(state))

    @override
    def dismantle(self) -> list[Sized]:
        kept = [] if self._frozen is None else self._frozen.release()
        shards, self._shards = self._shards, []
        return [*shards, *kept, *self._ordered.pieces()]


def _gather(deadlines: Iterator[tuple[bytes, int]]) -> Iterator[Chunk]:
    """Yield chunk after chunk, each filled as far as it will go, and read no further than each needs."""
    bytes_full, count_full = chunks.room()
    gathered: list[tuple[bytes, int]] = []
    size = _ENTRY_OVERHEAD_BYTES
    for each in deadlines:
        more = len(each[0]) + _ENTRY_OVERHEAD_BYTES
        if gathered and (size + more > bytes_full or len(gathered) == count_full):
            yield Deadlines(gathered)
            gathered, size = [], _ENTRY_OVERHEAD_BYTES
        gathered.append(each)
        size += more
    if gathered:
        yield Deadlines(gathered)


class DeadlinesLoader(SectionLoader):
    """Puts the table together from its chunks."""

    def __init__(self, expiry: Expiry, state: ExpiryState) -> None:
        self._expiry = expiry
        self._promised = state.expiring_keys

    @property
    @override
    def loaded(self) -> int:
        return self._expiry.key_count

    @property
    @override
    def promised(self) -> int:
        return self._promised

    @override
    def add(self, chunk: Chunk) -> None:
        assert isinstance(chunk, Deadlines), "a chunk of another section"
        for key, deadline in chunk.deadlines:
            if self._expiry.set(key, deadline) is not None:
                raise SnapshotInvalid("a key has two deadlines")

    @override
    def finish(self) -> None:
        if self.loaded != self._promised:
            raise SnapshotInvalid(f"it holds {self.loaded} deadlines, and its state promises {self._promised}")
