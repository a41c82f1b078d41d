"""A Redis client in memory, at the other end of one connection."""

import hiredis
from twisted.internet.task import Clock

from kvraft.server import ServerLimits
from kvraft.server.resp import RespProtocol
from kvraft.server.resp.node import RespNode
from tests.server.twins import ClientTransport, MemoryDatabase


def command(*arguments: bytes) -> bytes:
    """Return a command as clients send it."""
    return b"*%d\r\n" % len(arguments) + b"".join(b"$%d\r\n%b\r\n" % (len(each), each) for each in arguments)


class RespClient:
    """A connection to a node whose database is a twin."""

    def __init__(
        self,
        database: MemoryDatabase | None = None,
        limits: ServerLimits | None = None,
        node: RespNode | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.clock = clock or Clock()
        self.database = database or MemoryDatabase()
        self.node = node or RespNode(self.database, limits or ServerLimits(), self.clock)
        self.protocol = RespProtocol(self.node)
        self.transport = ClientTransport()
        self.protocol.makeConnection(self.transport)

    @property
    def held(self) -> int:
        """How many bytes the node keeps of what was sent: a bound on memory that nothing outside shows."""
        return self.protocol._resp.held

    @property
    def is_open(self) -> bool:
        """Whether the node has not closed the connection."""
        return not (self.transport.is_half_closed() or self.transport.is_closing())

    def sends(self, data: bytes) -> bytes:
        """Send bytes, and return what comes of them at once."""
        self.transport.writes.clear()
        self.protocol.dataReceived(data)
        self.clock.advance(0)  # a long input of another client may have been before
        return self.transport.written()

    def says(self, *arguments: bytes) -> bytes:
        """Send one command, and return its reply."""
        return self.sends(command(*arguments))

    def asks(self, *arguments: bytes) -> object:
        """Send one command, and return its reply as a client reads it."""
        return read(self.says(*arguments))


def read(data: bytes) -> object:
    """Return the one reply that `data` is."""
    reader = hiredis.Reader()
    reader.feed(data)
    reply = reader.gets()
    assert not reader.has_data(), f"{data!r} is more than one reply"
    return reply
