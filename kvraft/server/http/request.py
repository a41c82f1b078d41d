"""A request as it arrives: whether it is for this node and from a page of its own, and how it is answered."""

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import resource
from twisted.web.server import NOT_DONE_YET, Request
from typing_extensions import override

from kvraft.server.http import answers
from kvraft.server.http.answers import Answer

if TYPE_CHECKING:
    from kvraft.server.http.channel import HttpChannel
    from kvraft.server.http.site import HttpSite

DEFECT: Final = "this node has met a defect, see its log; a write may have happened"
METHODS: Final = "DELETE, GET, HEAD, OPTIONS, POST, PUT"
SHOWN_TO_MEMBERS: Final = b"/status"
"""What the page of another member may read: it shows the status of all members, also when its own node has died."""


class HttpRequest(Request):
    """One request. Its body is kept in memory, since it is bounded."""

    channel: "HttpChannel"
    site: "HttpSite"
    content: BytesIO | None
    defaultContentType = b"application/octet-stream"
    _log = Logger(namespace="kvraft.server.http")

    def __init__(self, channel: "HttpChannel", *arguments: Any, **named: Any) -> None:
        super().__init__(channel, *arguments, **named)
        self.gone = False
        """Whether the client has closed the connection: nothing can be answered any more."""
        self._received_bytes = 0
        self._when_gone: Callable[[], object] | None = None

    # --- the body ----------------------------------------------------------------------------------------------------

    @override
    def gotLength(self, length: int | None) -> None:
        """Begin with the body."""
        self.content = BytesIO()

    @override
    def handleContentChunk(self, data: bytes) -> None:
        """Keep a piece of the body, unless that makes it too long."""
        self._received_bytes += len(data)
        if self._received_bytes > self.channel.limits.line_bytes:
            self.channel.refuse_body()
        else:
            assert self.content is not None, "a body comes after its header"
            self.content.write(data)

    def header(self, name: str) -> str | None:
        """Return a header, each of its bytes as one character: Twisted's `getHeader` fails where that is no UTF-8."""
        values = self.requestHeaders.getRawHeaders(name.encode())
        return values[-1].decode("latin-1") if values else None

    # --- what becomes of it ------------------------------------------------------------------------------------------

    @override
    def process(self) -> None:
        """Answer it, or hand it to its resource."""
        self.site = self.channel.site
        self.setHeader(b"Date", self.site.node.date())
        self.setHeader(b"X-Content-Type-Options", b"nosniff")
        self.setHeader(b"Cache-Control", b"no-cache")  # a read must see every write before it
        self.prepath = []
        self.postpath = self.path[1:].split(b"/")
        try:
            refusal = self._refuse()
            if refusal is not None:
                self.answer(refusal)
            else:
                body = self.site.getResourceFor(self).render(self)
                if body is not NOT_DONE_YET:
                    self._answer_whole(body)
        except resource.UnsupportedMethod as reason:  # type: ignore[attr-defined]
            methods: Sequence[bytes] = reason.allowedMethods
            allowed = ", ".join(sorted(method.decode() for method in methods))
            self.answer(
                answers.error("METHOD_NOT_ALLOWED", f"the methods of this path are {allowed}", {"Allow": allowed})
            )
        except Exception:  # noqa: BLE001 - one client's request fails, not the node
            self.fail()

    def _refuse(self) -> Answer | None:
        """Return the refusal of a request before any resource gets it; None: it may be carried out."""
        names = self.site.node.names
        host, origin = self.header("host"), self.header("origin")
        if host is None:
            if self.clientproto != b"HTTP/1.0":
                return answers.error("USAGE", "the header Host is missing")
        elif not names.is_here(host, self.host):
            return answers.error("WRONG_HOST", f"this node is not called {host[:100]}, but {names.shown}")
        if origin is not None and not names.is_ours(origin, self.host):
            may_read = self.method == b"GET" and self.path == SHOWN_TO_MEMBERS and names.is_a_members(origin)
            if not may_read:
                return answers.error(
                    "WRONG_ORIGIN", f"a page of {origin[:100]} may not use this node; its own page is at {names.shown}"
                )
            self.setHeader("Access-Control-Allow-Origin", origin)
            self.setHeader("Vary", "Origin")
        if self.method == b"OPTIONS":
            return Answer(answers.NO_CONTENT, b"", headers={"Allow": METHODS})
        return None

    def _answer_whole(self, body: bytes) -> None:
        """Send the answer that a resource has returned."""
        self.setHeader(b"Content-Length", b"%d" % len(body))
        self.write(body)
        self.finish()

    def answer(self, answer: Answer) -> None:
        """Send an answer, unless the client has gone."""
        if self.gone or self.finished:
            return
        self.setResponseCode(answer.status)
        if answer.status != answers.NO_CONTENT:
            self.setHeader("Content-Type", answer.media_type)
            self.setHeader("Content-Length", str(len(answer.body)))
        for name, value in answer.headers.items():
            self.setHeader(name, value)
        self.write(answer.body)
        self.finish()

    def fail(self) -> None:
        """Report a defect in the log and to the client; called while an exception is handled."""
        self._log.failure("A client's request has met a defect in this node")
        if self.gone or self.finished:
            return
        if self.startedWriting:
            self.channel.abort()
        else:
            self.answer(answers.error("INTERNAL", DEFECT))

    # --- the client --------------------------------------------------------------------------------------------------

    def when_gone(self, call: Callable[[], object]) -> None:
        """Have `call` called when the client disconnects before it has its answer."""
        if not self.finished:
            self._when_gone = call

    @property
    def waits(self) -> bool:
        """Whether a function is to be called when the client disconnects."""
        return self._when_gone is not None

    @override
    def finish(self) -> None:
        """End the answer."""
        self._when_gone = None
        super().finish()

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The client has gone."""
        self.gone = True
        call, self._when_gone = self._when_gone, None
        super().connectionLost(reason)
        if call is not None:
            call()
