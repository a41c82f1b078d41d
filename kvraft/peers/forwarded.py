"""Frames that carry clients' requests and published messages between members; the core does not see them.

They are sent only from feature level 3 on, since earlier versions do not support them. Their data is the frame's tail;
`kvraft.replica.forwarding` and `kvraft.replica.publishing` encode and decode it.
"""

from typing import Annotated

from msgspec import Meta, Struct

from kvraft.raft.messages import Count, Message

Run = Annotated[str, Meta(pattern=r"\A[0-9a-f]{1,32}\Z")]


class Forwarded(Struct, frozen=True, tag_field="type", tag="Forwarded"):
    """A request. `ticket` is chosen by the sender and unique in its `run`."""

    run: Run
    ticket: Count
    data: bytes = b""


class ForwardedAnswer(Struct, frozen=True, tag_field="type", tag="ForwardedAnswer"):
    """The answer to the request with this ticket of this run; a process with another run ignores it."""

    run: Run
    ticket: Count
    data: bytes = b""


class Published(Struct, frozen=True, tag_field="type", tag="Published"):
    """Published messages, for the subscribers at the receiver. It has no answer, and may be lost."""

    data: bytes = b""


PeerMessage = Message | Forwarded | ForwardedAnswer | Published
"""Every message that a frame may hold."""
