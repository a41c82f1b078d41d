"""One connection through the proxy: the bytes of each side are passed on to the other, held up, or slowed down."""

from collections import deque
from typing import Any, Final

import attrs
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from zope.interface import implementer

WAITING_BYTES_MAX: Final = 1024 * 1024
"""Bytes that may wait in one direction before reading from its sender is paused."""


@attrs.frozen
class Condition:
    """The condition of one direction between two ends."""

    is_cut: bool = False
    """Connections break, and new ones break at once."""
    is_held: bool = False
    """Nothing passes, not even a close, as when packets are lost; everything passes once the condition ends."""
    delay_s: float = 0.0
    """The delay of all bytes, seconds."""
    bytes_per_s: float | None = None
    """The highest rate; None: no limit."""


FINE: Final = Condition()
CUT: Final = Condition(is_cut=True)
HELD: Final = Condition(is_held=True)


@implementer(IPushProducer)
class Pipe:
    """One direction of a connection.

    Args:
        clock: keeps the time of what is delayed.
        source: the transport that is read.
        sink: the transport that is written to.
    """

    def __init__(self, clock: IReactorTime, source: Any, sink: Any) -> None:
        self._clock = clock
        self._source = source
        self._sink = sink
        self._condition = FINE
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._waiting_bytes = 0
        self._free_at = 0.0
        """When the last bytes have been sent at the rate of a slow link, in the clock's seconds."""
        self._call: IDelayedCall | None = None
        self._is_full = False
        """Whether the sink takes no more for now."""
        self._is_reading = True
        self._has_ended = False
        """Whether the source has closed."""
        self._is_closed = False
        """Whether the sink was closed."""
        sink.registerProducer(self, True)

    def receive(self, data: bytes) -> None:
        """Pass on bytes from the source, or let them wait."""
        now = self._clock.seconds()
        due = now + self._condition.delay_s
        if self._condition.bytes_per_s is not None:
            self._free_at = due = max(due, self._free_at) + len(data) / self._condition.bytes_per_s
        if self._waiting:
            due = max(due, self._waiting[-1][0])
        self._waiting.append((due, data))
        self._waiting_bytes += len(data)
        self._go_on()

    def set_condition(self, condition: Condition) -> None:
        """Apply a condition from now on; bytes that wait already keep their time of delivery."""
        self._condition = condition
        self._go_on()

    def end(self) -> None:
        """Close the sink after the bytes that wait: the source has closed."""
        self._has_ended = True
        self._go_on()

    def drop(self) -> None:
        """Drop the bytes that wait."""
        self._waiting.clear()
        self._waiting_bytes = 0
        self._cancel()

    # --- called by the sink ------------------------------------------------------------------------------------------

    def pauseProducing(self) -> None:
        """Read no more: the sink is full."""
        self._is_full = True
        self._read_or_not()

    def resumeProducing(self) -> None:
        """Read again: the sink has room."""
        self._is_full = False
        self._read_or_not()

    def stopProducing(self) -> None:
        """Drop the bytes that wait: the sink is gone."""
        self.drop()

    # --- in time -----------------------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        self._cancel()
        now = self._clock.seconds()
        while self._waiting and not self._condition.is_held and self._waiting[0][0] <= now:
            _, data = self._waiting.popleft()
            self._waiting_bytes -= len(data)
            self._sink.write(data)
        if self._waiting and not self._condition.is_held:
            self._call = self._clock.callLater(self._waiting[0][0] - now, self._on_time)
        elif self._has_ended and not self._is_closed and not self._condition.is_held:
            self._is_closed = True
            self._sink.unregisterProducer()
            self._sink.loseConnection()
        self._read_or_not()

    def _on_time(self) -> None:
        self._call = None
        self._go_on()

    def _cancel(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _read_or_not(self) -> None:
        wanted = not (self._is_full or self._condition.is_held or self._waiting_bytes > WAITING_BYTES_MAX)
        if wanted is self._is_reading or self._has_ended:
            return
        self._is_reading = wanted
        if wanted:
            self._source.resumeProducing()
        else:
            self._source.pauseProducing()
