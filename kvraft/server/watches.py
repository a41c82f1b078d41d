"""The watches of one connection: their events are written between the answers, within one budget for all of them."""

from collections.abc import Sequence
from typing import Final, Protocol

from kvraft.commands import Caller, Change, Subscription
from kvraft.errors import Overloaded, Refused, RequestFailed
from kvraft.server.database import Database
from kvraft.server.dialect import Watch, WatchWriter
from kvraft.server.limits import ServerLimits

OK: Final = True
"""The result of ending a watch."""


class NoSuchWatch(Refused):
    """There is no watch of that number on the connection."""

    code = "NO_SUCH_WATCH"


class Connection(Protocol):
    """What the watches need of the session."""

    caller: Caller
    paused: bool

    def write_events(self, data: bytes) -> None:
        """Write complete lines."""
        ...

    def watch_ended(self) -> None:
        """Called when the node, not the client, has ended a watch."""
        ...


class Following:
    """The watches of one connection, by number."""

    def __init__(self, connection: Connection, database: Database, limits: ServerLimits) -> None:
        self._connection = connection
        self._database = database
        self._limits = limits
        self._watches: dict[int, Subscription] = {}
        self._begun = 0
        self._waiting_bytes = 0
        """Bytes of events that were written while the client was not reading."""

    def __bool__(self) -> bool:
        return bool(self._watches)

    @property
    def room_bytes(self) -> int:
        """How many more bytes may be written."""
        return self._limits.watch_bytes - self._waiting_bytes

    @property
    def is_drained(self) -> bool:
        """Whether the client reads."""
        return not self._connection.paused

    def begin(self, wish: Watch) -> bytes:
        """Begin a watch and return its answer.

        Raises:
            RequestFailed: the watch cannot begin.
        """
        if len(self._watches) >= self._limits.watches:
            raise Overloaded(f"one connection has at most {self._limits.watches} watches; open another")
        number = self._begun + 1
        told = WatchSink(self, number, wish.writer)
        subscription = self._database.watch(self._connection.caller, wish.selection, told)
        self._begun = number
        self._watches[number] = subscription
        return wish.writer.begun(number, subscription.revision)

    def end(self, number: int) -> bool:
        """End a watch.

        Raises:
            NoSuchWatch: there is none of that number.
        """
        subscription = self._watches.pop(number, None)
        if subscription is None:
            raise NoSuchWatch(f"there is no watch {number} on this connection")
        subscription.cancel()
        return OK

    def end_all(self) -> None:
        """End all watches without an answer."""
        for subscription in self._watches.values():
            subscription.cancel()
        self._watches.clear()

    def resume(self) -> None:
        """Resume all watches: the client has read everything."""
        self._waiting_bytes = 0
        for subscription in [*self._watches.values()]:
            subscription.resume()

    def write(self, data: bytes) -> None:
        """Write complete lines."""
        self._connection.write_events(data)
        if self._connection.paused:
            self._waiting_bytes += len(data)

    def closed(self, number: int) -> None:
        """Remove a watch that the node has ended."""
        self._watches.pop(number, None)
        self._connection.watch_ended()


class WatchSink:
    """Writes the events of one watch; see `kvraft.commands.Sink`."""

    def __init__(self, following: Following, number: int, writer: WatchWriter) -> None:
        self._following = following
        self._number = number
        self._writer = writer

    @property
    def room_bytes(self) -> int:
        """How many more bytes may be written."""
        return self._following.room_bytes

    @property
    def is_drained(self) -> bool:
        """Whether the client reads."""
        return self._following.is_drained

    def events(self, changes: Sequence[Change]) -> None:
        """Write changes."""
        self._following.write(self._writer.events(self._number, changes))

    def progress(self, revision: int) -> None:
        """Write a progress line."""
        self._following.write(self._writer.progress(self._number, revision))

    def closed(self, reason: Exception, resume_from: int | None) -> None:
        """Write why the watch has ended."""
        assert isinstance(reason, RequestFailed), "a watch ends for a reason that clients can be told"
        self._following.write(self._writer.closed(self._number, reason, resume_from))
        self._following.closed(self._number)
