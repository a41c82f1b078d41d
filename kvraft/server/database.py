"""What the servers need of the node behind them: the seam that the replica implements."""

from collections.abc import Callable, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred

from kvraft.commands import (
    AcquireLock,
    AdminCommand,
    Caller,
    ClusterView,
    Operation,
    Result,
    Selection,
    Sink,
    Subscription,
)


class Database(Protocol):
    """Carries out what clients ask. Each call says who asks."""

    def ask(
        self, caller: Caller, operations: Sequence[Operation], reply: Callable[[Sequence[Result] | Exception], object]
    ) -> None:
        """Carry out `operations` in order, as if nothing came between the reads and the writes of one submission.

        `reply` is called once, perhaps before `ask` returns: with one result an operation, in their order, when all
        writes among them are durable on a majority and every read is linearizable; or with the reason why there are no
        results, a `kvraft.errors.RequestFailed`, for all operations alike. It must not raise. Nobody can take a call
        back: a client that has gone does not take back what it has asked.
        """
        ...

    def administer(self, caller: Caller, command: AdminCommand) -> Deferred[dict[str, object]]:
        """Carry out what an operator asks; the Deferred fires with what to tell, in values that JSON can hold.

        It fails with `kvraft.errors.RequestFailed` when it cannot be done, or when nobody knows whether it was.
        """
        ...

    def watch(self, caller: Caller, selection: Selection, sink: Sink) -> Subscription:
        """Reply `sink` of all changes of `selection`, until the subscription is cancelled or the sink closed.

        Nothing is told before this returns. Every member can be asked.

        Raises:
            kvraft.errors.RequestFailed: it is not possible.
        """
        ...

    def cluster(self) -> ClusterView:
        """Return who belongs to the cluster and who leads it, as far as this node knows."""
        ...

    def follow_leader(self, tell: Callable[[], object]) -> None:
        """Call `tell` at each change of the leader or the term, as long as this node runs. It must not raise."""
        ...

    def publish(self, caller: Caller, channel: bytes, message: bytes) -> None:
        """Tell a message to those who follow messages at the other members, as far as they can be reached.

        It is not stored, and any may be lost; those that arrive do so in their order.
        """
        ...

    def follow_messages(self, tell: Callable[[bytes, bytes], object]) -> None:
        """Call `tell` with each channel and message that is published at another member. It must not raise."""
        ...

    def acquire(
        self, caller: Caller, request: AcquireLock, reply: Callable[[Sequence[Result] | Exception], object]
    ) -> Callable[[], None]:
        """Ask for a lock, and wait for it if the request says so.

        `reply` is called once, perhaps before this returns: with one result, `Granted` or a `Failure`, or with the
        reason why there is none, as by `ask`. What is returned gives the request up: then nothing is told any more, and
        unless something was told the request is taken back, its place in the queue or the lock itself. It may be called
        again.
        """
        ...

    def status(self, caller: Caller) -> dict[str, object]:
        """Describe this node, in values that JSON can hold. Cheap, and changes nothing."""
        ...
