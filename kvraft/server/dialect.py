"""The seam between a connection and its protocol: a dialect parses bytes into requests, a session executes them.

A request is an operation and its answer format. The format depends on the command, so it is chosen where the request is
parsed; the type of a result does not determine it.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from kvraft.commands import AcquireLock, AdminCommand, Change, Failure, Operation, Selection
from kvraft.errors import RequestFailed

Answer = bytes | Callable[[Any], bytes]
"""The answer to a request: these bytes whatever its result, or what this function makes of the result.

A command that fails is answered by `Dialect.fail`, and requests without results by `Dialect.refuse`."""

Note = bytes | Callable[[dict[str, object]], bytes]
"""An answer that needs no store: these bytes, or what this function makes of the node's status when it is due."""


class Disconnect(Exception):
    """The input must neither be executed nor answered: the connection is dropped."""


class WatchWriter(Protocol):
    """Writes the events of a watch for its client. A connection numbers its watches from 1."""

    with_previous: bool
    """Whether the item before each change is written too."""

    def begun(self, number: int, revision: int) -> bytes:
        """Return the answer to a watch that has begun at this revision of the store."""
        ...

    def events(self, number: int, changes: Sequence[Change]) -> bytes:
        """Return the changes of complete revisions."""
        ...

    def progress(self, number: int, revision: int) -> bytes:
        """Return the message that all changes up to this revision have been delivered."""
        ...

    def closed(self, number: int, reason: RequestFailed, resume_from: int | None) -> bytes:
        """Return why a watch has ended, and the revision from which another one misses nothing, if there is one."""
        ...


class Watch(msgspec.Struct, frozen=True):
    """A request to begin a watch."""

    selection: Selection
    writer: WatchWriter


class Unwatch(msgspec.Struct, frozen=True):
    """A request to end one of the connection's watches."""

    number: int


class Requests(msgspec.Struct, gc=False):
    """Requests that arrived together, in their order."""

    operations: list[Operation]
    """The operations for the store."""
    answers: list[Answer]
    """The answer to each operation, or to the command."""
    notes: list[tuple[int, Note]]
    """Answers that need no store, each with the number of operations before it."""
    count: int
    """How many requests there are; a note may belong to none."""
    keeps: bool = False
    """Whether the client asks to keep the connection open."""
    command: AdminCommand | None = None
    """An operator's command: then there are no operations, and its answer is the only result."""
    watch: Watch | Unwatch | None = None
    """A watch to begin or to end: then there are no operations, and the answer to a new watch is the only result."""
    lock: AcquireLock | None = None
    """A lock to wait for: then there are no operations, and the result comes when the wait has ended."""


class Dialect(Protocol):
    """The protocol of one connection. It holds the input that is not executed yet."""

    @property
    def begins(self) -> bytes:
        """What every answer to a request for a lock begins with; b"" if they have nothing in common."""
        ...

    @property
    def held(self) -> int:
        """Bytes held; the session pauses reading while they are above its limit."""
        ...

    @property
    def has_input(self) -> bool:
        """Whether anything is held, or will never be read."""
        ...

    @property
    def overflow(self) -> bytes | None:
        """Why the rest of the input will never be read, as the last answer before the connection closes."""
        ...

    def hold(self, data: bytes) -> None:
        """Keep input for later."""
        ...

    def take(self, data: bytes = b"") -> Requests | None:
        """Return the next requests from the held input and `data` after it; None while no request is complete.

        Raises:
            Disconnect: the connection must be dropped.
        """
        ...

    def take_last(self) -> Requests | None:
        """Return the held incomplete request as if it were complete, since no more input follows.

        Raises:
            Disconnect: the connection must be dropped.
        """
        ...

    def clear(self) -> None:
        """Drop the held input."""
        ...

    def refuse(self, reason: RequestFailed, requests: Requests) -> Sequence[bytes]:
        """Return the answers to `requests`, none of which has a result.

        Raises:
            Disconnect: the connection must be dropped instead, so that the client connects to another node.
        """
        ...

    def fail(self, failure: Failure) -> bytes:
        """Return the answer to a request whose command failed."""
        ...

    @property
    def defect(self) -> bytes:
        """The last answer on a connection whose request has raised an unexpected error in this node."""
        ...
