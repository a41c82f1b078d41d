"""The keys and their items, spread over many small dicts that a snapshot can read one by one.

A large dict stalls while it is resized (398 ms at 10 million keys, measured); thousands of small ones do not. The shard
of a key is chosen by its CRC-32, since Python salts its hashes. So equal runs make equal snapshots, to the byte, and a
simulation can be repeated. No result that clients see depends on the shards.

A snapshot copies on write, and only the written item: `Keyspace.freeze` copies nothing. Afterwards a write to a shard
that the snapshot has not read yet first saves the old item, or its absence, in the snapshot's `FrozenShards`. Copying
the whole shard at its first write would be simpler, but it stalls: with 1 million keys the first 800 random writes took
20 ms that way and 2 ms this way, and a garbage collection, which walks through every new dict, took 73 ms instead of 5
(measured).
"""

import hashlib
from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from itertools import chain, compress, count
from typing import Any, ClassVar, Final, Generic, Protocol, TypeVar
from zlib import crc32

from typing_extensions import override

from kvraft.commands import Item, Set
from kvraft.store.chunks import Chunk, State
from kvraft.store.items import Items, ItemsLoader, KeyspaceState, Pair, Part, gather
from kvraft.store.ordered import OrderedKeys
from kvraft.store.section import AlreadyFrozen, FrozenSection, Released, Section

SHARDS: Final = 4096
"""Number of dicts; a power of two. A snapshot reads one at a time: 244 items at 1 million keys, 2,441 at 10 million. It
costs 1 to 2.5 µs an item (measured), since key and item are scattered in memory and not in the processor's cache."""
_MASK: Final = SHARDS - 1
_SHARD_BITS: Final = _MASK.bit_length()
_PLACES_OF_A_SHARD: Final = 2**32 // SHARDS
ITEM_BYTES: Final = 240
"""Bytes that an item counts in addition to its key and value: its place in a dict, the item, and the headers of five
objects. Measured: 311 bytes an item in all with 80 bytes of key and value, its place in the order and its history
included. All members must count alike, so this number is part of the state."""
_EMPTY: Final[dict[bytes, Item]] = {}
"""Shared by all shards that have never held a key, so that a small store is created and read quickly; never written
to."""


_Content = TypeVar("_Content")


class Thaws(Protocol[_Content]):
    """A table of shards."""

    def thaw(self, frozen: "FrozenShards[_Content]") -> None:
        """Stop saving replaced content for `frozen`."""
        ...


class FrozenShards(Iterator[list[tuple[bytes, _Content]]], Generic[_Content]):
    """The content of a table of shards when it was frozen, shard by shard, to be read once; later writes do not show.

    It slows writes down until the last shard is read. A reader that stops earlier must call `release`.
    """

    def __init__(self, table: Thaws[_Content], shards: list[dict[bytes, _Content]]) -> None:
        self._table = table
        self._shards = shards
        self._next = 0
        """The shard to read next. Writes to the shards before it need not be recorded."""
        self._overtaken: defaultdict[int, dict[bytes, _Content | None]] = defaultdict(dict)
        """By shard, for each key that was written since: its content when the table was frozen. None: it had none."""
        self._released = False
        self._find_filled = compress(count(), shards)
        """Finds the shards that hold content, each when it comes to it."""
        self._filled = -1
        """The latest shard that it has found; the shards between `_next` and this one held nothing then."""

    def __next__(self) -> list[tuple[bytes, _Content]]:
        """Return keys and content of the next shard that holds any, or of the last one, in no particular order.

        Raises:
            Released: it was released before its end.
        """
        if self._released:
            raise Released("this snapshot was released before its end; take a new one")
        if self._next == len(self._shards):
            raise StopIteration
        index = self._find_next()
        shard = self._shards[index]
        overtaken = self._overtaken.pop(index, None)
        self._next = index + 1
        if self._next == len(self._shards):
            self._table.thaw(self)
        if overtaken is None:
            return list(shard.items())
        return [(key, item) for key, item in (shard | overtaken).items() if item is not None]

    def _find_next(self) -> int:
        """Return the next shard that holds content or is recorded, or the last one: most can be empty."""
        last = len(self._shards) - 1
        if self._filled < self._next:
            self._filled = next(self._find_filled, last)
        if self._overtaken and self._next < self._filled:
            return min(self._filled, *self._overtaken)
        return self._filled

    @property
    def items_kept(self) -> int:
        """How many items it has saved because they were overwritten before they were read."""
        return sum(map(len, self._overtaken.values()))

    def keep(self, index: int, key: bytes, old: _Content | None) -> None:
        """Save the content of `key` in the shard `index` before a write; only the first for each key counts."""
        if index >= self._next:
            self._overtaken[index].setdefault(key, old)

    def release(self) -> list[dict[bytes, _Content | None]]:
        """Give up the shards that were not read; harmless when called again, or after the end.

        Returns the saved content in pieces, since freeing all of it at once could take long.
        """
        if self._next == len(self._shards) or self._released:
            return []
        self._released = True
        kept = list(self._overtaken.values())
        self._overtaken.clear()
        self._table.thaw(self)
        return kept


class Keyspace(Section):
    """A mapping of keys to items."""

    STATE: ClassVar[type[State]] = KeyspaceState
    CHUNKS: ClassVar[tuple[type[Chunk], ...]] = (Items, Part)

    def __init__(self) -> None:
        self._shards: list[dict[bytes, Item]] = [_EMPTY] * SHARDS
        self._frozen: FrozenShards[Item] | None = None
        self.ordered = OrderedKeys()
        """The same keys, in their order."""
        self.key_count = 0
        self.bytes_used = 0
        """Bytes of all keys and values, and ITEM_BYTES for each."""
        self.replaced: list[bytes] = []
        """The values that writes have replaced or removed; `Store` adds them to its checksum, entry by entry."""

    def get(self, key: bytes) -> Item | None:
        """Return what is stored under `key`."""
        return self._shards[crc32(key) & _MASK].get(key)

    def get_all(self, keys: Iterable[bytes]) -> list[Item | None]:
        """Return what is stored under each of the keys; a call for each would take a quarter longer."""
        shards, checksum, mask = self._shards, crc32, _MASK
        return [shards[checksum(key) & mask].get(key) for key in keys]

    def pairs(self, keys: Iterable[bytes]) -> list[Pair]:
        """Return the items of those keys that exist; a call for each key would take twice as long."""
        shards, checksum, mask = self._shards, crc32, _MASK
        return [(key, shards[checksum(key) & mask][key]) for key in keys]

    def scan(self, place: int, count: int) -> tuple[list[bytes], int]:
        """Return about `count` keys from a scan position on, and the position of the next ones; 0: there are none.

        The position of a key consists of its shard and its checksum. Keys with the same position are returned together.
        """
        index, low = divmod(place, _PLACES_OF_A_SHARD)
        found: list[bytes] = []
        last = _PLACES_OF_A_SHARD
        """The position of the last key within its shard, or one that no key has."""
        for shard_index in range(index, SHARDS):
            shard = self._shards[shard_index]
            if not shard:
                continue
            begin = low if shard_index == index else 0
            placed = sorted((crc32(key) >> _SHARD_BITS, key) for key in shard)
            for position in range(bisect_left(placed, (begin, b"")), len(placed)):
                within, key = placed[position]
                if len(found) >= count and within != last:
                    return found, shard_index * _PLACES_OF_A_SHARD + within
                found.append(key)
                last = within
            last = _PLACES_OF_A_SHARD
        return found, 0

    def set_all(self, writes: Sequence[Set], revision: int) -> tuple[list[bytes], bytes, "array[int]"]:
        """Apply `writes`, the first at `revision` and each following one at the next.

        They are applied in one loop, since a call for each would cost more than the rest (measured).

        Returns:
            The values that they replaced, these values joined, and their modify revisions; for a new key an empty value
            and 0. The caller adds the values to `replaced`.
        """
        shards, frozen, grown = self._shards, self._frozen, 0
        checksum, mask = crc32, _MASK
        values: list[bytes] = []
        replace = values.append
        revisions = array("Q")
        note = revisions.append
        new_keys: list[bytes] = []
        for modified, write in enumerate(writes, revision):
            key, value = write.key, write.value
            index = checksum(key) & mask
            shard = shards[index]
            old = shard.get(key)
            if frozen is not None:
                frozen.keep(index, key, old)
            if old is not None:
                replace(old.value)
                note(old.modify_revision)
                grown += len(value)
                shard[key] = Item(value, old.create_revision, modified, old.version + 1)
                continue
            if shard is _EMPTY:
                shard = shards[index] = {}
            replace(b"")
            note(0)
            shard[key] = Item(value, modified, modified, 1)
            grown += len(key) + len(value)
            new_keys.append(key)
        content = b"".join(values)
        self.bytes_used += grown - len(content)
        if new_keys:
            self.ordered.add_all(new_keys)
            self.bytes_used += len(new_keys) * ITEM_BYTES
            self.key_count += len(new_keys)
        return values, content, revisions

    def put(self, key: bytes, item: Item) -> Item | None:
        """Store `item` under `key`; return the old item."""
        index = crc32(key) & _MASK
        shard = self._shards[index]
        old = shard.get(key)
        if self._frozen is not None:
            self._frozen.keep(index, key, old)
        if shard is _EMPTY:
            shard = self._shards[index] = {}
        shard[key] = item
        if old is None:
            self.ordered.add(key)
            self.key_count += 1
            self.bytes_used += len(key) + len(item.value) + ITEM_BYTES
        else:
            self.replaced.append(old.value)
            self.bytes_used += len(item.value) - len(old.value)
        return old

    def put_all(self, pairs: Iterable[tuple[bytes, bytes]], revision: int) -> list[tuple[bytes, Item | None, Item]]:
        """Store values under keys, each of which is named once, at one revision.

        Returns:
            Each key, with its item before and its item now.
        """
        shards, frozen, grown = self._shards, self._frozen, 0
        checksum, mask, replace = crc32, _MASK, self.replaced.append
        events: list[tuple[bytes, Item | None, Item]] = []
        new_keys: list[bytes] = []
        for key, value in pairs:
            index = checksum(key) & mask
            shard = shards[index]
            old = shard.get(key)
            if frozen is not None:
                frozen.keep(index, key, old)
            if old is None:
                if shard is _EMPTY:
                    shard = shards[index] = {}
                new = Item(value, revision, revision, 1)
                grown += len(key)
                new_keys.append(key)
            else:
                replace(old.value)
                grown -= len(old.value)
                new = Item(value, old.create_revision, revision, old.version + (old.modify_revision != revision))
            grown += len(value)
            shard[key] = new
            events.append((key, old, new))
        self.bytes_used += grown + len(new_keys) * ITEM_BYTES
        self.key_count += len(new_keys)
        self.ordered.add_all(new_keys)
        return events

    def delete_all(self, keys: Iterable[bytes]) -> list[tuple[bytes, Item, None]]:
        """Remove keys; return those that existed, with their items."""
        shards, frozen, freed = self._shards, self._frozen, 0
        events: list[tuple[bytes, Item, None]] = []
        for key in keys:
            index = crc32(key) & _MASK
            old = shards[index].pop(key, None)
            if old is None:
                continue
            self.replaced.append(old.value)
            freed += len(key) + len(old.value)
            if frozen is not None:
                frozen.keep(index, key, old)
            events.append((key, old, None))
        self.ordered.remove_all(sorted(key for key, _, _ in events))
        self.key_count -= len(events)
        self.bytes_used -= freed + len(events) * ITEM_BYTES
        return events

    def delete(self, key: bytes) -> Item | None:
        """Remove `key`; return its item."""
        index = crc32(key) & _MASK
        old = self._shards[index].pop(key, None)
        if old is None:
            return None
        self.replaced.append(old.value)
        self.ordered.remove(key)
        self.key_count -= 1
        self.bytes_used -= len(key) + len(old.value) + ITEM_BYTES
        if self._frozen is not None:
            self._frozen.keep(index, key, old)
        return old

    def restore(self, items: list[Pair]) -> bytes | None:
        """Load items of a snapshot, up to the first whose key exists already; return that key."""
        assert self._frozen is None, "a keyspace that is being restored is not frozen"
        shards, grown = self._shards, 0
        new_keys: list[bytes] = []
        checksum, mask = crc32, _MASK
        double = None
        for key, item in items:
            index = checksum(key) & mask
            shard = shards[index]
            if key in shard:
                double = key
                break
            if shard is _EMPTY:
                shard = shards[index] = {}
            shard[key] = item
            grown += len(key) + len(item.value)
            new_keys.append(key)
        self.ordered.add_all(new_keys)
        self.bytes_used += grown + len(new_keys) * ITEM_BYTES
        self.key_count += len(new_keys)
        return double

    def items(self) -> Iterator[Pair]:
        """Yield every key with its item, in no particular order."""
        for shard in filter(None, self._shards):
            yield from shard.items()

    def digest(self) -> str:
        """Return a hash of all keys and items, equal on nodes with equal content. It reads everything."""
        digest = hashlib.sha256()
        for key, item in sorted(self.items()):
            digest.update(b"%d %b %d %b" % (len(key), key, len(item.value), item.value))
            digest.update(b" %d %d %d\n" % (item.create_revision, item.modify_revision, item.version))
        return digest.hexdigest()

    @property
    @override
    def frozen(self) -> bool:
        return self._frozen is not None

    @override
    def freeze(self) -> FrozenSection:
        shards = self.freeze_shards()
        return FrozenSection(KeyspaceState(self.key_count), gather(chain.from_iterable(shards)), shards.release)

    def freeze_shards(self) -> FrozenShards[Item]:
        """Freeze the present content, to be read shard by shard.

        Raises:
            AlreadyFrozen: another snapshot has not been read to its end or released.
        """
        if self._frozen is not None:
            raise AlreadyFrozen("another snapshot is being taken; only one is taken at a time")
        self._frozen = FrozenShards(self, self._shards)
        return self._frozen

    @override
    def loader(self, state: Mapping[str, Any], revision: int) -> ItemsLoader:
        return ItemsLoader(self.restore, KeyspaceState.of(state), revision)

    @override
    def dismantle(self) -> list[Sized]:
        """Empty the table and return its content in pieces: to free 1 million keys at once takes 240 ms (measured)."""
        kept = [] if self._frozen is None else self._frozen.release()
        shards, self._shards = self._shards, []
        return [*filter(None, shards), *kept, *self.ordered.pieces()]

    def thaw(self, frozen: FrozenShards[Item]) -> None:
        """Stop saving replaced items for `frozen`; only `FrozenShards` itself calls this."""
        assert self._frozen is frozen, "a snapshot thaws what another one holds"
        self._frozen = None
