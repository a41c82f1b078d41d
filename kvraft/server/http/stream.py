"""Server-sent events: an answer that goes on, event by event, until one side ends it.

See https://html.spec.whatwg.org/multipage/server-sent-events.html. A browser that loses the connection comes again by
itself, and says with Last-Event-ID which event it has seen last.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.task import LoopingCall
from zope.interface import implementer

from kvraft.server.http.routes import EVENTS

if TYPE_CHECKING:
    from kvraft.server.http.call import Call

RETRY_MS: Final = 500
"""How long a browser waits before it connects again, as an event says it."""
COMMENT: Final = b":\n\n"
"""A comment, sent to keep a connection open and to notice a dead one."""
BEATS_EVERY: Final = 15
"""Time between two comments of a stream, seconds."""


def event(data: bytes, name: str | None = None, identity: int | None = None) -> bytes:
    """Return one event. `data` has no line feed. Without a name it is a message, and without an id it has none."""
    lines = [] if identity is None else [b"id: %d" % identity]
    if name is not None:
        lines.append(f"event: {name}".encode())
    return b"\n".join((*lines, b"data: " + data, b"", b""))


class Heartbeats:
    """Sends comments to the streams of a node, to some of them every second and not to all at once."""

    def __init__(self, clock: IReactorTime) -> None:
        self._groups: list[dict[Stream, None]] = [{} for _ in range(BEATS_EVERY)]
        self._next = 0
        self._loop = LoopingCall(self._beat)
        self._loop.clock = clock

    def join(self, stream: "Stream") -> None:
        """Begin with a stream; its first comment is due when all others have had one."""
        self._groups[self._next - 1][stream] = None
        if not self._loop.running:
            self._loop.start(1.0, now=False)

    def leave(self, stream: "Stream") -> None:
        """End."""
        for group in self._groups:
            group.pop(stream, None)
        if self._loop.running and not any(self._groups):
            self._loop.stop()

    def _beat(self) -> None:
        for stream in [*self._groups[self._next]]:
            if not stream.paused:
                stream.write(COMMENT)
        self._next = (self._next + 1) % BEATS_EVERY


@implementer(IPushProducer)
class Stream:
    """An answer of events. Its headers are sent at once, so that the client sees that the stream is open.

    Args:
        call: what is answered.
        closed: called once when the client has gone.
        drained: called when the client, which had to read first, has read everything.
    """

    def __init__(
        self, call: "Call", closed: Callable[[], object], drained: Callable[[], object] = lambda: None
    ) -> None:
        self._request = call.request
        self._closed = closed
        self._drained = drained
        self._heartbeats = call.node.heartbeats
        self.paused = False
        """Whether the client has to read before anything more is written."""
        request = self._request
        request.setHeader("Content-Type", EVENTS)
        request.setHeader("Cache-Control", "no-cache")
        request.registerProducer(self, streaming=True)
        request.when_gone(self._gone)
        request.write(b"retry: %d\n\n" % RETRY_MS)
        self._is_chunked = bool(request.chunked)
        self._transport = request.channel.transport
        self._heartbeats.join(self)

    def write(self, data: bytes) -> None:
        """Write whole events, or comments."""
        # What Twisted's request does, without its detours: a change may go to thousands of streams.
        self._transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)

    def _gone(self) -> None:
        self._heartbeats.leave(self)
        self._closed()

    def end(self) -> None:
        """End the answer from this side."""
        self._heartbeats.leave(self)
        request = self._request
        if not (request.gone or request.finished):
            request.unregisterProducer()
            request.finish()

    def pauseProducing(self) -> None:
        """The client has to read first."""
        self.paused = True

    def resumeProducing(self) -> None:
        """The client has read everything."""
        self.paused = False
        self._drained()

    def stopProducing(self) -> None:
        """Do nothing: `closed` reports that the client has gone."""
