"""Connections that wait for their first byte, which selects the protocol, and connections that are refused."""

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IHalfCloseableProtocol, IProtocol, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import alsoProvides, implementer

from kvraft.server.close import IClientTransport, LingeringClose
from kvraft.server.limits import ServerLimits


class FirstByte(Protocol):
    """A connection until its first byte arrives; afterwards it passes events on to the selected protocol.

    Input does not pass through it: after the hand-over the instance's `dataReceived` *is* that of the selected
    protocol. Replacing `transport.protocol` instead would not work under TLS, where the transport is a wrapper.
    """

    transport: IClientTransport

    def __init__(
        self,
        choose: Callable[["FirstByte", int], IProtocol],
        forget: Callable[["FirstByte"], None],
        clock: IReactorTime,
        first_byte_s: float,
    ) -> None:
        self._choose = choose
        self._forget = forget
        self._clock = clock
        self._first_byte_s = first_byte_s
        self._deadline: IDelayedCall | None = None
        self._speaker: IProtocol | None = None
        self.is_client = False
        """Whether this connection is counted as a client's."""

    @override
    def connectionMade(self) -> None:
        """Disable delays, since clients wait for small answers; detect vanished clients; and set the deadline."""
        self.transport.setTcpNoDelay(True)
        self.transport.setTcpKeepAlive(True)
        self._deadline = self._clock.callLater(self._first_byte_s, self._expired)

    @override
    def dataReceived(self, data: bytes) -> None:
        """Hand the connection over, including these first bytes."""
        self._stop_deadline()
        speaker = self._choose(self, data[0])
        self._speaker = speaker
        self.dataReceived = speaker.dataReceived  # type: ignore[method-assign]
        if IHalfCloseableProtocol.providedBy(speaker):
            # Twisted checks this protocol for the interface, and ends the connection if it lacks it.
            alsoProvides(self, IHalfCloseableProtocol)
        speaker.makeConnection(self.transport)
        speaker.dataReceived(data)

    def drop(self) -> None:
        """End the connection at once."""
        self._stop_deadline()
        self.transport.abortConnection()

    def readConnectionLost(self) -> None:
        """Pass on the client's half-close; called only if the selected protocol supports it."""
        IHalfCloseableProtocol(self._speaker).readConnectionLost()

    def writeConnectionLost(self) -> None:
        """Pass on that our side is closed; called only if the selected protocol supports it."""
        IHalfCloseableProtocol(self._speaker).writeConnectionLost()

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Pass on that the connection is lost."""
        self._stop_deadline()
        self._forget(self)
        if self._speaker is not None:
            self._speaker.connectionLost(reason)

    def _expired(self) -> None:
        self._deadline = None
        self.transport.abortConnection()

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


@implementer(IHalfCloseableProtocol)
class Refusal(Protocol):
    """Sends one line and closes, whatever the client sends."""

    transport: IClientTransport

    def __init__(self, line: bytes, limits: ServerLimits, clock: IReactorTime) -> None:
        self._line = line
        self._limits = limits
        self._clock = clock
        self._closing: LingeringClose | None = None

    @override
    def connectionMade(self) -> None:
        """Send the line, and close."""
        self.transport.write(self._line)
        self._closing = LingeringClose(self.transport, self._clock, self._limits)
        self._closing.begin(client_finished=False)

    def readConnectionLost(self) -> None:
        """The client has closed its side."""
        if self._closing is not None:
            self._closing.client_finished()

    def writeConnectionLost(self) -> None:
        """The line is sent, and our side is closed."""
        if self._closing is not None:
            self._closing.our_side_closed()

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is closed."""
        if self._closing is not None:
            self._closing.stop()
