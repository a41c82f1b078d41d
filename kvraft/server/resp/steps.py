"""Commands that take several submissions, so that none of them is long: KEYS and FLUSHALL.

Nothing else of the connection is carried out before the last step is answered. The steps before it are answered with
nothing. When one fails or is refused, that is the answer, and there are no more.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from kvraft.commands import Operation

if TYPE_CHECKING:
    from kvraft.server.resp.connection_state import Connection
    from kvraft.server.resp.table import Ask

Step = Operation | bytes
"""What is asked next, or the reply."""


@attrs.define(eq=False)
class Steps:
    """One such command that is under way."""

    _go_on: Callable[[Any], Step]
    """Makes the next step of the result of the last one."""
    following: Operation | None = None
    """What is to be asked next; None while something is asked, and when there is no more."""

    @classmethod
    def begin(cls, connection: "Connection", first: Operation, go_on: Callable[[Any], Step]) -> "Ask":
        """Return the first step of a command whose others come after it."""
        from kvraft.server.resp.table import Ask  # it imports what imports this

        connection.steps = steps = cls(go_on)
        return Ask(first, (steps.answered, steps.answered))

    def answered(self, result: Any) -> bytes:
        """Take the result of a step; return what is answered now."""
        step = self._go_on(result)
        if isinstance(step, bytes):
            return step
        self.following = step
        return b""
