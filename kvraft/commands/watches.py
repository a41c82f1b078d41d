"""Watches: who wants to be told of changes, of which, and how. Servers and the node meet here.

The guarantees are those of etcd. Revisions come in order, each once and none left out, and all that one transaction has
changed comes together. A watch that ends can be continued from the revision that it was told last.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from kvraft.commands.model import Item, Span

Change = tuple[bytes, Item | None, Item | None]
"""A key, what stood under it before, and what stands there now; None: nothing. What stood there before is also None
where a selection does not ask for it."""

Revision = tuple[int, Sequence[Change]]
"""A revision, and what of a selection has been changed at it."""


class Selection(msgspec.Struct, frozen=True):
    """Which changes somebody wants to be told."""

    span: Span
    """Those of these keys; one key is `Span(key, key + b"\\0")`, all that begin alike are `prefix_span`."""
    from_revision: int | None = None
    """The first revision whose changes count; None: the next one."""
    with_previous: bool = False
    """Whether to tell what stood under a key before."""


class Sink(Protocol):
    """Takes what a watch finds: one client's end of it. No method may raise, and none is called after `closed`."""

    @property
    def room_bytes(self) -> int:
        """How many bytes of keys and values may come now. A watch that has more to tell than that is closed."""
        ...

    def events(self, batch: Sequence[Revision]) -> None:
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

    def cancel(self) -> None:
        """End it: nothing is called any more, `closed` neither. May be called again, and after `closed`."""
        ...
