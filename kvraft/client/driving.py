"""The steps by which an event loop drives a machine of the client: it makes connections, moves bytes, and wakes it.

A subclass adds what differs between event loops: the time, how to call later, how to connect, and how a transport is
closed and paused.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final, Protocol

from kvraft.client.link import Link, Machine


class Cancellable(Protocol):
    """A call that will be made later, or an attempt to connect."""

    def cancel(self) -> Any:
        """Cancel it."""
        ...


class Driver(ABC):
    """Makes the connection that a machine asks for, moves its bytes, and wakes it.

    Args:
        machine: the machine to drive.
        changed: called when the machine may have results for its owner.
        now: returns the time, seconds.
        call_soon: calls a function at the end of this turn of the event loop.
        call_at: calls a function at a time.
    """

    def __init__(
        self,
        machine: Machine,
        changed: Callable[[], None],
        now: Callable[[], float],
        call_soon: Callable[[Callable[[], None]], Cancellable],
        call_at: Callable[[float, Callable[[], None]], Cancellable],
    ) -> None:
        self._machine = machine
        self._changed = changed
        self.now: Final = now
        self._call_soon = call_soon
        self._call_at = call_at
        self._link: Link | None = None
        self._connecting: Cancellable | None = None
        self._transport: Any = None
        self._timer: Cancellable | None = None
        self._timer_at = float("inf")
        """When the timer calls; infinite before it is set, and after it has called."""
        self._next_step: Cancellable | None = None
        self._is_stepping = False
        self._is_touched = False
        """Whether another step was asked for during a step."""
        self._is_paused = False
        self._is_closed = False

    # --- the event loop ----------------------------------------------------------------------------------------------

    @abstractmethod
    def _connect(self, link: Link) -> Cancellable:
        """Begin to connect. The connection calls `made`, `received` and `lost`; `lost` too if it cannot be made."""

    @abstractmethod
    def _abort(self, transport: Any) -> None:
        """Close a connection at once."""

    @abstractmethod
    def _pause(self, transport: Any, *, is_paused: bool) -> None:
        """Stop reading, or read again."""

    # --- called by the owner of the machine --------------------------------------------------------------------------

    def touch(self) -> None:
        """Step the machine at the end of this turn of the event loop, or of the step under way."""
        if self._is_stepping:
            self._is_touched = True
        elif self._next_step is None:
            self._next_step = self._call_soon(self._turn)

    def close(self) -> None:
        """Close the connection."""
        self._is_closed = True
        self._drop()
        for call in (self._timer, self._next_step):
            if call is not None:
                call.cancel()
        self._timer = self._next_step = None

    def pause(self, *, is_full: bool) -> None:
        """Pause reading while the machine `is_full`."""
        if is_full != self._is_paused and self._transport is not None:
            self._is_paused = is_full
            self._pause(self._transport, is_paused=is_full)

    def set_timer(self) -> None:
        """Set the timer. An earlier timer stays: an early wake-up does nothing, and costs less than a new timer."""
        wake_at = self._machine.wake_at()
        if wake_at is None or self._timer_at <= wake_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at = self._call_at(wake_at, self._wake), wake_at

    # --- called by connections ---------------------------------------------------------------------------------------

    def made(self, transport: Any, link: Link) -> None:
        """A connection is made."""
        if link is self._link and link is self._machine.link:
            self._transport = transport
            self._machine.connected(self.now())
            self._step()
        else:
            self._abort(transport)

    def received(self, data: bytes, link: Link) -> None:
        """A connection has received bytes."""
        if link is self._link:
            self._machine.received(data, self.now())
            self._step()

    def lost(self, link: Link) -> None:
        """A connection is lost, or could not be made."""
        if link is self._link:
            self._transport = None
            if link is self._machine.link:
                self._machine.lost(self.now())
            self._step()

    # --- steps of the machine ----------------------------------------------------------------------------------------

    def _turn(self) -> None:
        self._next_step = None
        self._step()

    def _wake(self) -> None:
        self._timer, self._timer_at = None, float("inf")
        self._machine.woken(self.now())
        self._step()

    def _step(self) -> None:
        if self._next_step is not None:
            self._next_step.cancel()
            self._next_step = None
        if self._is_stepping:  # a transport or an owner has called back
            self._is_touched = True
            return
        self._is_stepping = True
        try:
            self._advance()
            if self._is_touched:  # most callers make their next request when they get a result: send these at once
                self._is_touched = False
                self._advance()
        finally:
            self._is_stepping = False
        if self._is_touched:
            self._is_touched = False
            self.touch()

    def _advance(self) -> None:
        if self._is_closed:
            self._changed()  # requests to a closed client end with an error
            return
        link = self._machine.link
        if link is not self._link:
            self._drop()
            self._link = link
            if link is not None:
                self._connecting = self._connect(link)
        elif self._transport is not None:
            output = self._machine.take_output()
            if output:
                self._transport.write(output)
        self.set_timer()
        self._changed()

    def _drop(self) -> None:
        self._link = None
        self._is_paused = False
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        if self._transport is not None:
            self._abort(self._transport)
            self._transport = None
