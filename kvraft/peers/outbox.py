"""The bytes that wait for one connection: counted, in order, and bounded."""

from collections import deque
from typing import Final

from twisted.internet.interfaces import IConsumer, IPushProducer, ITransport
from zope.interface import implementer

from kvraft.net.write_now import write_now

OUTBOX_BYTES_MAX: Final = 16 * 1024 * 1024
"""Most bytes that wait after the write that is under way; with more, the connection is aborted."""

PIECE_BYTES: Final = 128 * 1024
"""How much is handed to the transport at a time: what Twisted gives to one send()."""


class OutboxFull(Exception):
    """The connection does not take bytes as fast as they come; `waiting` of them wait."""

    def __init__(self, waiting: int) -> None:
        super().__init__(f"{waiting} bytes wait")
        self.waiting = waiting


@implementer(IPushProducer)
class Outbox:
    """Feeds one transport.

    The transport pauses the outbox when its own buffer is full (64 KiB) and resumes it when that is empty. Bytes that
    are written in between wait here, where they can be counted: Twisted's transport does not show how much it holds.
    """

    def __init__(self, transport: ITransport, bytes_max: int = OUTBOX_BYTES_MAX) -> None:
        self._transport = transport
        self._bytes_max = bytes_max
        self._queue: deque[bytes] = deque()
        """What the transport does not have yet; empty whenever the outbox is not paused."""
        self._head_sent = 0
        """How much of the first of `_queue` the transport has."""
        self._queued = 0
        """Bytes in `_queue`, including the part of the first that is sent."""
        self._paused = False
        self._closed = False
        IConsumer(transport).registerProducer(self, streaming=True)

    @property
    def waiting(self) -> int:
        """How many bytes the transport does not have yet; it has at most 64 KiB and one piece."""
        return self._queued - self._head_sent

    def write(self, data: bytes) -> None:
        """Send `data` after everything before it.

        Raises:
            OutboxFull: too many bytes wait. One write of any length is taken when none is under way, so that the
                longest message passes; the limit applies to what waits after it.
        """
        if self._closed:
            return
        if not self._paused and len(data) <= PIECE_BYTES:
            write_now(self._transport, data)
            return
        self._queue.append(data)
        self._queued += len(data)
        self._drain()
        if self._queue and self._queued - len(self._queue[0]) > self._bytes_max:
            raise OutboxFull(self.waiting)

    def write_if_idle(self, data: bytes) -> None:
        """Send `data` unless other bytes wait."""
        if not self._closed and not self._paused:
            write_now(self._transport, data)

    def close(self) -> None:
        """Drop what waits, and write nothing more to the transport."""
        if not self._closed:
            self._closed = True
            self._clear()
            IConsumer(self._transport).unregisterProducer()

    def pauseProducing(self) -> None:
        """Queue further writes: the transport's buffer is full. Called by Twisted."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Go on: the transport's buffer is empty. Called by Twisted."""
        self._paused = False
        self._drain()

    def stopProducing(self) -> None:
        """Take nothing more: the connection is lost. Called by Twisted."""
        self._closed = True
        self._clear()

    def _clear(self) -> None:
        self._queue.clear()
        self._queued = self._head_sent = 0

    def _drain(self) -> None:
        while self._queue and not self._paused:
            write_now(self._transport, self._take_piece())

    def _take_piece(self) -> bytes:
        """Remove up to one piece from the front: the start of a long write, or several short ones joined."""
        parts: list[bytes | memoryview] = []
        room = PIECE_BYTES
        while self._queue and room:
            head = self._queue[0]
            part = memoryview(head)[self._head_sent : self._head_sent + room]
            parts.append(part)
            room -= len(part)
            self._head_sent += len(part)
            if self._head_sent == len(head):
                self._queue.popleft()
                self._queued -= len(head)
                self._head_sent = 0
        return b"".join(parts)
