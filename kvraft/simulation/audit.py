"""What a node owes a client on one connection: nothing closes while an answer is owed (docs/protocol.md).

It is counted at the node's end, in lines: what was delivered to the process, and what the process has answered.
"""

import attrs


@attrs.define(eq=False)
class Audit:
    """The lines of one connection."""

    asked: int = 0
    """Lines that the process was given."""
    answered: int = 0
    """Lines that it has written."""
    is_line_begun: bool = False
    """Whether it was given a piece of a line, which the end of the client's stream makes a whole one."""

    def delivered(self, data: bytes) -> None:
        """Count what the process is given."""
        self.asked += data.count(b"\n")
        self.is_line_begun = not data.endswith(b"\n")

    def stream_ended(self) -> None:
        """Note that no more will come."""
        self.asked += self.is_line_begun
        self.is_line_begun = False

    def written(self, data: bytes) -> None:
        """Count what the process answers."""
        self.answered += data.count(b"\n")

    @property
    def owed(self) -> int:
        """How many answers are owed."""
        return self.asked - self.answered
