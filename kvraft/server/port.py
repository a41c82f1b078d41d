"""The one port of a node: the first byte of a connection selects its protocol."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import attrs
from twisted.internet.interfaces import IAddress, IProtocol, IReactorTime
from twisted.internet.protocol import ServerFactory
from typing_extensions import override

from kvraft.metrics import RequestCounts
from kvraft.server import replies
from kvraft.server.database import Database
from kvraft.server.limits import ServerLimits
from kvraft.server.lines import LineProtocol
from kvraft.server.occupancy import Occupancy
from kvraft.server.resp import RespProtocol
from kvraft.server.resp.node import RespNode
from kvraft.server.sniff import FirstByte, Refusal

LINE_PROTOCOL_STARTS: Final = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ# \r\n"
"""A letter, the mark of a numbered write, or a mistake at the keyboard: a space, or the end of a blank line."""
PEER_STARTS: Final = b"{"
RESP_STARTS: Final = b"*"
"""A Redis client's command is an array. Redis inline commands begin with a letter and go to the line protocol."""
TOO_MANY_FOR_RESP: Final = b"-ERR max number of clients reached\r\n"
"""The error text of Redis, after which its clients try again."""


@attrs.frozen
class Speaker:
    """The protocol that a first byte selects."""

    build: Callable[[], IProtocol]
    """Makes the protocol that takes over the connection, including its first bytes."""
    is_client: bool = True
    """Whether the connection counts as a client's. A peer's does not, so that clients cannot crowd out peers."""
    too_many: bytes | None = None
    """The answer to a client when there are too many; None: an error of the line protocol."""


class SharedPort(ServerFactory):
    """Accepts the connections of an address and hands each to the protocol that its first byte selects.

    It counts the clients, and the connections that have sent nothing yet. When there are too many silent connections,
    the oldest is dropped for a new one, since real clients and peers send at once.

    Args:
        speakers: the protocol for each first byte.
        limits: what clients may cost.
        clock: the time, and delayed calls.
        occupancy: counts the connections of all ports of the node; None: there is no other port.
        refuse_byte: returns the answer to a first byte that selects no protocol.
        requests: the counts of clients' requests, to which the protocols add.
    """

    noisy = False

    def __init__(
        self,
        speakers: Mapping[int, Speaker],
        limits: ServerLimits,
        clock: IReactorTime,
        occupancy: Occupancy | None = None,
        refuse_byte: Callable[[int], bytes] | None = None,
        requests: Sequence[RequestCounts] = (),
    ) -> None:
        self.requests = requests
        """The counts of clients' requests, by protocol."""
        self._speakers = speakers
        self._limits = limits
        self._clock = clock
        self._refuse_byte = refuse_byte or _refuse_byte
        self.occupancy = occupancy or Occupancy(limits)

    @property
    def clients(self) -> int:
        """How many client connections are open, on all ports of the node."""
        return self.occupancy.clients

    @property
    def clients_max(self) -> int:
        """Client connections that may be open."""
        return self._limits.clients

    @override
    def buildProtocol(self, addr: IAddress | None) -> FirstByte | None:
        """Return a protocol that waits for the first byte; None, which closes the connection, if there is no room."""
        if not self.occupancy.has_room:
            return None
        silent = self.occupancy.silent
        if len(silent) >= self._limits.silent:
            oldest = next(iter(silent))
            del silent[oldest]
            oldest.drop()
        connection = FirstByte(self._choose, self._forget, self._clock, self._limits.first_byte_s)
        silent[connection] = None
        self.occupancy.opened += 1
        return connection

    def _choose(self, connection: FirstByte, first: int) -> IProtocol:
        """Return the protocol that takes over `connection`. A refused connection stays among the silent ones."""
        speaker = self._speakers.get(first)
        if speaker is None:
            return Refusal(self._refuse_byte(first), self._limits, self._clock)
        if not speaker.is_client:
            del self.occupancy.silent[connection]
            return speaker.build()
        if not self.occupancy.admit():
            return Refusal(speaker.too_many or self._too_many(), self._limits, self._clock)
        connection.is_client = True
        protocol = speaker.build()
        del self.occupancy.silent[connection]
        return protocol

    def _too_many(self) -> bytes:
        return replies.error("OVERLOADED", too_many_clients(self.clients))

    def _forget(self, connection: FirstByte) -> None:
        self.occupancy.opened -= 1
        self.occupancy.silent.pop(connection, None)
        if connection.is_client:
            self.occupancy.leave()


def too_many_clients(clients: int) -> str:
    """Return the error text for a client that is refused because there are too many."""
    return f"{clients} clients are connected, as many as are allowed; close some, or try again in a moment"


def _refuse_byte(first: int) -> bytes:
    return replies.error("UNKNOWN_PROTOCOL", _explain(first))


def _explain(first: int) -> str:
    guess = "; this looks like TLS, which this port does not speak" if first == 0x16 else ""  # noqa: PLR2004 - ditto
    return f"nothing here begins with the byte 0x{first:02x}{guess}; write a line such as: GET <key>"


def build_port(
    database: Database, build_acceptor: Callable[[], IProtocol], limits: ServerLimits, clock: IReactorTime
) -> SharedPort:
    """Make the factory of the port for clients and peers. `build_acceptor` makes the protocol of a peer."""
    lines = RequestCounts("line")
    line_client = Speaker(lambda: LineProtocol(database, limits, clock, lines))
    peer = Speaker(build_acceptor, is_client=False)
    node = RespNode(database, limits, clock)
    redis_client = Speaker(lambda: RespProtocol(node), too_many=TOO_MANY_FOR_RESP)
    speakers = {
        **dict.fromkeys(LINE_PROTOCOL_STARTS, line_client),
        **dict.fromkeys(PEER_STARTS, peer),
        **dict.fromkeys(RESP_STARTS, redis_client),
    }
    return SharedPort(speakers, limits, clock, requests=[lines, node.counts])
