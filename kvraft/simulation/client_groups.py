"""All clients of one kind in a run."""

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from kvraft.simulation.revisions import Asked


class Asking(Protocol):
    """A client that sends requests until it is stopped."""

    is_idle: bool

    def begin(self) -> None:
        """Begin to send requests."""
        ...

    def stop(self) -> None:
        """Send no more requests."""
        ...


class Judged(Asking, Protocol):
    """A client whose requests are checked against a replay of the log."""

    asked: list[Asked]


_Client = TypeVar("_Client", bound=Asking)
_Judged = TypeVar("_Judged", bound=Judged)


class Group(Generic[_Client]):
    """The clients of this kind in a run, if it has any."""

    def __init__(self, clients: Sequence[_Client]) -> None:
        self._clients = clients

    @property
    def take_part(self) -> bool:
        """Whether the run has such clients."""
        return bool(self._clients)

    @property
    def are_idle(self) -> bool:
        """Whether every request is answered."""
        return all(client.is_idle for client in self._clients)

    def begin(self) -> None:
        """Start all of them."""
        for client in self._clients:
            client.begin()

    def stop(self) -> None:
        """Send no more requests."""
        for client in self._clients:
            client.stop()


class JudgedGroup(Group[_Judged]):
    """The clients of a kind whose requests are checked against a replay of the log."""

    @property
    def asked(self) -> Sequence[Asked]:
        """All requests."""
        return [each for client in self._clients for each in client.asked]
