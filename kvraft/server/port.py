"""The one address of a node: the first byte of a connection tells what it speaks."""

from collections.abc import Callable, Mapping
from typing import Final

import attrs
from twisted.internet.interfaces import IAddress, IProtocol, IReactorTime
from twisted.internet.protocol import ServerFactory
from twisted.logger import Logger
from typing_extensions import override

from kvraft.server import replies
from kvraft.server.database import Database
from kvraft.server.limits import ServerLimits
from kvraft.server.lines import LineProtocol
from kvraft.server.resp import RespProtocol
from kvraft.server.resp.node import RespNode
from kvraft.server.sniff import FirstByte, Refusal

LINE_PROTOCOL_STARTS: Final = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ# \r\n"
"""A letter, the mark of a numbered write, or what people type by mistake: a space, or the end of a blank line."""
PEER_STARTS: Final = b"{"
RESP_STARTS: Final = b"*"
"""A Redis client's command is an array. Inline commands begin with a letter: they are the line protocol's."""
TOO_MANY_FOR_RESP: Final = b"-ERR max number of clients reached\r\n"
"""Redis' words, after which clients try again."""


@attrs.frozen
class Speaker:
    """What a first byte leads to."""

    build: Callable[[], IProtocol]
    """Makes the protocol that takes the connection over, its first bytes included."""
    is_client: bool = True
    """Whether the connection counts as a client's. A peer's never does: clients cannot crowd out the cluster."""
    too_many: bytes | None = None
    """What a client is told when there are too many; None: an error of the line protocol."""


class SharedPort(ServerFactory):
    """Accepts every connection of a node and hands it to whom its first byte names.

    It counts: the clients that are there, and those that have not said anything yet. Of these the oldest gives way to
    the newest, since whoever means it speaks at once.
    """

    noisy = False
    _log = Logger()

    def __init__(self, speakers: Mapping[int, Speaker], limits: ServerLimits, clock: IReactorTime) -> None:
        self._speakers = speakers
        self._limits = limits
        self._clock = clock
        self._silent: dict[FirstByte, None] = {}  # in the order of their arrival
        self._full = False
        self._open = 0
        """Connections that are open, also those that are being dropped."""
        self.clients = 0
        """Client connections that are open."""
        self.refused_clients = 0
        """Clients that were turned away since the start, because there were too many."""

    @override
    def buildProtocol(self, addr: IAddress | None) -> FirstByte | None:
        """Wait for the first byte of a new connection; None, which closes it, while there is no room even for that."""
        if self._limits.connections is not None and self._open >= self._limits.connections:
            return None
        if len(self._silent) >= self._limits.silent:
            oldest = next(iter(self._silent))
            del self._silent[oldest]
            oldest.drop()
        connection = FirstByte(self._choose, self._forget, self._clock, self._limits.first_byte_s)
        self._silent[connection] = None
        self._open += 1
        return connection

    def _choose(self, connection: FirstByte, first: int) -> IProtocol:
        """Return the protocol that takes `connection` over. One that is refused stays among the silent ones."""
        speaker = self._speakers.get(first)
        if speaker is None:
            return Refusal(replies.error("UNKNOWN_PROTOCOL", _explain(first)), self._limits, self._clock)
        if not speaker.is_client:
            del self._silent[connection]
            return speaker.build()
        if self.clients >= self._limits.clients:
            return self._refuse(speaker.too_many)
        protocol = speaker.build()
        del self._silent[connection]
        self.clients += 1
        connection.is_client = True
        return protocol

    def _refuse(self, words: bytes | None) -> Refusal:
        self.refused_clients += 1
        if not self._full:
            self._full = True
            self._log.warn(
                "{clients} clients are connected, as many as are allowed: more are refused", clients=self.clients
            )
        message = f"{self.clients} clients are connected, as many as are allowed; close some, or try again in a moment"
        return Refusal(words or replies.error("OVERLOADED", message), self._limits, self._clock)

    def _forget(self, connection: FirstByte) -> None:
        self._open -= 1
        self._silent.pop(connection, None)
        if connection.is_client:
            self.clients -= 1
            # Not at the first gap: while clients come and go at the limit, each refusal would be logged.
            self._full = self._full and self.clients > self._limits.clients // 2


def _explain(first: int) -> str:
    guess = "; this looks like TLS, which this port does not speak" if first == 0x16 else ""  # noqa: PLR2004 - ditto
    return f"nothing here begins with the byte 0x{first:02x}{guess}; write a line such as: GET <key>"


def build_port(
    database: Database, build_acceptor: Callable[[], IProtocol], limits: ServerLimits, clock: IReactorTime
) -> SharedPort:
    """Make the factory of the one client and peer port. `build_acceptor` makes the protocol of a peer that calls."""
    line_client = Speaker(lambda: LineProtocol(database, limits, clock))
    peer = Speaker(build_acceptor, is_client=False)
    node = RespNode(database, limits, clock)
    redis_client = Speaker(lambda: RespProtocol(node), too_many=TOO_MANY_FOR_RESP)
    speakers = {
        **dict.fromkeys(LINE_PROTOCOL_STARTS, line_client),
        **dict.fromkeys(PEER_STARTS, peer),
        **dict.fromkeys(RESP_STARTS, redis_client),
    }
    return SharedPort(speakers, limits, clock)
