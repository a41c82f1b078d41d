"""The keys in order: a list of short sorted lists.

A new key costs one binary search for its list and one within it, and a move of at most `CHUNK_KEYS_MAX` pointers; an
overwritten key costs nothing. No step is long: a full list is cut in two, and the whole is never sorted. `SortedList`
of sortedcontainers, which works the same way, takes half as long again for a new key (measured).
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from typing import Final

from kvraft.store.untracked import untracked

CHUNK_KEYS_MAX: Final = 1_024
"""Most keys in one of the short lists."""


class OrderedKeys:
    """A sorted set of keys."""

    __slots__ = ("_chunks", "_lasts")

    def __init__(self) -> None:
        self._chunks: list[list[bytes]] = untracked([])
        """None of them is empty. The garbage collector follows none."""
        self._lasts: list[bytes] = untracked([])
        """For each chunk a key that is not below its last key, and is below the first key of the next chunk."""

    def add_all(self, keys: Iterable[bytes]) -> None:
        """Add keys that are not in the set, in any order."""
        chunks, lasts = self._chunks, self._lasts
        for key in keys:
            place = bisect_left(lasts, key)
            if place == len(lasts):
                if not lasts:
                    chunks.append(untracked([key]))
                    lasts.append(key)
                    continue
                place -= 1
                lasts[place] = key
            chunk = chunks[place]
            insort(chunk, key)
            if len(chunk) > CHUNK_KEYS_MAX:
                half = len(chunk) // 2
                chunks.insert(place, untracked(chunk[:half]))
                lasts.insert(place, chunk[half - 1])
                del chunk[:half]

    def remove(self, key: bytes) -> None:
        """Remove a key that is in the set."""
        self.remove_all((key,))

    def remove_all(self, keys: Iterable[bytes]) -> None:
        """Remove keys that are in the set, in any order."""
        chunks, lasts = self._chunks, self._lasts
        for key in keys:
            place = bisect_left(lasts, key)
            chunk = chunks[place]
            del chunk[bisect_left(chunk, key)]
            if not chunk:
                del chunks[place], lasts[place]

    def between(self, start: bytes, end: bytes | None, *, reverse: bool = False) -> Iterator[bytes]:
        """Yield the keys from `start` on that are below `end`, if it is given; in reverse order if `reverse`.

        Nothing may be added or removed meanwhile.
        """
        (first, begin), (last, stop) = self._place(start), self._end(end)
        places = range(first, min(last + 1, len(self._chunks)))
        for place in reversed(places) if reverse else places:
            chunk = self._chunks[place]
            low = begin if place == first else 0
            high = stop if place == last else len(chunk)
            yield from reversed(chunk[low:high]) if reverse else chunk[low:high]

    def some(self, start: bytes, end: bytes | None, limit: int, *, reverse: bool = False) -> list[bytes]:
        """Return the first `limit` keys that `between` yields, at less cost: by slices instead of key by key."""
        (first, begin), (last, stop) = self._place(start), self._end(end)
        found: list[bytes] = []
        places = range(first, min(last + 1, len(self._chunks)))
        for place in reversed(places) if reverse else places:
            chunk = self._chunks[place]
            low = begin if place == first else 0
            high = stop if place == last else len(chunk)
            room = limit - len(found)
            if reverse:
                found += chunk[max(low, high - room) : high][::-1]
            else:
                found += chunk[low : min(high, low + room)]
            if len(found) == limit:
                break
        return found

    def count(self, start: bytes, end: bytes | None) -> int:
        """Return how many keys there are from `start` on and before `end`."""
        if end is not None and end <= start:
            return 0
        (first, begin), (last, stop) = self._place(start), self._end(end)
        return sum(map(len, self._chunks[first:last])) + stop - begin

    @property
    def first(self) -> bytes | None:
        """The first key."""
        return self._chunks[0][0] if self._chunks else None

    def pieces(self) -> list[list[bytes]]:
        """Empty the set and return its content in pieces, since freeing much at once takes long."""
        pieces, self._chunks, self._lasts = self._chunks, [], []
        return pieces

    def _place(self, key: bytes) -> tuple[int, int]:
        """Return the position of the first key not below `key`: the number of its chunk, and its index there."""
        chunk = bisect_left(self._lasts, key)
        return (chunk, bisect_left(self._chunks[chunk], key)) if chunk < len(self._chunks) else (chunk, 0)

    def _end(self, end: bytes | None) -> tuple[int, int]:
        return (len(self._chunks), 0) if end is None else self._place(end)
