"""Counts the requests on one connection that a node has not answered; it must not close before (docs/protocol.md).

Lines are counted at the node's end: those delivered to the process, and those that it has answered.
"""

from typing import Any

import attrs

from kvraft.raft import InvariantViolated


@attrs.define(eq=False)
class Audit:
    """The lines of one connection."""

    asked: int = 0
    """Lines that were delivered to the process."""
    answered: int = 0
    """Lines that it has written."""
    is_line_begun: bool = False
    """Whether a part of a line was delivered. The end of the client's stream completes it."""

    def delivered(self, data: bytes) -> None:
        """Count the lines of bytes that are delivered to the process."""
        self.asked += data.count(b"\n")
        self.is_line_begun = not data.endswith(b"\n")

    def stream_ended(self) -> None:
        """Note that the client's stream has ended: a line that is begun is complete."""
        self.asked += self.is_line_begun
        self.is_line_begun = False

    def written(self, data: bytes) -> None:
        """Count the lines that the process writes."""
        self.answered += data.count(b"\n")

    @property
    def owed(self) -> int:
        """How many requests are not answered yet."""
        return self.asked - self.answered


def check_held(end: Any) -> None:
    """Check that the node at the other end of a client's connection holds no input, since it has answered everything.

    What counts as held without being there stops the reading of a connection one day.

    Raises:
        InvariantViolated: it holds some.
    """
    session = getattr(end.peer.protocol, "_speaker", None)
    dialect = getattr(session, "_dialect", None)
    if dialect is not None and dialect.held and end.peer.connected:
        raise InvariantViolated(
            f"{end.peer.machine.name} has answered all requests of a connection, and holds {dialect.held} bytes of it"
        )
