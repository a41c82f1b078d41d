"""Pages: some keys of a range in order, at the present or at an earlier revision."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import merge
from itertools import groupby, islice
from operator import attrgetter, itemgetter
from typing import Final

from kvraft.commands import Item, Page, Span
from kvraft.store.history import History, Segment
from kvraft.store.keyspace import Keyspace

PAGE_BYTES_MAX: Final = 1024 * 1024
"""Bytes of keys and values after which a page takes no more keys; it has at least one key if any exists."""
VISITED_MAX: Final = 2_000
"""Most keys that are examined for a page at an earlier revision, since many may have been added or removed since then:
two milliseconds at most."""
_ITEM: Final[Callable[[tuple[bytes, Item]], Item]] = itemgetter(1)
_VALUE: Final[Callable[[Item], bytes]] = attrgetter("value")


def current(keys: Keyspace, span: Span, limit: int, reverse: bool, revision: int) -> Page:
    """Return the first keys of a range at the present revision."""
    names = keys.ordered.some(span.start, span.end, limit + 1, reverse=reverse)
    found = keys.pairs(names)
    if sum(map(len, names)) + sum(map(len, map(_VALUE, map(_ITEM, found)))) > PAGE_BYTES_MAX:
        return _fill(iter(found), limit, reverse, revision)
    if len(found) <= limit:
        return Page(revision, found, None)
    found.pop()
    last = names[-2]
    return Page(revision, found, last if reverse else last + b"\0")


def visible(
    keys: Keyspace, get: Callable[[bytes], Item | None], span: Span, limit: int, reverse: bool, revision: int
) -> Page:
    """Return the first keys of a range at the present revision, without those for which `get` returns None."""
    found = ((key, get(key)) for key in keys.ordered.between(span.start, span.end, reverse=reverse))
    return _fill(found, limit, reverse, revision)


def past(keys: Keyspace, history: History, span: Span, limit: int, reverse: bool, revision: int) -> Page:
    """Return the first keys of a range at an earlier revision that the history still covers."""
    segments = history.index(revision)
    ordered: list[Iterable[bytes]] = [keys.ordered.between(span.start, span.end, reverse=reverse)]
    ordered += [_changed(segment, span, reverse) for segment in segments]
    each = (key for key, _ in groupby(merge(*ordered, reverse=reverse)))
    found = ((key, history.item_at(revision, key, keys.get(key), segments)) for key in each)
    return _fill(found, limit, reverse, revision)


def _changed(segment: Segment, span: Span, reverse: bool) -> Sequence[bytes]:
    """Return the keys of a range that changed in one segment of the history's index, in the order of the page."""
    keys = segment.keys
    end = len(keys) if span.end is None else bisect_left(keys, span.end)
    found = keys[bisect_left(keys, span.start) : end]
    return found[::-1] if reverse else found


def _fill(found: Iterator[tuple[bytes, Item | None]], limit: int, reverse: bool, revision: int) -> Page:
    items: list[tuple[bytes, Item]] = []
    room = PAGE_BYTES_MAX
    last = None
    for key, item in islice(found, VISITED_MAX):
        if item is not None:
            if len(items) == limit or room <= 0:  # so there is more, and this is the first of it
                last = items[-1][0]
                break
            items.append((key, item))
            room -= len(key) + len(item.value)
        last = key
    else:
        if last is None or next(found, None) is None:
            return Page(revision, items, None)
    assert last is not None, "a page ends before its first key"
    return Page(revision, items, last if reverse else last + b"\0")
