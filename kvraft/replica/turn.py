"""The interface of the turn, for the modules that give it work."""

from collections.abc import Callable
from typing import Protocol


class Turn(Protocol):
    """Carries out the queued work at the end of the reactor's iteration. `Replica` implements it."""

    is_due: bool
    """Whether a turn will run, because it is scheduled or because the caller of an event will run it."""
    is_stopped: bool
    """Whether the node was stopped: no further turn runs."""

    def schedule(self) -> None:
        """Schedule a turn, unless one is due."""
        ...

    def run(self) -> None:
        """Run a turn now."""
        ...

    def let(self, event: Callable[..., None], *news: object) -> None:
        """Let the node take an event; an unexpected exception stops this node.

        Raises:
            MessageRefused: no correct member can have sent the message.
        """
        ...

    def tell(self, event: Callable[..., None], *news: object) -> None:
        """Let the node take an event, and schedule a turn for its effects; see `let`."""
        ...
