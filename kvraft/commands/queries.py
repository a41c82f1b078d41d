"""Commands that only read the store: they are not replicated.

The leader executes a query at its place between the mutations of its submission. If there are none, it does so at the
index that a round of heartbeats confirms (ReadIndex, thesis §6.4).

Some queries have a tag: they may stand in the log as part of a `Block`, and then read the store after the commands
before them. Their tags begin at 101, above all opcodes.
"""

from typing import Final, Protocol

import msgspec

from kvraft.commands.base import Mutation
from kvraft.commands.item import Item
from kvraft.commands.model import (
    KEY_BYTES_MAX,
    CommandFailed,
    InvalidCommand,
    Result,
    Span,
    View,
    check_key,
    check_span,
)

PAGE_KEYS_MAX: Final = 1_000
"""Most keys of one page: half a millisecond's work (measured)."""
PAGE_KEYS: Final = 100
"""Most keys of a page if the request gives no number."""


class Query(Protocol):
    """A command that only reads the store."""

    def run(self, view: View) -> Result:
        """Return the result. It depends on `view` alone, and changes nothing."""
        ...


class Get(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=101):
    """Reads one key. Its result is the key's `Item`, or None."""

    key: bytes

    def run(self, view: View) -> Item | None:
        """Return the item."""
        return view.get(self.key)


class GetAt(msgspec.Struct, frozen=True, gc=False):
    """Reads one key as it was at an earlier revision. Its result is the key's `Item`, or None."""

    key: bytes
    revision: int

    def run(self, view: View) -> Result:
        """Return the item."""
        try:
            return view.get_at(self.key, self.revision)
        except CommandFailed as failed:
            return failed.failure


class Range(msgspec.Struct, frozen=True, gc=False):
    """Reads some keys of a range. Its result is a `Page`."""

    span: Span
    limit: int
    reverse: bool = False
    revision: int | None = None
    """None: the latest."""

    def run(self, view: View) -> Result:
        """Return the page."""
        try:
            return view.page(self.span, self.limit, reverse=self.reverse, revision=self.revision)
        except CommandFailed as failed:
            return failed.failure


class Count(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=103):
    """Counts the keys of a range."""

    span: Span

    def run(self, view: View) -> int:
        """Return how many there are."""
        return view.count(self.span)


Operation = Mutation | Query
"""One operation of a submission."""


def get_key(key: bytes) -> Get:
    """Return a read of `key`.

    Raises:
        InvalidCommand: the key is empty or too long.
    """
    if not 0 < len(key) <= KEY_BYTES_MAX:
        check_key(key)
    return Get(key)


def get_key_at(key: bytes, revision: int) -> GetAt:
    """Return a read of `key` at `revision`.

    Raises:
        InvalidCommand: the key is empty or too long.
    """
    check_key(key)
    return GetAt(key, revision)


def read_range(span: Span, limit: int = PAGE_KEYS, *, reverse: bool = False, revision: int | None = None) -> Range:
    """Return a read of the first keys of a range.

    Raises:
        InvalidCommand: a key is too long, or the limit is none.
    """
    check_span(span)
    if not 1 <= limit <= PAGE_KEYS_MAX:
        raise InvalidCommand(f"a page has 1 to {PAGE_KEYS_MAX} keys, and not {limit}; use its cursor for the next one")
    return Range(span, limit, reverse, revision)


def count_range(span: Span) -> Count:
    """Return a count of the keys of a range.

    Raises:
        InvalidCommand: a key is too long.
    """
    check_span(span)
    return Count(span)
