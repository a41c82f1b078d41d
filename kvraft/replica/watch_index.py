"""Finds the watches that follow a key, and the items before and after a change of it.

A write to a key without watches costs one look-up, and one more for each length of a watched prefix.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import chain
from typing import Generic, TypeVar

from kvraft.commands import Change, Item, Span, prefix_span
from kvraft.store.changes import Change as Recorded
from kvraft.store.changes import Run, TransactionRun

W = TypeVar("W")


class WatchIndex(Generic[W]):
    """Watches by the keys that they follow."""

    def __init__(self) -> None:
        self._by_key: dict[bytes, dict[W, None]] = {}
        self._by_prefix: dict[bytes, dict[W, None]] = {}
        self._lengths: Counter[int] = Counter()
        """By length: the number of watched prefixes."""
        self._ranges: dict[Span, dict[W, None]] = {}
        """All other spans. They are searched one by one."""

    def add(self, span: Span, watch: W) -> None:
        """Let `watch` follow the keys of `span`."""
        if span.end == span.start + b"\0":
            self._by_key.setdefault(span.start, {})[watch] = None
        elif span == prefix_span(span.start):
            if span.start not in self._by_prefix:
                self._lengths[len(span.start)] += 1
            self._by_prefix.setdefault(span.start, {})[watch] = None
        else:
            self._ranges.setdefault(span, {})[watch] = None

    def remove(self, span: Span, watch: W) -> None:
        """Let `watch` follow the keys of `span` no more; does nothing if it does not follow them."""
        if span.end == span.start + b"\0":
            _discard(self._by_key, span.start, watch)
        elif span == prefix_span(span.start):
            if _discard(self._by_prefix, span.start, watch):
                length = len(span.start)
                self._lengths[length] -= 1
                if not self._lengths[length]:
                    del self._lengths[length]
        else:
            _discard(self._ranges, span, watch)

    def may_concern(self, keys: Sequence[bytes]) -> bool:
        """Whether any watch follows one of `keys`; cheaper than `find` for each key."""
        if self._by_key and not self._by_key.keys().isdisjoint(keys):
            return True
        for length in self._lengths:
            if not self._by_prefix.keys().isdisjoint({key[:length] for key in keys}):
                return True
        return any(key in span for span in self._ranges for key in keys)

    def find(self, key: bytes) -> list[W]:
        """Return the watches that follow `key`."""
        return [*chain.from_iterable(self._find(key))]

    def _find(self, key: bytes) -> Iterator[dict[W, None]]:
        if (found := self._by_key.get(key)) is not None:
            yield found
        for length in self._lengths:
            # A shorter key has no prefix of that length.
            if length <= len(key) and (found := self._by_prefix.get(key[:length])) is not None:
                yield found
        for span, followers in self._ranges.items():
            if key in span:
                yield followers


K = TypeVar("K")


def _discard(followers: dict[K, dict[W, None]], place: K, watch: W) -> bool:
    """Remove a watch from a place; return whether it was the last one there."""
    found = followers.get(place)
    if found is None or watch not in found:
        return False
    del found[watch]
    if found:
        return False
    del followers[place]
    return True


def expiries(runs: Iterable[Run]) -> frozenset[int]:
    """Return the revisions at which expired keys were removed."""
    return frozenset(run.revision for run in runs if isinstance(run, TransactionRun) and run.is_expiry)


def complete(
    recorded: Sequence[Recorded], current: Callable[[bytes], Item | None], expired: Collection[int] = ()
) -> list[Change]:
    """Return the recorded changes with the complete items before and after each.

    The history does not store what can be derived from the later changes and the current item.

    Args:
        recorded: all changes since some revision of the keys that occur in it, oldest first.
        current: returns the item of a key after the last of these changes.
        expired: the revisions at which expired keys were removed.
    """
    after: dict[bytes, Item | None] = {}
    changes: list[Change] = []
    for revision, key, old, new in reversed(recorded):
        item = None if new is None else after[key] if key in after else current(key)
        before: Item | None = None
        if old is not None:
            if isinstance(old, Item):
                before = old
            else:
                assert item is not None, "what was removed is recorded whole"
                before = Item(old[0], item.create_revision, old[1], item.version - 1)
        after[key] = before
        changes.append(Change(revision, key, before, item, revision in expired))
    changes.reverse()
    return changes
