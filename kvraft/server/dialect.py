"""The seam between a connection and what it speaks: a dialect makes requests of bytes, a session carries them out.

A request is an operation and its answer: how that is written is known where the request is read, and is not told by the
type of a result.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from kvraft.commands import AcquireLock, AdminCommand, Change, Failure, Operation, Selection
from kvraft.errors import RequestFailed

Answer = bytes | Callable[[Any], bytes]
"""How a request is answered: with these bytes whatever comes of it, or with what this makes of its result.

A command that fails is answered by `Dialect.fail`, and requests without results by `Dialect.refuse`."""

Note = bytes | Callable[[dict[str, object]], bytes]
"""An answer that needs no store: these bytes, or what this makes of the node's status when the answer is due."""


class Disconnect(Exception):
    """What the client sends must neither be carried out nor answered: the connection is dropped."""


class WatchWriter(Protocol):
    """How a client is told of what it watches. A connection counts its watches from 1."""

    with_previous: bool
    """Whether what stood under a key before is told."""

    def begun(self, number: int, revision: int) -> bytes:
        """Return the answer: the watch stands, and the store has this revision."""
        ...

    def events(self, number: int, changes: Sequence[Change]) -> bytes:
        """Return changes of whole revisions."""
        ...

    def progress(self, number: int, revision: int) -> bytes:
        """Return that all changes up to this revision have been told."""
        ...

    def closed(self, number: int, reason: RequestFailed, resume_from: int | None) -> bytes:
        """Return why a watch has ended, and from which revision another one misses nothing, if there is one."""
        ...


class Watch(msgspec.Struct, frozen=True):
    """A client's wish to be told of changes."""

    selection: Selection
    writer: WatchWriter


class Unwatch(msgspec.Struct, frozen=True):
    """A client's wish to be told no more by one of its watches."""

    number: int


class Requests(msgspec.Struct, gc=False):
    """Requests that arrived together, in their order."""

    operations: list[Operation]
    """What the store is asked."""
    answers: list[Answer]
    """The answer to each operation, or to the command."""
    notes: list[tuple[int, Note]]
    """Answers that need no store, each with the number of operations before it."""
    count: int
    """How many requests there are; a note may answer none."""
    keeps: bool = False
    """Whether the client asks for the connection to stay open."""
    command: AdminCommand | None = None
    """What an operator asks: then there is no operation beside it, and its answer is the one result."""
    watch: Watch | Unwatch | None = None
    """A watch to begin or to end: likewise; the result of one that begins is its answer."""
    lock: AcquireLock | None = None
    """A lock to wait for: likewise; the result comes when it is granted, or will not be."""


class Dialect(Protocol):
    """What one connection speaks. It holds the input that is not carried out yet."""

    @property
    def held(self) -> int:
        """Bytes that wait; the session reads no more while they are above its limit."""
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
        """Return the next requests, `data` coming after all that is held; None while no request is whole.

        Raises:
            Disconnect: the connection must be dropped.
        """
        ...

    def take_last(self) -> Requests | None:
        """Return what is held, when it is no whole request and nothing follows it, as if it were one.

        Raises:
            Disconnect: the connection must be dropped.
        """
        ...

    def clear(self) -> None:
        """Drop what is held."""
        ...

    def refuse(self, reason: RequestFailed, requests: Requests) -> Sequence[bytes]:
        """Return the answers to `requests`, none of which has a result.

        Raises:
            Disconnect: the connection must be dropped instead, so that the client turns to another node.
        """
        ...

    def fail(self, failure: Failure) -> bytes:
        """Return the answer to a request whose command failed."""
        ...

    @property
    def defect(self) -> bytes:
        """The last answer on a connection whose request has met a defect in this node."""
        ...
