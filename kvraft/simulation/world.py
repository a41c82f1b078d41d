"""Virtual time: one queue for all simulated events, and one seed for all random draws.

Nothing here waits. The time of the world is that of the present event, and jumps to the next one, so a simulated minute
costs only its events. Events at the same time happen in the order in which they were scheduled; so the same seed gives
the same run, to the byte, on any machine.
"""

import struct
from collections.abc import Callable
from heapq import heappop, heappush
from random import Random
from typing import Final, Protocol
from zlib import crc32

_pack_time: Final = struct.Struct("<d").pack
"""Packs a time for the digest: the same bytes on any machine."""


class Owner(Protocol):
    """The owner of an event, such as a machine: it can be paused, and it can have ended before the event."""

    life: int
    """Counts its processes: events that an earlier one scheduled are dropped."""
    held_until: float
    """The end of its pause, seconds; its earlier events wait until then."""


_Entry = tuple[float, int, Owner | None, int, Callable[..., object], tuple[object, ...]]
"""An event in the queue: its time, number, owner, the owner's life, and the call. The number orders events at the same
time, so the fields after it are never compared."""


class World:
    """The queue, the time and the sources of randomness.

    Args:
        seed: of all random draws.
        trace: called with (time, machine, text) for the trace; None costs nothing.
    """

    def __init__(self, seed: int, trace: Callable[[float, str, str], None] | None = None) -> None:
        self.seed = seed
        self.trace = trace
        self.now = 0.0
        """Seconds since the beginning of the world."""
        self.digest = 0
        """A checksum of all bytes that crossed a network or reached a disk, with their times, to compare runs."""
        self.last_owner: Owner | None = None
        """The owner of the latest event."""
        self.events = 0
        """How many events have happened."""
        self._queue: list[_Entry] = []
        self._number = 0
        """The highest number of an event so far."""
        self._cancelled: set[int] = set()
        """The numbers of events in the queue that are cancelled."""

    def random(self, purpose: str) -> Random:
        """Return a separate source of randomness for `purpose`, so that draws elsewhere do not affect it."""
        return Random(f"{self.seed} {purpose}")  # a string is hashed by SHA-512, whatever PYTHONHASHSEED is

    def at(self, time: float, owner: Owner | None, call: Callable[..., object], *arguments: object) -> int:
        """Schedule `call` at `time`, or now if that is past, as an event of `owner`; return its number."""
        number = self._number = self._number + 1  # as `enqueue` does
        life = owner.life if owner is not None else 0
        if time < self.now:  # noqa: PLR1730 - called for most events, too often for max()
            time = self.now
        heappush(self._queue, (time, number, owner, life, call, arguments))
        return number

    def enqueue(
        self,
        time: float,
        owner: Owner | None,
        life: int,
        call: Callable[..., object],
        arguments: tuple[object, ...],
    ) -> int:
        """Schedule `call` at `time`, which is not past, for one life of `owner`: in any other it is dropped."""
        number = self._number = self._number + 1
        heappush(self._queue, (time, number, owner, life, call, arguments))
        return number

    def cancel(self, number: int) -> None:
        """Cancel an event that has not happened yet."""
        self._cancelled.add(number)

    def step(self, until: float = float("inf")) -> bool:
        """Execute the next event; return False when there is none up to that time."""
        queue, cancelled = self._queue, self._cancelled
        while queue and queue[0][0] <= until:
            time, number, owner, life, call, arguments = heappop(queue)
            if number in cancelled:
                cancelled.remove(number)
                continue
            if owner is not None:
                if owner.life != life:
                    continue
                if owner.held_until > time:
                    heappush(queue, (owner.held_until, number, owner, life, call, arguments))
                    continue
            self.now = time
            self.events += 1
            self.last_owner = owner
            call(*arguments)
            return True
        return False

    def note(self, what: bytes) -> None:
        """Add `what` to the digest, with the time."""
        self.digest = crc32(what, crc32(_pack_time(self.now), self.digest))

    def tell(self, who: str, what: str) -> None:
        """Add a line to the trace. Guard the call with `world.trace is not None` where making `what` is expensive."""
        if self.trace is not None:
            self.trace(self.now, who, what)
