"""What one member asks another or tells it on behalf of its clients: frames that the core takes no part in.

They are sent only once the cluster has agreed on feature level 3, since an earlier version does not know them. What
stands in them is the business of `kvraft.replica.forwarding` and `kvraft.replica.publishing`; it travels as the frame's
tail.
"""

from typing import Annotated

from msgspec import Meta, Struct

from kvraft.raft.messages import Count, Message

Run = Annotated[str, Meta(pattern=r"\A[0-9a-f]{1,32}\Z")]


class Forwarded(Struct, frozen=True, tag_field="type", tag="Forwarded"):
    """A request. `ticket` is the sender's own, unique in its `run`."""

    run: Run
    ticket: Count
    data: bytes = b""


class ForwardedAnswer(Struct, frozen=True, tag_field="type", tag="ForwardedAnswer"):
    """The answer to the request with this ticket of this run; from any other run it is none."""

    run: Run
    ticket: Count
    data: bytes = b""


class Published(Struct, frozen=True, tag_field="type", tag="Published"):
    """Messages of channels, for those who have subscribed at the receiver. Nobody answers, and any may be lost."""

    data: bytes = b""


PeerMessage = Message | Forwarded | ForwardedAnswer | Published
"""All that a frame may hold."""
