"""Connections between simulated machines: two streams of bytes, each in order, neither of them ever certain to arrive.

An `End` is what a protocol knows as its transport. What it is told happens as an event of its own machine: it waits
while that is held up, and does not happen when the process is gone.
"""

from collections import deque
from functools import cache
from typing import TYPE_CHECKING, Any, Final, cast

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableProtocol,
    IProducer,
    IPushProducer,
    ITCPTransport,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from kvraft.raft import InvariantViolated
from kvraft.simulation.audit import Audit
from kvraft.simulation.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kvraft.simulation.network import Network

WINDOW_BYTES: Final = 256 * 1024
"""Bytes of one stream that are on their way or not read yet; more waits at the sender."""
BUFFER_BYTES: Final = 64 * 1024
"""Bytes that wait at the sender before its producer is paused, as with Twisted's own transports."""


class Segment:
    """Bytes that arrive together."""

    __slots__ = ("is_open", "parts", "sent")

    def __init__(self, data: bytes | memoryview, sent: float, *, is_open: bool) -> None:
        self.parts = [data]
        self.sent = sent
        self.is_open = is_open
        """Whether what is sent in the same moment may still join it."""


@cache
def _address_of(host: str, port: int) -> IPv4Address:
    """Return what Twisted calls an address: there are few, and each takes long to make."""
    return IPv4Address("TCP", host, port)


@implementer(ITCPTransport, IConsumer, IPushProducer)
class End:
    """One end of a connection.

    Args:
        network: what carries the bytes.
        machine: where it is.
        host: its address, and
        port: its port.
    """

    peer: "End"

    def __init__(self, network: "Network", machine: Machine, host: str, port: int) -> None:
        self.machine = machine
        self.life = machine.life
        self.protocol: Any = None
        self.connected = True
        """Whether its process can use it still."""
        self.disconnecting = False
        self.ended_at = float("inf")
        """When its process ended without closing it: what it says behind that, because it was paused, is never said."""
        self._is_stream_closed = False
        """Whether nothing may be written any more."""
        self._has_said_so = False
        """Whether the other end is told."""
        self._network = network
        self._address = _address_of(host, port)
        self._waiting: deque[bytes | memoryview] = deque()
        self._waiting_bytes = 0
        self._window = WINDOW_BYTES
        self._buffer_bytes = BUFFER_BYTES
        self._segment: Segment | None = None
        self._arrives = 0.0
        """When the latest segment does: nothing overtakes it."""
        self._unread: list[bytes | memoryview] = []
        self._is_reading = True
        self._ends_behind_unread = False
        self._producer: IPushProducer | None = None
        self._is_producer_paused = False
        self.audit: Audit | None = None
        """What its process owes a client at the other end, where somebody keeps count of it."""

    def watch(self) -> None:
        """Hold the process at the other end to answering what it is asked on this connection."""
        self.peer.audit = Audit()

    # What protocols ask (ITCPTransport).

    def write(self, data: bytes) -> None:
        """See `ITransport`."""
        if not self.connected or self.disconnecting or self._is_stream_closed or not data:
            return
        self.machine.effect(self.life)
        if self.audit is not None:
            self.audit.written(data)
        size = len(data)
        network = self._network
        if size <= self._window and not self._waiting and not network.is_blocked(self.machine, self.peer.machine):
            self._window -= size
            self._send(data)
            return
        self._waiting.append(data)
        self._waiting_bytes += size
        self._pump()
        if self._producer is not None and not self._is_producer_paused and self._waiting_bytes > self._buffer_bytes:
            self._is_producer_paused = True
            self._producer.pauseProducing()

    def writeSequence(self, data: "Iterable[bytes]") -> None:
        """See `ITransport`."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """See `ITransport`: what was written leaves first, and nothing is read any more."""
        if self.connected and not self.disconnecting:
            self.machine.effect(self.life)
            self._check_owed()
            self.disconnecting = True
            self._is_reading = False
            self._pump()

    def loseWriteConnection(self) -> None:
        """See `ITCPTransport`."""
        if self.connected and not self._is_stream_closed:
            self.machine.effect(self.life)
            self._check_owed()
            self._is_stream_closed = True
            self._pump()

    def abortConnection(self) -> None:
        """See `ITCPTransport`."""
        if self.connected:
            self.machine.effect(self.life)
            self._check_owed()
            self.connected = False
            self._tell(self._report_loss, ConnectionAborted())
            self._network.reset(self.peer, self.machine.now, self._arrives)

    def getPeer(self) -> IPv4Address:
        """See `ITransport`."""
        return self.peer._address  # noqa: SLF001 - of the same class

    def getHost(self) -> IPv4Address:
        """See `ITransport`."""
        return self._address

    def setTcpNoDelay(self, enabled: bool) -> None:
        """See `ITCPTransport`; nothing is delayed here."""

    def getTcpNoDelay(self) -> bool:
        """See `ITCPTransport`."""
        return True

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """See `ITCPTransport`; a link that is blocked is always noticed in the end."""

    def getTcpKeepAlive(self) -> bool:
        """See `ITCPTransport`."""
        return True

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """See `IConsumer`; only for producers that push."""
        assert streaming, "no producer here waits to be asked for each piece"
        if self._producer is not None:
            raise RuntimeError("there is a producer, and it was not unregistered")
        if not self.connected:
            producer.stopProducing()
            return
        self._producer = cast(IPushProducer, producer)
        self._is_producer_paused = False

    def unregisterProducer(self) -> None:
        """See `IConsumer`."""
        self._producer = None

    def pauseProducing(self) -> None:
        """See `IPushProducer`: what arrives waits."""
        self._is_reading = False

    def resumeProducing(self) -> None:
        """See `IPushProducer`."""
        if self.connected and not self.disconnecting and not self._is_reading:
            self._is_reading = True
            self._tell(self._read)

    def stopProducing(self) -> None:
        """See `IPushProducer`."""
        self.loseConnection()

    def receive_at_most(self, size: int) -> None:
        """Take at most so many bytes that are not read, and let as many wait at the other end, from now on."""
        self.peer._window = min(WINDOW_BYTES, size)  # noqa: SLF001 - of the same class
        self.peer._buffer_bytes = min(BUFFER_BYTES, size)  # noqa: SLF001

    # What the network does.

    def arrive(self, segment: Segment) -> None:
        """Take bytes from the other end."""
        segment.is_open = False
        if segment.sent > self.peer.ended_at:
            return
        if self.connected:
            self._unread += segment.parts
            self._read()
        else:
            self._network.reset(self.peer, self.machine.now)

    def lose(self) -> None:
        """Be told that the connection is broken."""
        if self.connected:
            self.connected = False
            if self.machine.is_alive(self.life):
                self._report_loss(ConnectionLost())
            else:  # it was wedged when its process ended
                self._network.forget(self)

    def send_again(self) -> None:
        """Try once more to send what a blocked link held up."""
        self._tell(self._go_on)

    def _pump(self) -> None:
        """Send as much as the window takes, unless the link is blocked; then close what is to be closed."""
        if self._is_blocked:
            if self._waiting or self.disconnecting or self._is_stream_closed:
                self._network.hold(self)
            return
        while self._waiting and self._window > 0:
            data = self._waiting.popleft()
            if len(data) > self._window:
                data = memoryview(data)
                self._waiting.appendleft(data[self._window :])
                data = data[: self._window]
            self._waiting_bytes -= len(data)
            self._window -= len(data)
            self._send(data)
        if self._waiting:
            return
        if self._is_stream_closed and not self._has_said_so:
            self._say_stream_is_closed()
            self._tell(self._write_closed)
        if self.disconnecting and self.connected:
            self._close()

    @property
    def _is_blocked(self) -> bool:
        return self._network.is_blocked(self.machine, self.peer.machine)

    def _close(self) -> None:
        """Be gone, as far as this end is concerned: in good order unless there is input that nobody has read."""
        self.connected = False
        self._tell(self._report_loss, ConnectionDone())
        if self._unread:
            self._network.reset(self.peer, self.machine.now, self._arrives)
        else:
            self._say_stream_is_closed()

    def _send(self, data: bytes | memoryview) -> None:
        now, network, segment = self.machine.now, self._network, self._segment
        if segment is not None and segment.is_open and segment.sent == now:
            segment.parts.append(data)
            return
        if not self.peer.is_there:
            network.answer_for_the_gone(self)
            return
        head, tail = network.split(data)
        self._segment = Segment(head, now, is_open=not tail)
        self._arrives = network.carry(self, self._segment, self._arrives)
        if tail:
            self._segment = Segment(tail, now, is_open=False)
            self._arrives = network.carry(self, self._segment, self._arrives)

    @property
    def is_there(self) -> bool:
        """Whether its process runs and has not given it up."""
        return self.connected and self.machine.life == self.life and self.machine.is_running

    def _say_stream_is_closed(self) -> None:
        if not self._has_said_so:
            self._has_said_so = True
            self._network.end_stream(self.peer, self._arrives)

    def stream_ended(self) -> None:
        """Be told that no more will come."""
        self._ends_behind_unread = True
        self._read()

    def _read(self) -> None:
        """Give the protocol what has arrived, and let the other end send on."""
        if self._unread and self._is_reading and self.connected:
            data = b"".join(self._unread)
            self._unread.clear()
            peer = self.peer
            peer._window += len(data)  # noqa: SLF001 - of the same class
            if peer._waiting:  # noqa: SLF001
                peer._tell(peer._go_on)  # noqa: SLF001
            self._network.delivered(self, data)
            if self.audit is not None:
                self.audit.delivered(data)
            assert self.protocol is not None
            self.protocol.dataReceived(data)
        if self._ends_behind_unread and self._is_reading and self.connected and not self._unread:
            self._ends_behind_unread = False
            self._report_end_of_stream()

    def _report_end_of_stream(self) -> None:
        if self.audit is not None:
            self.audit.stream_ended()
        if IHalfCloseableProtocol.providedBy(self.protocol):
            IHalfCloseableProtocol(self.protocol).readConnectionLost()
        else:
            self.connected = False
            self._say_stream_is_closed()
            self._report_loss(ConnectionDone())

    def _check_owed(self) -> None:
        """Object to a process that closes while it owes an answer."""
        if self.audit is not None and self.audit.owed > 0 and not self._is_stream_closed:
            self._network.violations.append(
                InvariantViolated(
                    f"{self.machine.name} closes a client's connection, and owes {self.audit.owed} of "
                    f"{self.audit.asked} answers"
                )
            )

    def _go_on(self) -> None:
        if not self.connected:
            return
        self._pump()
        if self._is_producer_paused and not self._waiting and self._producer is not None:
            self._is_producer_paused = False
            self._producer.resumeProducing()

    def _write_closed(self) -> None:
        if self.connected and IHalfCloseableProtocol.providedBy(self.protocol):
            IHalfCloseableProtocol(self.protocol).writeConnectionLost()

    def _report_loss(self, why: Exception) -> None:
        self._waiting.clear()
        self._unread.clear()
        self._network.forget(self)
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        if self.protocol is not None:
            self.protocol.connectionLost(Failure(why))

    def _tell(self, what: Any, *arguments: object) -> None:
        """Let something happen to the protocol, but not from within a call of its own."""
        if self.machine.is_alive(self.life):
            self.machine.world.at(self.machine.now, self.machine, what, *arguments)
