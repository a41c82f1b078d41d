"""Commands that change nothing: they are no part of the log, and nobody replicates them.

The leader runs a query at its place between the mutations of its submission, or, where there are none, at the index
that a round of heartbeats confirms (ReadIndex, thesis §6.4).
"""

from typing import Protocol

import msgspec

from kvraft.commands.model import KEY_BYTES_MAX, Item, Result, View, check_key
from kvraft.commands.mutations import Mutation


class Query(Protocol):
    """A question to the store."""

    def run(self, view: View) -> Result:
        """Return the answer. It depends on `view` alone, and changes nothing."""
        ...


class Get(msgspec.Struct, frozen=True, gc=False):
    """Reads one key. Its result is the key's `Item`, or None."""

    key: bytes

    def run(self, view: View) -> Item | None:
        """Return the item."""
        return view.get(self.key)


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
