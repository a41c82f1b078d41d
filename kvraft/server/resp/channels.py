"""Channels: who is told of what by subscription, on one node."""

from fnmatch import fnmatchcase
from typing import Final

from kvraft.server.resp.connection_state import Connection
from kvraft.server.resp.encoding import bulk, integer, null, push

SUBSCRIPTIONS_MAX: Final = 1_000
"""Channels and patterns of one connection."""


class Channels:
    """The subscriptions of all connections of one node."""

    def __init__(self) -> None:
        self._subscribers: dict[bytes, dict[Connection, None]] = {}
        self._watchers: dict[bytes, dict[Connection, None]] = {}
        """Of patterns."""

    def subscribe(self, connection: Connection, channel: bytes, *, is_pattern: bool) -> None:
        """Let a connection be told of a channel, or of all whose names are like a pattern."""
        (connection.patterns if is_pattern else connection.channels).add(channel)
        (self._watchers if is_pattern else self._subscribers).setdefault(channel, {})[connection] = None

    def unsubscribe(self, connection: Connection, channel: bytes, *, is_pattern: bool) -> None:
        """Let it be told no more."""
        (connection.patterns if is_pattern else connection.channels).discard(channel)
        table = self._watchers if is_pattern else self._subscribers
        if channel in table:
            table[channel].pop(connection, None)
            if not table[channel]:
                del table[channel]

    def drop(self, connection: Connection) -> None:
        """Let a connection be told nothing more."""
        for channel in [*connection.channels]:
            self.unsubscribe(connection, channel, is_pattern=False)
        for pattern in [*connection.patterns]:
            self.unsubscribe(connection, pattern, is_pattern=True)

    def publish(self, channel: bytes, message: bytes) -> int:
        """Tell a message to those who subscribe to its channel here; return how many were told."""
        told = 0
        for connection in [*self._subscribers.get(channel, ())]:
            connection.push(push([bulk(b"message"), bulk(channel), bulk(message)], connection.protocol))
            told += 1
        for pattern, watchers in [*self._watchers.items()]:
            if fnmatchcase(channel.decode("latin-1"), pattern.decode("latin-1")):
                for connection in [*watchers]:
                    parts = [bulk(b"pmessage"), bulk(pattern), bulk(channel), bulk(message)]
                    connection.push(push(parts, connection.protocol))
                    told += 1
        return told


def confirmation(word: bytes, channel: bytes | None, connection: Connection) -> bytes:
    """Return how a subscription is confirmed, with the number of those that the connection has now."""
    count = len(connection.channels) + len(connection.patterns)
    name = null(connection.protocol) if channel is None else bulk(channel)
    return push([bulk(word), name, integer(count)], connection.protocol)
