"""Virtual time: one queue of events for everything that is simulated, and one seed for everything that is drawn.

Nothing here waits. The time of the world is that of the event which happens now, and leaps to the next one, so a minute
costs what happens in it. Events of one moment happen in the order in which they were asked for; so the same seed gives
the same run, to the byte, on any machine.
"""

import struct
import zlib
from collections.abc import Callable
from heapq import heappop, heappush
from random import Random
from typing import Final, Protocol

_TIME: Final = struct.Struct("<d")
"""A time as it counts in the digest: the same bytes on any machine."""


class Owner(Protocol):
    """Whose event it is: it can be held up, and it can be gone when the time has come."""

    life: int
    """Counts lives: what an earlier one asked for does not happen."""
    held_until: float
    """Before this moment nothing happens to it, seconds; what is due earlier waits."""


class Event:
    """A call at a time. Twisted's `IDelayedCall` is built upon it (`kvraft.simulation.machine.Timer`)."""

    __slots__ = ("_world", "arguments", "call", "life", "owner", "sequence", "time")

    def __init__(
        self,
        world: "World",
        time: float,
        owner: Owner | None,
        call: Callable[..., object],
        arguments: tuple[object, ...],
    ) -> None:
        self._world = world
        self.time = time
        self.owner = owner
        self.life = owner.life if owner is not None else 0
        self.call = call
        self.arguments = arguments
        self.sequence = 0
        """The number of its place in the queue, 0 when it has none: it happened, or was cancelled."""

    @property
    def is_pending(self) -> bool:
        """Whether it is still to happen."""
        return self.sequence != 0 and (self.owner is None or self.owner.life == self.life)

    def happen(self) -> None:
        """Make the call; only the world calls this."""
        self.call(*self.arguments)

    def cancel(self) -> None:
        """Let it not happen; does nothing when it has happened."""
        self.sequence = 0

    def move(self, time: float) -> None:
        """Let it happen at another time, or now if that is past, behind what is asked for at that time already."""
        self.time = max(time, self._world.now)
        self._world.enqueue(self)


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
        self._queue: list[tuple[float, int, Event]] = []
        self._sequence = 0

    def random(self, purpose: str) -> Random:
        """Return a source of its own for `purpose`, so that another draw elsewhere changes nothing here."""
        return Random(f"{self.seed} {purpose}")  # a string is hashed by SHA-512, whatever PYTHONHASHSEED is

    def at(self, time: float, owner: Owner | None, call: Callable[..., object], *arguments: object) -> Event:
        """Let `call` happen at `time`, or now if that is past, as part of what `owner` does."""
        event = Event(self, max(time, self.now), owner, call, arguments)
        self.enqueue(event)
        return event

    def enqueue(self, event: Event) -> None:
        """Give `event` its place in the queue, behind others of its time; an earlier place is forgotten."""
        self._sequence = event.sequence = sequence = self._sequence + 1
        heappush(self._queue, (event.time, sequence, event))

    def step(self) -> bool:
        """Let the next event happen; return False when there is none."""
        queue = self._queue
        while queue:
            time, sequence, event = heappop(queue)
            if event.sequence != sequence:
                continue
            owner = event.owner
            if owner is not None:
                if owner.life != event.life:
                    continue
                if owner.held_until > time:
                    heappush(queue, (owner.held_until, sequence, event))
                    continue
            self.now = time
            self.events += 1
            self.last_owner = owner
            event.sequence = 0
            event.happen()
            return True
        return False

    @property
    def next_time(self) -> float:
        """The earliest time at which something may happen; infinity when nothing is left."""
        queue = self._queue
        while queue:
            time, sequence, event = queue[0]
            if event.sequence == sequence:
                return time
            heappop(queue)
        return float("inf")

    def note(self, what: bytes) -> None:
        """Let `what` count in the digest, with the time."""
        self.digest = zlib.crc32(what, zlib.crc32(_TIME.pack(self.now), self.digest))

    def tell(self, who: str, what: str) -> None:
        """Tell the trace. Guard it with `world.trace is not None` where `what` costs something."""
        if self.trace is not None:
            self.trace(self.now, who, what)
