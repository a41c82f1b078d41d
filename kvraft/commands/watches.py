"""Watches: which changes a client asks for, and how it gets them. This is the seam between the servers and the node.

The guarantees are those of etcd. Revisions come in order, each once and without gaps, and all changes of one
transaction come together. A watch that ended can be continued after the last revision that it delivered.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from kvraft.commands.item import Item
from kvraft.commands.model import Span


class Change(msgspec.Struct, frozen=True, gc=False):
    """What happened to one key at one revision."""

    revision: int
    key: bytes
    before: Item | None
    """The item before the change; None: there was none."""
    after: Item | None
    """The item after the change; None: the key was removed."""
    has_expired: bool = False
    """Whether the key expired or its lease ended; always False for changes that were loaded from a snapshot."""
    encoded: dict[object, bytes] = msgspec.field(default_factory=dict)
    """The encoded change, by format: it is encoded once for all watches that get it."""

    def size(self, *, with_previous: bool) -> int:
        """Return how many bytes its key and values have."""
        size = len(self.key) + (len(self.after.value) if self.after is not None else 0)
        return size + len(self.before.value) if with_previous and self.before is not None else size


class Selection(msgspec.Struct, frozen=True):
    """Which changes a watch delivers."""

    span: Span
    """The watched keys; one key is `Span(key, key + b"\\0")`, all keys with a prefix are `prefix_span`."""
    from_revision: int | None = None
    """The first revision to deliver; None: the next one."""
    with_previous: bool = False
    """Whether the item before each change is delivered too; then its bytes count as delivered."""


class Sink(Protocol):
    """One client's end of a watch: takes its changes. No method may raise, and none is called after `closed`."""

    @property
    def room_bytes(self) -> int:
        """How many bytes of keys and values may be delivered now, while `is_drained` is false.

        A watch that has more to deliver is closed.
        """
        ...

    @property
    def is_drained(self) -> bool:
        """Whether the client has read everything that was sent.

        Then one revision may exceed `room_bytes`; a longer backlog is delivered in parts.
        """
        ...

    def events(self, changes: Sequence[Change]) -> None:
        """Take the changes of one or more complete revisions, in order."""
        ...

    def progress(self, revision: int) -> None:
        """Called when all changes up to and including `revision` have been delivered."""
        ...

    def closed(self, reason: Exception, resume_from: int | None) -> None:
        """Called when the watch has ended; `reason` is a `kvraft.errors.RequestFailed`.

        A watch from the revision `resume_from` misses nothing; None: there is no such revision any more.
        """
        ...


class Subscription(Protocol):
    """A watch that has begun."""

    @property
    def revision(self) -> int:
        """The revision of the store when the watch began."""
        ...

    def resume(self) -> None:
        """Called when the client has read everything: `Sink.is_drained` is true again."""
        ...

    def cancel(self) -> None:
        """End the watch: no method of the sink is called any more, nor is `closed`.

        May be called again, and after `closed`.
        """
        ...
