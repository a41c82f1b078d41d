"""What the servers need of the node behind them: the seam that the replica implements."""

from collections.abc import Callable, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred

from kvraft.commands import AdminCommand, Operation, Result


class Database(Protocol):
    """Carries out what clients ask."""

    def ask(self, operations: Sequence[Operation], tell: Callable[[Sequence[Result] | Exception], object]) -> None:
        """Carry out `operations` in order, as if nothing came between the reads and the writes of one submission.

        `tell` is called once, perhaps before `ask` returns: with one result an operation, in their order, when all
        writes among them are durable on a majority and every read is linearizable; or with the reason why there are no
        results, a `kvraft.errors.RequestFailed`, for all operations alike. It must not raise. Nobody can take a call
        back: a client that has gone does not take back what it has asked.
        """
        ...

    def administer(self, command: AdminCommand) -> Deferred[dict[str, object]]:
        """Carry out what an operator asks; the Deferred fires with what to tell, in values that JSON can hold.

        It fails with `kvraft.errors.RequestFailed` when it cannot be done, or when nobody knows whether it was.
        """
        ...

    def status(self) -> dict[str, object]:
        """Describe this node, in values that JSON can hold. Cheap, and changes nothing."""
        ...
