"""What the smaller sections are made of: a table of names, its order by deadlines, and chunks that are filled.

A table is spread over many small dicts, as the keys are, so that none of them ever stalls to grow, and a snapshot
copies on write no more than the row that is written (`kvraft.store.keyspace`).
"""

from collections.abc import Callable, Iterable, Iterator, Sized
from itertools import chain
from typing import Any, Final, Generic, TypeVar
from zlib import crc32

from kvraft.store import chunks
from kvraft.store.chunks import Chunk
from kvraft.store.keyspace import FrozenShards
from kvraft.store.ordered import OrderedKeys
from kvraft.store.section import AlreadyFrozen

_STAMP_BYTES: Final = 9
"""The length of a deadline in front of its name: room for one more than the latest."""
_CHUNK_BYTES: Final = 16
"""The most that the encoding adds to the rows of a chunk."""
_EMPTY: Final[dict[bytes, Any]] = {}
"""Stands for every shard that has never held a row: written to by nobody."""

_Content = TypeVar("_Content")
_Row = TypeVar("_Row")


class Table(Generic[_Content]):
    """A mapping of names to values that never change.

    Args:
        shards: over how many dicts it is spread; a power of two.
    """

    def __init__(self, shards: int) -> None:
        self._shards: list[dict[bytes, _Content]] = [_EMPTY] * shards
        self._mask = shards - 1
        self._frozen: FrozenShards[_Content] | None = None
        self.count = 0
        """How many rows it has."""

    def get(self, name: bytes) -> _Content | None:
        """Return what is stored under a name."""
        return self._shards[crc32(name) & self._mask].get(name)

    def set(self, name: bytes, content: _Content | None) -> _Content | None:
        """Store something under a name, or nothing any more; return what stood there."""
        index = crc32(name) & self._mask
        shard = self._shards[index]
        old = shard.get(name)
        if old is content:
            return old
        if self._frozen is not None:
            self._frozen.keep(index, name, old)
        if content is None:
            if old is not None:
                del shard[name]
                self.count -= 1
            return old
        if shard is _EMPTY:
            shard = self._shards[index] = {}
        shard[name] = content
        self.count += old is None
        return old

    def rows(self) -> Iterator[tuple[bytes, _Content]]:
        """Yield every name with what is stored there, in no particular order."""
        return chain.from_iterable(shard.items() for shard in self._shards)

    @property
    def frozen(self) -> bool:
        """Whether writes leave what they replace with a snapshot."""
        return self._frozen is not None

    def freeze(self) -> FrozenShards[_Content]:
        """Hold what is stored now still, to be read shard by shard.

        Raises:
            AlreadyFrozen: another snapshot has not been read to its end or released.
        """
        if self._frozen is not None:
            raise AlreadyFrozen("another snapshot is being taken; only one is taken at a time")
        self._frozen = FrozenShards(self, self._shards)
        return self._frozen

    def thaw(self, frozen: FrozenShards[_Content]) -> None:
        """Keep nothing for `frozen` any more; only `FrozenShards` itself calls this."""
        assert self._frozen is frozen, "a snapshot thaws what another one holds"
        self._frozen = None

    def dismantle(self) -> list[Sized]:
        """Give up everything and return it in pieces; a snapshot that is being read is released."""
        kept = [] if self._frozen is None else self._frozen.release()
        shards, self._shards = self._shards, []
        return [*shards, *kept]


class DeadlineOrder:
    """Names in the order of their deadlines, and of the names where deadlines are the same."""

    def __init__(self) -> None:
        self._ordered = OrderedKeys()

    def move(self, name: bytes, old: int | None, new: int | None) -> None:
        """Give a name another deadline. None: it has none."""
        if old != new:
            if old is not None:
                self._ordered.remove(_place(old, name))
            if new is not None:
                self._ordered.add_all((_place(new, name),))

    @property
    def earliest(self) -> int | None:
        """The earliest deadline."""
        first = self._ordered.first
        return None if first is None else int.from_bytes(first[:_STAMP_BYTES], "big")

    def has_due(self, time_us: int) -> bool:
        """Whether a deadline has come at this time."""
        earliest = self.earliest
        return earliest is not None and earliest <= time_us

    def due(self, time_us: int) -> Iterator[bytes]:
        """Yield the names whose deadlines have come, the earliest first. Nothing may be changed meanwhile."""
        for place in self._ordered.between(b"", _place(time_us + 1, b"")):
            yield place[_STAMP_BYTES:]

    def pieces(self) -> list[list[bytes]]:
        """Give up everything and return it in pieces."""
        return self._ordered.pieces()


def _place(deadline: int, name: bytes) -> bytes:
    return deadline.to_bytes(_STAMP_BYTES, "big") + name


def gather(rows: Iterable[_Row], size: Callable[[_Row], int], make: Callable[[list[_Row]], Chunk]) -> Iterator[Chunk]:
    """Yield chunk after chunk, each filled as far as it will go, and read no further than each needs.

    `size` returns the most bytes that a row takes in a chunk, and `make` makes a chunk of rows.
    """
    bytes_full, count_full = chunks.room()
    gathered: list[_Row] = []
    total = _CHUNK_BYTES
    for row in rows:
        more = size(row)
        if gathered and (total + more > bytes_full or len(gathered) == count_full):
            yield make(gathered)
            gathered, total = [], _CHUNK_BYTES
        gathered.append(row)
        total += more
    if gathered:
        yield make(gathered)
