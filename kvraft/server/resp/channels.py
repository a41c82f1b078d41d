"""Channels: which connections of one node have subscribed to what."""

from collections.abc import Callable
from typing import Final

from kvraft.commands.glob import Pattern
from kvraft.commands.glob import pattern as read_pattern
from kvraft.server.resp.connection_state import Connection
from kvraft.server.resp.encoding import bulk, integer, null, push

SUBSCRIPTIONS_MAX: Final = 1_000
"""Most channels and patterns of one connection."""
SUBSCRIPTION_BYTES_MAX: Final = 2 * 1024 * 1024
"""Most bytes of the names of these channels and patterns together."""
NOTIFICATIONS: Final = b"__key"
"""The prefix of the channels that carry changes of keys."""

Subscribers = dict[bytes, dict[Connection, None]]


class Channels:
    """The subscriptions of all connections of one node."""

    def __init__(self) -> None:
        self.subscribers: Subscribers = {}
        """By channel."""
        self.watchers: Subscribers = {}
        """By pattern."""
        self._patterns: dict[bytes, Pattern] = {}
        """Those patterns, compiled: to compile many of them for each message would take longer than all the rest."""
        self.of_keys = 0
        """How many subscriptions there are to changes of keys."""
        self.keys_wanted: Callable[[], object] = lambda: None
        """Called when that has changed."""

    def subscribe(self, connection: Connection, channel: bytes, *, is_pattern: bool) -> None:
        """Subscribe a connection to a channel, or to all channels whose names match a pattern."""
        own, table = self._tables(connection, is_pattern=is_pattern)
        if channel in own:
            return
        own.add(channel)
        if is_pattern and channel not in table:
            self._patterns[channel] = read_pattern(channel)
        table.setdefault(channel, {})[connection] = None
        self._count(channel, 1)

    def unsubscribe(self, connection: Connection, channel: bytes, *, is_pattern: bool) -> None:
        """End one subscription of a connection."""
        own, table = self._tables(connection, is_pattern=is_pattern)
        if channel not in own:
            return
        own.remove(channel)
        del table[channel][connection]
        if not table[channel]:
            del table[channel]
        if is_pattern and channel not in table:
            del self._patterns[channel]
        self._count(channel, -1)

    def _tables(self, connection: Connection, *, is_pattern: bool) -> tuple[set[bytes], Subscribers]:
        return (connection.patterns, self.watchers) if is_pattern else (connection.channels, self.subscribers)

    def _count(self, channel: bytes, more: int) -> None:
        if channel.startswith(NOTIFICATIONS):
            self.of_keys += more
            self.keys_wanted()

    def drop(self, connection: Connection) -> None:
        """End all subscriptions of a connection."""
        for channel in [*connection.channels]:
            self.unsubscribe(connection, channel, is_pattern=False)
        for pattern in [*connection.patterns]:
            self.unsubscribe(connection, pattern, is_pattern=True)

    def publish(self, channel: bytes, message: bytes, *, of_key: bool = False) -> int:
        """Send a message to the subscribers of its channel at this node; return how many there are.

        A change of a key (`of_key`) goes only to channels and patterns that begin with the prefix of such channels.
        """
        told = 0
        if channel in self.subscribers:
            for connection in [*self.subscribers[channel]]:
                connection.push(push([bulk(b"message"), bulk(channel), bulk(message)], connection.protocol))
                told += 1
        for pattern, watchers in [*self.watchers.items()] if self.watchers else ():
            if (not of_key or pattern.startswith(NOTIFICATIONS)) and self._patterns[pattern].matches(channel):
                for connection in [*watchers]:
                    parts = [bulk(b"pmessage"), bulk(pattern), bulk(channel), bulk(message)]
                    connection.push(push(parts, connection.protocol))
                    told += 1
        return told


def confirmation(word: bytes, channel: bytes | None, connection: Connection) -> bytes:
    """Return the confirmation of a subscription, with the number of subscriptions that the connection has now."""
    count = len(connection.channels) + len(connection.patterns)
    name = null(connection.protocol) if channel is None else bulk(channel)
    return push([bulk(word), name, integer(count)], connection.protocol)
