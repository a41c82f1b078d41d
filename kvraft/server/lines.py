"""The line protocol: one request a line, one JSON object a line back."""

from collections.abc import Sequence

from twisted.internet.interfaces import IReactorTime
from twisted.protocols.basic import LineReceiver
from typing_extensions import override

from kvraft.commands import Failure
from kvraft.errors import RequestFailed
from kvraft.metrics import RequestCounts
from kvraft.server import replies
from kvraft.server.database import Database
from kvraft.server.dialect import Requests
from kvraft.server.limits import ServerLimits
from kvraft.server.line_buffer import LineBuffer
from kvraft.server.requests import EMPTY_LINE, read_gets, read_plain, read_requests
from kvraft.server.session import Session


class LineDialect:
    """Parses all lines that arrived together in one call: a call for each line would cost more than to answer it."""

    begins = b"{"
    defect = replies.error("INTERNAL", "this node has met a defect, see its log; a write may have happened")

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        self._input = LineBuffer(limits.line_bytes)
        self._rest: Sequence[bytes] = ()  # complete lines that are executed before the input after them
        self._is_new = True  # no line was read yet
        self.has_input = False
        """Whether anything is held, or will never be read."""

    @property
    def held(self) -> int:
        """Bytes that are held, cut into lines or not."""
        return len(self._input.held) + sum(map(len, self._rest))

    @property
    def overflow(self) -> bytes | None:
        """The error for a client whose line is too long; None: no line is."""
        if not self._input.overflowed:
            return None
        return replies.error(
            "LINE_TOO_LONG",
            f"a line has at most {self._limits.line_bytes} bytes; send a smaller value, or raise the limit on all "
            "nodes",
        )

    def hold(self, data: bytes) -> None:
        """Keep input for later."""
        self._input.add(data)
        self.has_input = True

    def take(self, data: bytes = b"") -> Requests | None:
        """Return the requests of the next lines; see `Dialect`."""
        if self._rest:
            self._input.add(data)
            lines, self._rest = self._rest, ()
        elif data and data.find(b"\n") == len(data) - 1 < self._limits.line_bytes and not self.has_input:
            line = data[:-1]  # exactly one, as most clients send: it need not be buffered and cut
            if not self._is_new and (requests := read_plain(line)) is not None:
                return requests
            lines = (line,)
        elif self._is_next(data) and (requests := read_gets(data)) is not None:
            return requests
        else:
            lines = self._input.take(data)
            if not lines:
                self.has_input = bool(self._input.held) or self._input.overflowed
                return None
        requests, self._rest = read_requests(lines)
        self.has_input = bool(self._input.held or self._rest) or self._input.overflowed
        if self._is_new:
            self._is_new = False
            if all(line in {b"", b"\r"} for line in lines):
                requests.notes.append((0, EMPTY_LINE))
        return requests

    def _is_next(self, data: bytes) -> bool:
        """Whether `data` are complete lines, none too long, to be executed next, and not the connection's first."""
        return data.endswith(b"\n") and len(data) <= self._limits.line_bytes and not (self.has_input or self._is_new)

    def take_last(self) -> Requests | None:
        """Return the request of a last line without its end; see `Dialect`."""
        self._rest = self._input.take_last()
        return self.take() if self._rest else None

    def clear(self) -> None:
        """Drop the held input."""
        self._input.clear()
        self._rest = ()
        self.has_input = False

    def refuse(self, reason: RequestFailed, requests: Requests) -> Sequence[bytes]:
        """Return the lines for requests that have no results."""
        return [replies.refusal(reason)] * len(requests.answers)

    def fail(self, failure: Failure) -> bytes:
        """Return the line for a command that failed."""
        return replies.failure(failure)


class LineProtocol(Session, LineReceiver):
    """One client's connection of the line protocol.

    Unlike other LineReceivers it parses all lines of a chunk at once. It does not use Twisted's buffer, which takes
    quadratic time for a long line that arrives in small pieces.
    """

    delimiter = b"\n"

    def __init__(
        self, database: Database, limits: ServerLimits, clock: IReactorTime, counts: RequestCounts | None = None
    ) -> None:
        super().__init__(LineDialect(limits), database, limits, clock, counts)

    @override
    def lineReceived(self, line: bytes) -> None:
        """Execute one line, as if it had arrived alone."""
        self.dataReceived(line + self.delimiter)
