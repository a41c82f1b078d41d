"""The building blocks of the smaller sections: a table of names, an order by deadlines, and the filling of chunks.

A table is spread over many small dicts, as the keys are, so that none of them stalls while it grows, and a snapshot
copies only the rows that are written (`kvraft.store.keyspace`). The keyspace is no such table, although it freezes
in the same way: it goes through its shards in loops of its own, where a call for each key costs more than the rest.
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
"""The length of a deadline before its name, bytes: enough for one more than the latest deadline."""
_CHUNK_BYTES: Final = 16
"""The most that the encoding adds to the rows of a chunk."""
_EMPTY: Final[dict[bytes, Any]] = {}
"""Shared by all shards that have never held a row; never written to."""

_Content = TypeVar("_Content")
_Row = TypeVar("_Row")


class Table(Generic[_Content]):
    """A mapping of names to values that never change.

    Args:
        shards: the number of dicts; a power of two.
    """

    def __init__(self, shards: int) -> None:
        self._shards: list[dict[bytes, _Content]] = [_EMPTY] * shards
        self._mask = shards - 1
        self._frozen: FrozenShards[_Content] | None = None
        self.count = 0
        """How many rows it has."""

    def get(self, name: bytes) -> _Content | None:
        """Return the content of a name."""
        return self._shards[crc32(name) & self._mask].get(name)

    def set(self, name: bytes, content: _Content | None) -> _Content | None:
        """Store content under a name, or remove it with None; return the old content."""
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
        """Yield every name with its content, in no particular order."""
        return chain.from_iterable(map(dict.items, filter(None, self._shards)))

    @property
    def frozen(self) -> bool:
        """Whether writes save replaced content for a snapshot."""
        return self._frozen is not None

    def freeze(self) -> FrozenShards[_Content]:
        """Freeze the present content, to be read shard by shard.

        Raises:
            AlreadyFrozen: another snapshot has not been read to its end or released.
        """
        if self._frozen is not None:
            raise AlreadyFrozen("another snapshot is being taken; only one is taken at a time")
        self._frozen = FrozenShards(self, self._shards)
        return self._frozen

    def thaw(self, frozen: FrozenShards[_Content]) -> None:
        """Stop saving replaced content for `frozen`; only `FrozenShards` itself calls this."""
        assert self._frozen is frozen, "a snapshot thaws what another one holds"
        self._frozen = None

    def dismantle(self) -> list[Sized]:
        """Empty the table and return its content in pieces; a snapshot that is being read is released."""
        kept = [] if self._frozen is None else self._frozen.release()
        shards, self._shards = self._shards, []
        return [*filter(None, shards), *kept]


class DeadlineOrder:
    """Names in the order of their deadlines, and of the names where deadlines are equal."""

    def __init__(self) -> None:
        self._ordered = OrderedKeys()

    def move(self, name: bytes, old: int | None, new: int | None) -> None:
        """Change the deadline of a name. None: it has none."""
        if old != new:
            if old is not None:
                self._ordered.remove(_place(old, name))
            if new is not None:
                self._ordered.add(_place(new, name))

    @property
    def earliest(self) -> int | None:
        """The earliest deadline."""
        first = self._ordered.first
        return None if first is None else int.from_bytes(first[:_STAMP_BYTES], "big")

    def has_due(self, time_us: int) -> bool:
        """Whether there is a deadline up to this time."""
        earliest = self.earliest
        return earliest is not None and earliest <= time_us

    def due(self, time_us: int) -> Iterator[bytes]:
        """Yield the names with deadlines up to this time, the earliest first. Nothing may be changed meanwhile."""
        for place in self._ordered.between(b"", _place(time_us + 1, b"")):
            yield place[_STAMP_BYTES:]

    def pieces(self) -> list[list[bytes]]:
        """Empty the order and return its content in pieces."""
        return self._ordered.pieces()


def _place(deadline: int, name: bytes) -> bytes:
    return deadline.to_bytes(_STAMP_BYTES, "big") + name


def gather(rows: Iterable[_Row], size: Callable[[_Row], int], make: Callable[[list[_Row]], Chunk]) -> Iterator[Chunk]:
    """Yield the chunks one by one, each filled as far as possible; read only the rows that each chunk needs.

    `size` returns the most bytes of a row in a chunk, and `make` makes a chunk of rows.
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
