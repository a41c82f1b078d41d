"""The turn, as the parts see it that bring it something to do."""

from collections.abc import Callable
from typing import Protocol


class Turn(Protocol):
    """Carries out, at the end of the reactor's iteration, what has come together. `Replica` is the turn."""

    is_due: bool
    """Whether one follows, by a call of its own or at the end of what is under way."""
    is_stopped: bool
    """Whether none follows any more."""

    def schedule(self) -> None:
        """Let one follow."""
        ...

    def run(self) -> None:
        """Run one now."""
        ...

    def let(self, event: Callable[..., None], *news: object) -> None:
        """Let the node take an event; a bug in the core stops this node.

        Raises:
            MessageRefused: the event is what no honest member sends.
        """
        ...

    def tell(self, event: Callable[..., None], *news: object) -> None:
        """Let the node take an event, and carry out what it makes of it in the turn that follows; see `let`."""
        ...
