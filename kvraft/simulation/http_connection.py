"""One connection of a simulated client of HTTP. It reads whole answers, and those that go on as a stream."""

from collections.abc import Callable, Mapping
from typing import Final

import attrs
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from typing_extensions import override

from kvraft.simulation.transport import End

_HEAD_ENDS: Final = b"\r\n\r\n"


@attrs.frozen
class Response:
    """One answer. The body of a stream comes later, piece by piece."""

    status: int
    headers: Mapping[str, str]
    """By their names in lower case."""
    body: bytes = b""
    is_stream: bool = False


class HttpConnection(Protocol):
    """One connection.

    Args:
        answered: called with each answer, in the order of the requests.
        lost: called at the end; True: the node has closed it in good order.
        streamed: called with each piece of a stream.
    """

    transport: End

    def __init__(
        self,
        answered: Callable[[Response], None],
        lost: Callable[[bool], None],
        streamed: Callable[[bytes], None] = lambda _: None,
    ) -> None:
        self._answered = answered
        self._lost = lost
        self._streamed = streamed
        self._held = bytearray()
        self._is_streaming = False

    def send(self, *requests: bytes) -> None:
        """Send requests together."""
        self.transport.write(b"".join(requests))

    @override
    def dataReceived(self, data: bytes) -> None:
        self._held += data
        while self._take_piece() if self._is_streaming else self._take_answer():
            pass

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost(reason.check(ConnectionDone) is not None)

    def _take_answer(self) -> bool:
        """Read the next answer; return whether it is whole."""
        head_ends = self._held.find(_HEAD_ENDS)
        if head_ends < 0:
            return False
        first, *lines = bytes(self._held[:head_ends]).decode("latin-1").split("\r\n")
        version, status, *_ = first.split(" ")
        assert version == "HTTP/1.1", f"no answer of HTTP begins with {first!r}"
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        begin = head_ends + len(_HEAD_ENDS)
        if headers.get("transfer-encoding") == "chunked":
            del self._held[:begin]
            self._is_streaming = True
            self._answered(Response(int(status), headers, is_stream=True))
            return True
        end = begin + int(headers["content-length"])
        if len(self._held) < end:
            return False
        body = bytes(self._held[begin:end])
        del self._held[:end]
        self._answered(Response(int(status), headers, body))
        return True

    def _take_piece(self) -> bool:
        """Read the next piece of a stream; return whether it is whole."""
        size_ends = self._held.find(b"\r\n")
        if size_ends < 0:
            return False
        begin = size_ends + 2
        size = int(self._held[:size_ends], 16)
        if len(self._held) < begin + size + 2:
            return False
        piece = bytes(self._held[begin : begin + size])
        assert self._held[begin + size : begin + size + 2] == b"\r\n", "a piece of a stream is longer than it says"
        del self._held[: begin + size + 2]
        if size:
            self._streamed(piece)
        else:
            self._is_streaming = False
        return True


def request(method: str, target: str, host: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> bytes:
    """Return the bytes of a request."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body or method in {"PUT", "POST"}:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body
