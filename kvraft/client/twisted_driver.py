"""Drives a machine of the client by Twisted's reactor."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from typing_extensions import override

from kvraft.client import driving
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
        self._driver.made(transport, self._link)

    @override
    def dataReceived(self, data: bytes) -> None:
        self._driver.received(data, self._link)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._driver.lost(self._link)


class Driver(driving.Driver):
    """Drives a machine by a reactor.

    Args:
        reactor: keeps the time.
        dial: makes the endpoints.
        machine: the machine to drive.
        changed: called when the machine may have results for its owner.
    """

    def __init__(self, reactor: Any, dial: Dial, machine: Machine, changed: Callable[[], None]) -> None:
        super().__init__(
            machine,
            changed,
            now=reactor.seconds,
            call_soon=lambda step: reactor.callLater(0, step),
            call_at=lambda time, wake: reactor.callLater(max(0.0, time - reactor.seconds()), wake),
        )
        self._dial = dial

    @override
    def _connect(self, link: Link) -> "Deferred[Any]":
        connecting: Deferred[Any] = self._dial(str(link.address)).connect(
            Factory.forProtocol(lambda: _Connection(self, link))
        )
        # Any failure means that there is no connection; on success the connection itself calls `made`.
        connecting.addErrback(lambda _: self.lost(link))
        return connecting

    @override
    def _abort(self, transport: Any) -> None:
        transport.abortConnection()

    @override
    def _pause(self, transport: Any, *, is_paused: bool) -> None:
        transport.pauseProducing() if is_paused else transport.resumeProducing()
