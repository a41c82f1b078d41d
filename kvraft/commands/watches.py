"""Watches: who wants to be told of changes, of which, and how. Servers and the node meet here.

The guarantees are those of etcd. Revisions come in order, each once and none left out, and all that one transaction has
changed comes together. A watch that ends can be continued from the revision that it was told last.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from kvraft.commands.model import Item, Span


class Change(msgspec.Struct, frozen=True, gc=False):
    """What happened to one key at one revision."""

    revision: int
    key: bytes
    before: Item | None
    """What stood under the key before; None: nothing."""
    after: Item | None
    """What stands there now; None: nothing."""
    has_expired: bool = False
    """Whether it was removed because its time or its lease was over. One that came with a snapshot does not say."""
    encoded: dict[object, bytes] = msgspec.field(default_factory=dict)
    """What servers have made of it, by their format: a change is encoded once for all who are told it."""

    def size(self, *, with_previous: bool) -> int:
        """Return its bytes of key and values."""
        size = len(self.key) + (len(self.after[0]) if self.after is not None else 0)
        return size + len(self.before[0]) if with_previous and self.before is not None else size


class Selection(msgspec.Struct, frozen=True):
    """Which changes somebody wants to be told."""

    span: Span
    """Those of these keys; one key is `Span(key, key + b"\\0")`, all that begin alike are `prefix_span`."""
    from_revision: int | None = None
    """The first revision whose changes count; None: the next one."""
    with_previous: bool = False
    """Whether what stood under a key before is told too; then it counts among the bytes that are told."""


class Sink(Protocol):
    """Takes what a watch finds: one client's end of it. No method may raise, and none is called after `closed`."""

    @property
    def room_bytes(self) -> int:
        """How many bytes of keys and values may come now, while `is_drained` is false.

        A watch that has more to tell than that is closed.
        """
        ...

    @property
    def is_drained(self) -> bool:
        """Whether the client has read what it was told.

        Then more than `room_bytes` may come, if it is one revision; a longer backlog comes piece by piece.
        """
        ...

    def events(self, changes: Sequence[Change]) -> None:
        """Take the changes of one or more revisions, each whole, in order."""
        ...

    def progress(self, revision: int) -> None:
        """Take note that all changes up to `revision`, that one included, have been told."""
        ...

    def closed(self, reason: Exception, resume_from: int | None) -> None:
        """Take note that nothing more comes, and why: a `kvraft.errors.RequestFailed`.

        A watch from the revision `resume_from` misses nothing; None: there is no such revision any more.
        """
        ...


class Subscription(Protocol):
    """A watch that is under way."""

    @property
    def revision(self) -> int:
        """The revision that the store had when the watch began."""
        ...

    def resume(self) -> None:
        """Take note that the client has read what it was told: `Sink.is_drained` is true again."""
        ...

    def cancel(self) -> None:
        """End it: nothing is called any more, `closed` neither. May be called again, and after `closed`."""
        ...
