"""Virtual time: one queue of events for everything that is simulated, and one seed for everything that is drawn.

Nothing here waits. The time of the world is that of the event which happens now, and leaps to the next one, so a minute
costs what happens in it. Events of one moment happen in the order in which they were asked for; so the same seed gives
the same run, to the byte, on any machine.
"""

import struct
from collections.abc import Callable
from heapq import heappop, heappush
from random import Random
from typing import Final, Protocol
from zlib import crc32

_pack_time: Final = struct.Struct("<d").pack
"""A time as it counts in the digest: the same bytes on any machine."""


class Owner(Protocol):
    """Whose event it is: it can be held up, and it can be gone when the time has come."""

    life: int
    """Counts lives: what an earlier one asked for does not happen."""
    held_until: float
    """Before this moment nothing happens to it, seconds; what is due earlier waits."""


_Entry = tuple[float, int, Owner | None, int, Callable[..., object], tuple[object, ...]]
"""A place in the queue: when, its number, whose event it is, in which life, and the call. The number decides between
events of one moment; nothing behind it is ever compared."""


class World:
    """The queue, the time and the sources of randomness.

    Args:
        seed: of everything that is drawn.
        trace: told (time, whose, what) of everything worth reading; None costs nothing.
    """

    def __init__(self, seed: int, trace: Callable[[float, str, str], None] | None = None) -> None:
        self.seed = seed
        self.trace = trace
        self.now = 0.0
        """Seconds since the beginning of the world."""
        self.digest = 0
        """A checksum over everything that crossed a network or reached a disk, and when: equal runs have equal ones."""
        self.last_owner: Owner | None = None
        """Whose the event is that happened last."""
        self.events = 0
        """How many events have happened."""
        self._queue: list[_Entry] = []
        self._number = 0
        """The highest number of an event so far."""
        self._cancelled: set[int] = set()
        """The numbers of those in the queue that shall not happen."""

    def random(self, purpose: str) -> Random:
        """Return a source of its own for `purpose`, so that another draw elsewhere changes nothing here."""
        return Random(f"{self.seed} {purpose}")  # a string is hashed by SHA-512, whatever PYTHONHASHSEED is

    def at(self, time: float, owner: Owner | None, call: Callable[..., object], *arguments: object) -> int:
        """Let `call` happen at `time`, or now if that is past, as part of what `owner` does; return its number."""
        number = self._number = self._number + 1  # as `enqueue` does
        life = owner.life if owner is not None else 0
        if time < self.now:  # noqa: PLR1730 - asked for most events, too often for max()
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
        """Let `call` happen at `time`, which is not past, in one life of `owner`: in any other it does not happen."""
        number = self._number = self._number + 1
        heappush(self._queue, (time, number, owner, life, call, arguments))
        return number

    def cancel(self, number: int) -> None:
        """Let an event not happen that has not happened yet."""
        self._cancelled.add(number)

    def step(self, until: float = float("inf")) -> bool:
        """Let the next event happen; return False when there is none up to that time."""
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
        """Let `what` count in the digest, with the time."""
        self.digest = crc32(what, crc32(_pack_time(self.now), self.digest))

    def tell(self, who: str, what: str) -> None:
        """Tell the trace. Guard it with `world.trace is not None` where `what` costs something."""
        if self.trace is not None:
            self.trace(self.now, who, what)
