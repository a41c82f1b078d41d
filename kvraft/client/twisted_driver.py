"""Drives a machine of the client by Twisted's reactor: makes its connections, moves its bytes, and wakes it."""

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from typing_extensions import override

from kvraft.client.link import Link, Machine

Dial = Callable[[str], IStreamClientEndpoint]
"""Returns the endpoint of an address, "host:port"."""


class _Connection(Protocol):
    """The connection for one link; once the machine asks for another link, its events are ignored."""

    def __init__(self, driver: "Driver", link: Link) -> None:
        self._driver = driver
        self._link = link

    @override
    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.setTcpNoDelay(True)
        self._driver.made(self, self._link)

    @override
    def dataReceived(self, data: bytes) -> None:
        self._driver.received(data, self._link)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._driver.lost(self._link)


class Driver:
    """Makes the connection that a machine asks for, moves its bytes, and wakes it.

    Args:
        reactor: keeps the time.
        dial: makes the endpoints.
        machine: the machine to drive.
        changed: called when the machine may have results for its owner.
    """

    def __init__(self, reactor: Any, dial: Dial, machine: Machine, changed: Callable[[], None]) -> None:
        self._reactor = reactor
        self._dial = dial
        self._machine = machine
        self._changed = changed
        self.now: Final[Callable[[], float]] = reactor.seconds
        self._link: Link | None = None
        self._connecting: Deferred[Any] | None = None
        self._transport: Any = None
        self._timer: IDelayedCall | None = None
        self._next_step: IDelayedCall | None = None
        self._is_stepping = False
        self._is_touched = False
        """Whether `touch` was called during a step."""
        self._is_paused = False
        self._is_closed = False

    def touch(self) -> None:
        """Step the machine at the end of this turn of the reactor, or of the step under way."""
        if self._is_stepping:
            self._is_touched = True
        elif self._next_step is None:
            self._next_step = self._reactor.callLater(0, self._step)

    def close(self) -> None:
        """Close the connection."""
        self._is_closed = True
        self._drop()
        for timer in (self._timer, self._next_step):
            if timer is not None and timer.active():
                timer.cancel()

    def pause(self, *, is_full: bool) -> None:
        """Pause reading while the machine `is_full`."""
        if is_full != self._is_paused and self._transport is not None:
            self._is_paused = is_full
            self._transport.pauseProducing() if is_full else self._transport.resumeProducing()

    # --- called by connections ---------------------------------------------------------------------------------------

    def made(self, connection: Protocol, link: Link) -> None:
        """A connection is made."""
        if link is self._link and link is self._machine.link:
            self._transport = connection.transport
            self._machine.connected(self.now())
            self._step()
        else:
            transport: Any = connection.transport
            transport.abortConnection()

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

    def _step(self) -> None:
        if self._next_step is not None and self._next_step.active():
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
                self._connect(link)
        elif self._transport is not None:
            output = self._machine.take_output()
            if output:
                self._transport.write(output)
        self.set_timer()
        self._changed()

    def _connect(self, link: Link) -> None:
        factory = Factory.forProtocol(lambda: _Connection(self, link))
        connecting: Deferred[Any] = self._dial(str(link.address)).connect(factory)
        self._connecting = connecting
        # Any failure means that there is no connection; on success the connection itself calls `made`.
        connecting.addErrback(lambda _: self.lost(link))

    def _drop(self) -> None:
        self._link = None
        self._is_paused = False
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        if self._transport is not None:
            self._transport.abortConnection()
            self._transport = None

    def set_timer(self) -> None:
        """Set the timer. An earlier timer stays: an early wake-up does nothing, and costs less than a new timer."""
        wake_at = self._machine.wake_at()
        if wake_at is None or (self._timer is not None and self._timer.getTime() <= wake_at):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._reactor.callLater(max(0.0, wake_at - self.now()), self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._machine.woken(self.now())
        self._step()
