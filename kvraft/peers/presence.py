"""Logs when a peer is connected and disconnected: one line for both connections.

Each node dials every other and sends on the connection that it has dialed. So two nodes have two connections, which
open and close a few milliseconds apart. A peer is connected when both are established, and disconnected when one of
them is lost. If only one of them is established for `ONE_WAY_S`, a warning is logged.
"""

import enum
from typing import Final

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

ONE_WAY_S: Final = 2.0
"""How long one connection may be established without the other before that is logged, in seconds; a pause between two
attempts to connect is at most 0.5 s."""


class Direction(enum.Enum):
    """Which end has dialed a connection, and so sends its messages on it."""

    TO = "the connection to it is lost"
    """This node dialed the peer."""
    FROM = "the connection from it is lost"
    """The peer dialed this node."""


class Said(enum.Enum):
    """The state of a peer that was logged last."""

    NOTHING = "nothing"
    CONNECTED = "connected"
    ONE_WAY = "connected in one direction"


_ONE_WAY: Final = {
    Direction.TO: "this node reaches it, and it does not reach this node",
    Direction.FROM: "it reaches this node, and this node does not reach it",
}


@attrs.define
class _Peer:
    standing: set[Direction] = attrs.field(factory=set)
    since: float = 0.0
    """When `standing` last changed."""
    said: Said = Said.NOTHING


class Presence:
    """The established connections of each peer, and what was logged about them."""

    def __init__(self, log: Logger, clock: IReactorTime) -> None:
        self._log = log
        self._clock = clock
        self._peers: dict[int, _Peer] = {}

    def came(self, peer: int, direction: Direction) -> None:
        """Record that a connection is established."""
        state = self._peers.setdefault(peer, _Peer())
        state.standing.add(direction)
        state.since = self._clock.seconds()
        if len(state.standing) == len(Direction) and state.said is not Said.CONNECTED:
            state.said = Said.CONNECTED
            self._log.info("node {peer} is connected", peer=peer)

    def went(self, peer: int, direction: Direction) -> None:
        """Record that an established connection is lost."""
        state = self._peers.setdefault(peer, _Peer())
        state.standing.discard(direction)
        state.since = self._clock.seconds()
        if state.said is not Said.NOTHING:
            state.said = Said.NOTHING
            self._log.info("node {peer} is disconnected: {why}", peer=peer, why=direction.value)
        if not state.standing:
            del self._peers[peer]

    def look(self) -> None:
        """Log peers that are connected in one direction only; called every `keepalive.INTERVAL_S`."""
        overdue = self._clock.seconds() - ONE_WAY_S
        for peer, state in self._peers.items():
            if len(state.standing) == 1 and state.since <= overdue and state.said is Said.NOTHING:
                state.said = Said.ONE_WAY
                (direction,) = state.standing
                self._log.warn(
                    "node {peer} is connected in one direction only: {which}", peer=peer, which=_ONE_WAY[direction]
                )
