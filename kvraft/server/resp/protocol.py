"""One Redis client's connection."""

from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from typing_extensions import override

from kvraft.server.resp.connection_state import Connection
from kvraft.server.resp.dialect import RespDialect
from kvraft.server.resp.node import RespNode
from kvraft.server.session import Session


class RespProtocol(Session):
    """A connection that speaks RESP. It stays open until the client closes it, or this node stops leading."""

    connection: Connection

    def __init__(self, node: RespNode) -> None:
        self.connection = node.make_connection()
        self._node = node
        self._waits_to_read = False
        """Whether input is held because the node has read enough at a time."""
        self._told_bytes = 0
        """What was told since the client has to read first."""
        self._resp = RespDialect(self.connection, node.limits.line_bytes)
        super().__init__(self._resp, node.database, node.limits, node.clock, node.counts)

    @override
    def connectionMade(self) -> None:
        """Begin, and be one of the node's connections."""
        super().connectionMade()
        self.connection.address = self.caller.origin
        self.connection.push = self._tell
        self.connection.end_watches = self.end_watches
        self._node.opened(self)

    @override
    def dataReceived(self, data: bytes) -> None:
        """Read, unless the node has read enough at a time: then the input waits for its turn."""
        if self._in_flight is not None or self._over or self._node.read_budget.take(len(data)):
            super().dataReceived(data)
            return
        self._rule.is_settled = False
        self._hold(data)
        if not self._waits_to_read:
            self._waits_to_read = True
            self._node.read_budget.wait(self._read_held)

    def _read_held(self) -> None:
        self._waits_to_read = False
        if not self._over:
            self._node.read_budget.take(self._resp.held)
            self.look()

    def _tell(self, data: bytes) -> None:
        """Write a push. A client that does not read its pushes is dropped."""
        if self._over:
            return
        self.write_events(data)
        if not self.paused:
            self._told_bytes = 0
            return
        self._told_bytes += len(data)
        if self._told_bytes > self._limits.watch_bytes:
            self._abort()

    def leadership_lost(self) -> None:
        """Let a client that has used this node as the leader look for the new one."""
        if self._resp.has_asked:
            self._resp.is_leaving = True
            self.look()

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End."""
        self._node.closed(self)
        super().connectionLost(reason)
