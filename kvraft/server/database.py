"""What the servers need of the node behind them: the seam that the replica implements."""

from collections.abc import Sequence
from typing import Protocol

from twisted.internet.defer import Deferred

from kvraft.commands import AdminCommand, Operation
from kvraft.store.types import Result


class Database(Protocol):
    """Carries out what clients ask."""

    def submit(self, operations: Sequence[Operation]) -> Deferred[list[Result]]:
        """Carry out `operations` in order, as if nothing came between the reads and the writes of one submission.

        The Deferred fires once: with one result an operation, in their order, when all writes among them are durable
        on a majority and every read is linearizable. It may fire before `submit` returns.

        It fails with `kvraft.errors.RequestFailed` when there are no results, for all operations alike. Nobody
        cancels it: a client that has gone does not take back what it has asked.
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
