"""The state of one connection between its commands."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import attrs

from kvraft.commands import Mark
from kvraft.server.resp.encoding import RESP2

if TYPE_CHECKING:
    from kvraft.server.resp.follower_reads import FollowerReads
    from kvraft.server.resp.node import RespNode
    from kvraft.server.resp.steps import Steps
    from kvraft.server.resp.table import Command


class Transaction(Protocol):
    """The commands since MULTI."""

    def queue(self, connection: "Connection", command: "Command", arguments: list[bytes]) -> bytes:
        """Take a command, whose number of arguments is right, for EXEC; return what is answered at once."""
        ...

    def spoil(self) -> None:
        """Take note that a command was wrong, so that EXEC will refuse to carry out anything."""
        ...


def _drop(data: bytes) -> None:
    """Write to a connection that is not open yet: nothing."""


def _end_none() -> None:
    """End the watches of a connection that is not open yet: there are none."""


@attrs.define(eq=False)
class Connection:
    """One client's connection, as its commands see it."""

    node: "RespNode"
    id: int
    made_at: float
    """By the node's clock, seconds."""
    address: str = ""
    """Where the client is."""
    protocol: int = RESP2
    name: bytes = b""
    library: bytes = b""
    library_version: bytes = b""
    last_command: str = "NULL"
    """The full name of the latest command, as CLIENT LIST shows it; of one that does not exist it is NULL."""
    last_at: float = 0.0
    """When the last command arrived, by the node's clock, seconds."""
    commands: int = 0
    """How many commands the client has sent."""
    transaction: Transaction | None = None
    """The commands between MULTI and EXEC; None: there was no MULTI."""
    watched: dict[bytes, Mark | None] = attrs.field(factory=dict)
    """The watched keys, each with its revision when it was watched; None: the store has not answered yet."""
    steps: "Steps | None" = None
    """A command that is under way and takes several submissions."""
    follower_reads: "FollowerReads | None" = None
    """How this node answers reads while it is a follower; None: it redirects the client to the leader."""
    channels: set[bytes] = attrs.field(factory=set)
    patterns: set[bytes] = attrs.field(factory=set)
    push: Callable[[bytes], object] = _drop
    """Writes pushes: messages of subscriptions and watches."""
    end_watches: Callable[[], object] = _end_none
    """Ends the watches that KV.WATCH has begun."""
    last_words: bytes | None = None
    """After these replies the connection closes, and nothing more is read."""

    def reset(self) -> None:
        """Return to the state of a new connection (RESET)."""
        self.protocol = RESP2
        self.name = b""
        self.transaction = None
        self.watched = {}  # a look-up that is under way writes into the old one
        self.follower_reads = None
