"""One client's connection on the line protocol: requests go out at once, answers come back in their order."""

from collections import deque
from typing import Any, Final

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from typing_extensions import override

from kvraft.config import Address

CONNECT_S: Final = 1.0
"""Longest wait for a connection, seconds."""
ANSWER_S: Final = 4.0
"""Longest wait for an answer, seconds; then the connection is closed, and unanswered requests are unknown."""

Answer = dict[str, Any]


class ClientConnection(Protocol):
    """Sends lines and returns their answers.

    Args:
        reactor: keeps the time.
        answer_s: longest wait for each answer.
    """

    def __init__(self, reactor: Any, answer_s: float = ANSWER_S) -> None:
        self._reactor = reactor
        self._answer_s = answer_s
        self._held = b""
        self._owed: deque[Deferred[Answer]] = deque()
        self._timer: IDelayedCall | None = None
        self.is_open = True

    def request(self, line: str) -> "Deferred[Answer]":
        """Send one line; fires with its answer, or fails when the connection ends first."""
        answer: Deferred[Answer] = Deferred()
        if not self.is_open or self.transport is None:
            answer.errback(Failure(ConnectionLost("the connection had ended")))
            return answer
        self._owed.append(answer)
        if self._timer is None:
            self._timer = self._reactor.callLater(self._answer_s, self._give_up)
        self.transport.write(line.encode() + b"\n")
        return answer

    def close(self) -> None:
        """Close the connection; unanswered requests fail."""
        self.is_open = False
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()

    @override
    def dataReceived(self, data: bytes) -> None:
        *lines, self._held = (self._held + data).split(b"\n")
        for line in lines:
            try:
                answer = msgspec.json.decode(line, type=Answer)
            except msgspec.DecodeError:
                self.close()
                return
            if not self._owed:
                self.close()
                return
            self._reset_timer()
            self._owed.popleft().callback(answer)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.is_open = False
        self._stop_timer()
        owed, self._owed = self._owed, deque()
        for answer in owed:
            answer.errback(Failure(ConnectionLost("the connection ended before the answer")))

    def _give_up(self) -> None:
        self._timer = None
        self.close()

    def _reset_timer(self) -> None:
        self._stop_timer()
        if len(self._owed) > 1:
            self._timer = self._reactor.callLater(self._answer_s, self._give_up)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


async def connect(reactor: Any, address: Address, answer_s: float = ANSWER_S) -> ClientConnection:
    """Connect to a node.

    Raises:
        Exception: Twisted's error, if that fails.
    """
    endpoint = TCP4ClientEndpoint(reactor, address.host, address.port, timeout=CONNECT_S)
    connection: ClientConnection = await connectProtocol(endpoint, ClientConnection(reactor, answer_s))
    return connection


async def ask(reactor: Any, address: Address, line: str, answer_s: float = ANSWER_S) -> Answer:
    """Return the answer to one line on a new connection; empty when there is none."""
    try:
        connection = await connect(reactor, address, answer_s)
    except Exception:  # noqa: BLE001 - a node that is down, paused, or on its way up: all the same here
        return {}
    try:
        return await connection.request(line)
    except ConnectionLost:
        return {}
    finally:
        connection.close()
