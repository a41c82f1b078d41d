"""How much the Redis connections of a node read at a time, so that a leader's heartbeats leave in time.

The reactor gives every connection that has input its turn before it looks at its timers. With 500 connections that send
16 commands on ten keys each, that took 120 ms of processor time (measured), and longer beside other processes: then the
followers elect another leader. So what is left over when a node has read `BYTES_MAX` waits, in order, until the timers
have had their turn.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

BYTES_MAX: Final = 128 * 1024
"""Input after which other connections wait for the timers, bytes; about ten milliseconds' work (measured)."""


class ReadBudget:
    """What the connections of one node may still read before the timers have their turn."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._left = BYTES_MAX
        self._renewal: IDelayedCall | None = None
        """Set while nothing is left; there are waiting connections at no other time."""
        self._waiting: deque[Callable[[], object]] = deque()

    def take(self, size: int) -> bool:
        """Read so many bytes, even if fewer are left; return False if nothing is left: then `wait`."""
        if self._renewal is not None:
            return False
        self._left -= size
        if self._left <= 0:
            self._renewal = self._clock.callLater(0, self._renew)
        return True

    def wait(self, read: Callable[[], object]) -> None:
        """Call `read`, which must `take` what it reads, when the timers have had their turn; refused by `take`."""
        assert self._renewal is not None, "something is left to read"
        self._waiting.append(read)

    def _renew(self) -> None:
        self._renewal = None
        self._left = BYTES_MAX
        while self._waiting and self._renewal is None:
            self._waiting.popleft()()
