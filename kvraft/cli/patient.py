"""The client of the `kvraft` command: while it waits, a terminal shows so."""

from typing import Final, TypeVar

from kvraft.cli.progress import Progress
from kvraft.client import Client
from kvraft.client.link import SILENCE_S
from kvraft.client.requests import Request

T = TypeVar("T")

WAITS: Final = "waiting for the cluster"


class PatientClient(Client):
    """A client that shows that it waits; see `kvraft.cli.progress`.

    Args:
        nodes: where the cluster is, as `Client` takes it.
        timeout: seconds that a request may take, with all attempts.
        output: the `-o` of the command.
        silence: seconds after which a node that owes an answer and sends nothing is given up.
        waits: what is shown.
    """

    def __init__(
        self, nodes: str | None, timeout: float, output: str, *, silence: float = SILENCE_S, waits: str = WAITS
    ) -> None:
        super().__init__(nodes, timeout=timeout, exactly_once=False, silence=silence)
        self._output = output
        self._waits = waits

    def execute(self, request: Request[T], timeout: float | None = None) -> T:
        """Carry out a request."""
        with Progress(self._waits, self._output):
            return super().execute(request, timeout)
