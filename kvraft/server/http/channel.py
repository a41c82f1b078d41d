"""One connection that speaks HTTP: Twisted's, with the limits that all clients of a node have.

A request must arrive whole within `idle_s` of the one before it, however slowly its bytes come. Its header and its body
have a largest size. While a client does not read its answers nothing more is carried out for it, and after `stall_s`
it is dropped.
"""

from typing import Any, Final

from twisted.internet.interfaces import IDelayedCall, IHalfCloseableProtocol, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import RESPONSES, HTTPChannel
from typing_extensions import override
from zope.interface import implementer

from kvraft.server.close import IClientTransport, LingeringClose
from kvraft.server.http import answers
from kvraft.server.http.answers import Answer
from kvraft.server.http.request import HttpRequest
from kvraft.server.limits import ServerLimits

HEADER_BYTES_MAX: Final = 64 * 1024
"""Longest first line and headers of a request, together: a key of 16 KiB, each of its bytes as %xx, leaves room."""
HEADERS_MAX: Final = 100
"""Most headers of a request."""


def raw(answer: Answer) -> bytes:
    """Return an answer, as it is sent before the connection closes, with its status line and headers."""
    reason = RESPONSES.get(answer.status, b"").decode()
    headers = {
        "Content-Type": answer.media_type,
        "Content-Length": str(len(answer.body)),
        **answer.headers,
        "Connection": "close",
    }
    lines = [f"HTTP/1.1 {answer.status} {reason}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1") + answer.body


@implementer(IHalfCloseableProtocol)
class HttpChannel(HTTPChannel):
    """One client's connection.

    Args:
        site: where the requests of its connections go.
        limits: what a client may cost.
        clock: for the time and for timers.
    """

    transport: IClientTransport
    requestFactory = HttpRequest  # type: ignore[assignment]  # it is called with a channel, as any other
    MAX_LENGTH = HEADER_BYTES_MAX
    totalHeadersSize = HEADER_BYTES_MAX
    maxHeaders = HEADERS_MAX
    _over = False
    """Whether nothing is carried out or answered any more."""

    def __init__(self, site: Any, limits: ServerLimits, clock: IReactorTime) -> None:
        super().__init__()
        self.site = site
        self.limits = limits
        self._clock = clock
        self.timeOut: float = limits.idle_s  # type: ignore[assignment]  # Twisted means any number
        self.callLater = clock.callLater  # type: ignore[assignment, method-assign]  # as Twisted's own factory does
        self._stall: IDelayedCall | None = None
        self._closing: LingeringClose | None = None
        self._client_finished = False
        """Whether the client has closed its side: no more requests come than those that have arrived."""

    # --- input -------------------------------------------------------------------------------------------------------

    @override
    def dataReceived(self, data: bytes) -> None:
        """Take input."""
        if not self._over:
            super().dataReceived(data)

    @override
    def resetTimeout(self) -> None:
        """Leave the deadline as it is: a request must be whole by then, and single bytes do not extend it."""

    @override
    def rawDataReceived(self, data: bytes) -> None:
        """Take a piece of a body, or what comes after it."""
        if not self._over:
            super().rawDataReceived(data)

    @override
    def lineReceived(self, line: bytes) -> None:
        """Take a line of a header."""
        if not self._over:
            super().lineReceived(line)

    @override
    def lineLengthExceeded(self, line: bytes) -> None:
        """Refuse a header that is too long to be read."""
        self._refuse_header()

    @override
    def allHeadersReceived(self) -> None:
        """Begin with the body, unless it is said to be too long."""
        if self.length is not None and self.length > self.limits.line_bytes:
            self.refuse_body()
        else:
            super().allHeadersReceived()

    @override
    def allContentReceived(self) -> None:
        """Carry the request out, unless it was refused."""
        if not self._over:
            super().allContentReceived()

    # --- what cannot be carried out ----------------------------------------------------------------------------------

    def refuse_body(self) -> None:
        """Say that the body is too long."""
        text = f"a body has at most {self.limits.line_bytes} bytes (limits.line_bytes); raise the limit on all nodes"
        self._refuse(answers.error("BODY_TOO_LONG", text))

    def _refuse_header(self) -> None:
        text = (
            f"the first line and the headers have at most {HEADER_BYTES_MAX} bytes together, and these are at most "
            f"{HEADERS_MAX}; a longer key can be named in POST /txn"
        )
        self._refuse(answers.error("HEADER_TOO_LONG", text))

    @override
    def _respondToBadRequestAndDisconnect(self) -> None:
        """Say that this is no HTTP; called by Twisted."""
        if self._receivedHeaderSize > self.totalHeadersSize or self._receivedHeaderCount > self.maxHeaders:
            self._refuse_header()
        else:
            self._refuse(answers.error("USAGE", "this is no request of HTTP/1.1"))

    @override
    def timeoutConnection(self) -> None:
        """The next request is not whole in time."""
        if self.requests:
            self._refuse(answers.error("REQUEST_TOO_SLOW", f"a request must be whole within {self.limits.idle_s:g} s"))
        else:
            self.loseConnection()

    def _refuse(self, answer: Answer) -> None:
        """Answer, and close; what the client still sends is dropped, or the kernel would drop the answer."""
        if self._over:
            return
        self._over = True
        self.setTimeout(None)
        self.transport.write(raw(answer))
        self.transport.unregisterProducer()
        self.transport.resumeProducing()
        self._closing = LingeringClose(self.transport, self._clock, self.limits)
        self._closing.begin(client_finished=False)

    def abort(self) -> None:
        """Drop the connection, with whatever is not sent."""
        self._over = True
        self.transport.abortConnection()

    # --- a client that has to read first -----------------------------------------------------------------------------

    @override
    def pauseProducing(self) -> None:
        """Stop carrying requests out: the client does not read as fast as it is answered."""
        super().pauseProducing()
        if self._stall is None and not self._over:
            self._stall = self._clock.callLater(self.limits.stall_s, self._stalled)

    @override
    def resumeProducing(self) -> None:
        """Carry out the requests that have arrived meanwhile: the client has read."""
        self._stop_stall()
        super().resumeProducing()
        if self.paused:
            self.paused = False
            self.dataReceived(b"")
            self._end_if_all_is_answered()

    @override
    def requestDone(self, request: HttpRequest) -> None:
        """Go on with the next request, or first let the client read the answer to this one."""
        if self._client_finished and not self._dataBuffer:
            self.persistent = False
        if self._waitingForTransport and self.persistent and not self._over:
            self.paused = True  # what has arrived stays where it is
            self.transport.pauseProducing()
        super().requestDone(request)
        self._end_if_all_is_answered()

    def _end_if_all_is_answered(self) -> None:
        """Close when the client has closed its side and nothing is left that is a whole request."""
        if self._client_finished and self.persistent and not (self._handlingRequest or self.paused or self._over):
            self.loseConnection()

    def _stalled(self) -> None:
        self._stall = None
        self.abort()

    def _stop_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    # --- the end -----------------------------------------------------------------------------------------------------

    def readConnectionLost(self) -> None:
        """Note that the client has sent everything: its requests are answered, and its streams end."""
        if self._closing is not None:
            self._closing.client_finished()
        elif self.paused or (self._handlingRequest and not self.requests[0].waits):
            self._client_finished = True
        else:
            self.loseConnection()

    def writeConnectionLost(self) -> None:
        """Our side is closed: everything has left."""
        if self._closing is not None:
            self._closing.our_side_closed()

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End."""
        self._over = True
        self._stop_stall()
        if self._closing is not None:
            self._closing.stop()
        super().connectionLost(reason)
