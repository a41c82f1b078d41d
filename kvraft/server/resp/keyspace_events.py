"""Keyspace notifications: changes of keys as messages of channels.

Each node publishes the changes of its own store to its own subscribers, by one watch over all keys. The watch exists
while a connection subscribes to a channel or a pattern whose name begins with `__key`. At other times it costs nothing.
"""

from collections.abc import Sequence
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from kvraft.commands import Caller, Change, Selection, Span, Subscription
from kvraft.errors import RequestFailed
from kvraft.server.database import Database
from kvraft.server.resp.channels import Channels

AGAIN_S: Final = 0.5
"""Time between the end or the refusal of a watch and the next attempt, seconds."""
ROOM_BYTES: Final = 8 * 1024 * 1024
"""Most bytes of keys and values in one piece of the watch."""
_KEYSPACE: Final = b"__keyspace@0__:"
_KEYEVENT: Final = b"__keyevent@0__:"


class KeyspaceEvents:
    """The watch of one node, while there are subscribers; see `kvraft.commands.Sink`."""

    room_bytes = ROOM_BYTES
    is_drained = True
    """There is always room: the messages go to the subscribers' connections, each of which has a limit of its own."""

    def __init__(self, database: Database, clock: IReactorTime, channels: Channels) -> None:
        self._database = database
        self._clock = clock
        self._channels = channels
        self._subscription: Subscription | None = None
        self._again: IDelayedCall | None = None
        channels.keys_wanted = self._look

    def _look(self) -> None:
        """Begin the watch when there are subscribers, and end it when there are none."""
        if self._channels.of_keys:
            if self._subscription is None and self._again is None:
                self._begin()
            return
        if self._subscription is not None:
            self._subscription.cancel()
            self._subscription = None
        if self._again is not None:
            self._again.cancel()
            self._again = None

    def _begin(self) -> None:
        self._again = None
        try:
            self._subscription = self._database.watch(
                Caller("keyspace notifications"), Selection(Span(b"", None)), self
            )
        except RequestFailed:  # the cluster has not come to the feature level, or this node stops
            self._again = self._clock.callLater(AGAIN_S, self._begin)

    def events(self, changes: Sequence[Change]) -> None:
        """Publish changes."""
        publish = self._channels.publish
        for change in changes:
            event = b"set" if change.after is not None else b"expired" if change.has_expired else b"del"
            publish(_KEYSPACE + change.key, event, of_key=True)
            publish(_KEYEVENT + event, change.key, of_key=True)

    def progress(self, revision: int) -> None:
        """Nothing has changed."""

    def closed(self, reason: Exception, resume_from: int | None) -> None:
        """Begin again a little later. Changes in between are not published."""
        self._subscription = None
        self._again = self._clock.callLater(AGAIN_S, self._begin)
