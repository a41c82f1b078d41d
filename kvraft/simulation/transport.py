"""Connections between simulated machines: two streams of bytes. Each is in order, and each can be cut at any byte.

An `End` is the transport of a protocol. Each call to the protocol is an event of its machine: it waits while the
machine is paused, and is dropped when the process has ended.
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

from kvraft.peers.outbox import Outbox
from kvraft.raft import InvariantViolated
from kvraft.simulation.audit import Audit
from kvraft.simulation.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kvraft.simulation.network import Network

WINDOW_BYTES: Final = 256 * 1024
"""Bytes of one stream that may be in flight or unread; more bytes wait at the sender."""
BUFFER_BYTES: Final = 64 * 1024
"""Bytes that wait at the sender before its producer is paused, as with Twisted's own transports."""


class Segment:
    """Bytes that arrive together."""

    __slots__ = ("is_open", "parts", "sent")

    def __init__(self, data: bytes | memoryview, sent: float, *, is_open: bool) -> None:
        self.parts = [data]
        self.sent = sent
        self.is_open = is_open
        """Whether bytes sent at the same time may still join it."""


@cache
def _address_of(host: str, port: int) -> IPv4Address:
    """Return Twisted's form of an address. They are cached: there are few, and each is slow to make."""
    return IPv4Address("TCP", host, port)


@implementer(ITCPTransport, IConsumer, IPushProducer)
class End:
    """One end of a connection.

    Args:
        network: carries the bytes.
        machine: the machine of this end.
        host: the address of this end.
        port: the port of this end.
    """

    peer: "End"

    def __init__(self, network: "Network", machine: Machine, host: str, port: int) -> None:
        self.machine = machine
        self.life = machine.life
        self.protocol: Any = None
        self.connected = True
        """Whether its process can still use it."""
        self.disconnecting = False
        self.ended_at = float("inf")
        """When its process ended without closing it, seconds. Segments sent after that, by a paused process, are
        dropped."""
        self._is_stream_closed = False
        """Whether the process may write no more."""
        self._has_said_so = False
        """Whether the end of the stream was sent to the other end."""
        self._network = network
        self._address = _address_of(host, port)
        self._waiting: deque[bytes | memoryview] = deque()
        self._waiting_bytes = 0
        self._window = WINDOW_BYTES
        self._buffer_bytes = BUFFER_BYTES
        self._segment: Segment | None = None
        self._arrives = 0.0
        """When the latest segment arrives, seconds: no later one overtakes it."""
        self._unread: list[bytes | memoryview] = []
        self._is_reading = True
        self._ends_behind_unread = False
        self._producer: IPushProducer | None = None
        self._is_producer_paused = False
        self.audit: Audit | None = None
        """Counts the answers that its process has not sent to a client at the other end; None: they are not counted."""

    def watch(self) -> None:
        """Begin to check that the process at the other end answers each request on this connection."""
        self.peer.audit = Audit()

    @property
    def waits_for_reader(self) -> bool:
        """Whether the process at this end has to wait until the other end reads, or sends no more at all."""
        return self._is_producer_paused or self._is_stream_closed or self.disconnecting or not self.connected

    # The calls of protocols (ITCPTransport).

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
        producer: object = self._producer
        if self._is_producer_paused and isinstance(producer, Outbox):
            what = f"{self.machine.name} writes {size} bytes for another node to a connection that can take no more"
            network.violations.append(InvariantViolated(f"{what}: nothing counts or bounds them there"))
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
        """See `ITransport`: all that was written is sent first, and nothing more is read."""
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
        """See `ITCPTransport`; here a blocked link is always detected in the end."""

    def getTcpKeepAlive(self) -> bool:
        """See `ITCPTransport`."""
        return True

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """See `IConsumer`; for push producers only."""
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
        """See `IPushProducer`: bytes that arrive wait."""
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
        """From now on hold at most `size` unread bytes here, and let at most `size` bytes wait at the other end."""
        self.peer._window = min(WINDOW_BYTES, size)  # noqa: SLF001 - of the same class
        self.peer._buffer_bytes = min(BUFFER_BYTES, size)  # noqa: SLF001

    # The calls of the network.

    def arrive(self, segment: Segment) -> None:
        """Receive bytes from the other end."""
        segment.is_open = False
        if segment.sent > self.peer.ended_at:
            return
        if self.connected:
            self._unread += segment.parts
            self._read()
        else:
            self._network.reset(self.peer, self.machine.now)

    def lose(self) -> None:
        """Handle the loss of the connection."""
        if self.connected:
            self.connected = False
            if self.machine.is_alive(self.life):
                self._report_loss(ConnectionLost())
            else:  # the connection was wedged when its process ended
                self._network.forget(self)

    def send_again(self) -> None:
        """Try again to send the bytes that a blocked link delayed."""
        self._tell(self._go_on)

    def _pump(self) -> None:
        """Send as much as the window allows, unless the link is blocked; then close what is to be closed."""
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
        """Close this end: with a reset if there is unread input, else in good order."""
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
        """Whether its process runs and has not closed it."""
        return self.connected and self.machine.life == self.life and self.machine.is_running

    def _say_stream_is_closed(self) -> None:
        if not self._has_said_so:
            self._has_said_so = True
            self._network.end_stream(self.peer, self._arrives)

    def stream_ended(self) -> None:
        """Handle the end of the other end's stream: no more bytes follow."""
        self._ends_behind_unread = True
        self._read()

    def _read(self) -> None:
        """Pass the received bytes to the protocol, and open the window of the other end."""
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
        """Report a violation if the process closes before it has sent every answer."""
        if self.audit is not None and self.audit.owed > 0 and not self._is_stream_closed:
            self._network.violations.append(
                InvariantViolated(
                    f"{self.machine.name} closes a client's connection with {self.audit.owed} of "
                    f"{self.audit.asked} answers missing"
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
        """Schedule a call to the protocol, so that it does not happen within a call by the protocol."""
        if self.machine.is_alive(self.life):
            self.machine.world.at(self.machine.now, self.machine, what, *arguments)
