"""Queries over many keys, as Redis has them."""

from typing import Final

import msgspec

from kvraft.commands.glob import PATTERN_BYTES_MAX, pattern
from kvraft.commands.item import Item
from kvraft.commands.model import Failure, InvalidCommand, Mark, Page, Scanned, Span, View, check_key, prefix_span
from kvraft.commands.strings import MANY_BYTES_MAX, check_keys

SCANNED_KEYS_MAX: Final = 1_000
"""Most keys that one step of a search examines: a millisecond or two."""
DOES_NOT_EXPIRE: Final = -1
NOT_THERE: Final = -2
PLACES: Final = 2**32
"""All scan positions of keys are below this; see `View.scan`."""


class GetMany(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=104):
    """Reads keys. Its result is the `Item` of each, or None; it fails if their values have too many bytes."""

    keys: list[bytes]

    def run(self, view: View) -> list[Item | None] | Failure:
        """Return the items."""
        items = [view.get(key) for key in self.keys]
        if sum(len(item.value) for item in items if item is not None) > MANY_BYTES_MAX:
            return Failure(
                "RESULT_TOO_LARGE", f"these values have more than {MANY_BYTES_MAX} bytes; read fewer at once"
            )
        return items


class Exists(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=105):
    """Counts how many of some keys exist; a key that is named twice counts twice."""

    keys: list[bytes]

    def run(self, view: View) -> int:
        """Return how many exist."""
        return sum(view.get(key) is not None for key in self.keys)


class TimeLeft(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=102):
    """Reads the time that a key has left, microseconds. Its result is that, `DOES_NOT_EXPIRE` or `NOT_THERE`."""

    key: bytes

    def run(self, view: View) -> int:
        """Return the time left."""
        if view.get(self.key) is None:
            return NOT_THERE
        left = view.time_to_live(self.key)
        return DOES_NOT_EXPIRE if left is None else left


class Scan(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=106):
    """Scans about `count` keys from a position on; see `View.scan`. Its result is a `Scanned` of those that match."""

    place: int
    count: int
    pattern: bytes | None

    def run(self, view: View) -> Scanned:
        """Return the keys."""
        found = view.scan(self.place, self.count)
        if self.pattern is None:
            return found
        matches = pattern(self.pattern).matches
        return Scanned(found.following, [key for key in found.keys if matches(key)])


class AnyKey(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=107):
    """Searches for one key from a random scan position. Its result is a `Scanned` of one key, or of none.

    If many keys have expired and are not removed yet, it may find none although others exist.
    """

    place: int

    def run(self, view: View) -> Scanned:
        """Return a key."""
        place = self.place
        for _ in range(SCANNED_KEYS_MAX):
            found = view.scan(place, 1)
            if found.keys:
                return Scanned(0, found.keys[:1])
            if found.following == self.place or (not found.following and not self.place):
                break
            place = found.following
        return Scanned(0, [])


class Matching(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=108):
    """Searches the keys from `start` on, in order. Its result is a `Page` of those that match.

    A page may hold few keys, or none, although more follow.
    """

    pattern: bytes
    start: bytes
    count: int
    """Most keys that it examines."""

    def run(self, view: View) -> Page:
        """Return the keys."""
        glob = pattern(self.pattern)
        span = prefix_span(glob.prefix)
        page = view.page(Span(max(span.start, self.start), span.end), self.count)
        return Page(page.revision, [pair for pair in page.items if glob.matches(pair[0])], page.following)


class Marks(msgspec.Struct, frozen=True, gc=False):
    """Reads the `Mark` of each key, by which a later `Block` detects a change. Its result is the list of marks."""

    keys: list[bytes]

    def run(self, view: View) -> list[Mark]:
        """Return the marks."""
        return [view.mark(key) for key in self.keys]


# --- checked constructors --------------------------------------------------------------------------------------------


def get_many(keys: list[bytes]) -> GetMany:
    """Return a read of some keys.

    Raises:
        InvalidCommand: there are too many, or one may not be.
    """
    check_keys(keys, [])
    return GetMany(keys)


def exists(keys: list[bytes]) -> Exists:
    """Return a count of the keys that exist among some.

    Raises:
        InvalidCommand: there are too many, or one may not be.
    """
    check_keys(keys, [])
    return Exists(keys)


def time_left(key: bytes) -> TimeLeft:
    """Return the question when a key expires.

    Raises:
        InvalidCommand: the key is empty or too long.
    """
    check_key(key)
    return TimeLeft(key)


def scan(place: int, count: int, glob: bytes | None = None) -> Scan:
    """Return a step of a search through all keys.

    Raises:
        InvalidCommand: the pattern is too long.
    """
    if glob is not None:
        _check_pattern(glob)
    return Scan(min(place, PLACES), max(1, min(count, SCANNED_KEYS_MAX)), glob)


def any_key(drawn: int) -> AnyKey:
    """Return a search for any key from a random number on."""
    return AnyKey(drawn % PLACES)


def matching(glob: bytes, start: bytes = b"", count: int = SCANNED_KEYS_MAX) -> Matching:
    """Return a step of a search through the keys in their order.

    Raises:
        InvalidCommand: the pattern is too long.
    """
    _check_pattern(glob)
    return Matching(glob, start, min(count, SCANNED_KEYS_MAX))


def marks(keys: list[bytes]) -> Marks:
    """Return a read of the marks of some keys.

    Raises:
        InvalidCommand: there are too many, or one may not be.
    """
    check_keys(keys, [])
    for key in keys:
        check_key(key)
    return Marks(keys)


def _check_pattern(glob: bytes) -> None:
    if len(glob) > PATTERN_BYTES_MAX:
        raise InvalidCommand(f"a pattern has at most {PATTERN_BYTES_MAX} bytes, and not {len(glob)}")
