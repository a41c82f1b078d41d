"""Slots: the parts into which Redis Cluster divides keys. Here all of them are the leader's."""

import binascii
from typing import Final

import msgspec

from kvraft.commands import PAGE_KEYS_MAX, Failure, Result, Span, View

SLOTS: Final = 16_384
COUNTED_KEYS_MAX: Final = 10_000
"""Keys among which those of a slot are counted: about 10 ms' work. The store does not keep them by slots."""


def slot_of(key: bytes) -> int:
    """Return the slot of a key: only what stands between its first braces counts, if anything does."""
    begin = key.find(b"{")
    if begin >= 0:
        end = key.find(b"}", begin + 1)
        if end > begin + 1:
            key = key[begin + 1 : end]
    return binascii.crc_hqx(key, 0) % SLOTS


class CountSlot(msgspec.Struct, frozen=True, gc=False):
    """Counts the keys of one slot, in a small store."""

    slot: int

    def run(self, view: View) -> Result:
        """Return how many there are, or a failure when there are too many keys to be looked at."""
        everything = Span(b"", None)
        if view.count(everything) > COUNTED_KEYS_MAX:
            return Failure("TOO_MANY_KEYS", f"keys are counted only among {COUNTED_KEYS_MAX}, not kept by slots")
        found, start = 0, everything.start
        while True:
            page = view.page(Span(start, None), PAGE_KEYS_MAX)
            found += sum(slot_of(key) == self.slot for key, _ in page.items)
            if page.following is None:
                return found
            start = page.following
