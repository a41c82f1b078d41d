"""The interface of the servers to their node, which the replica implements."""

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
    """Executes the requests of clients. Each call names its caller."""

    def ask(
        self, caller: Caller, operations: Sequence[Operation], reply: Callable[[Sequence[Result] | Exception], object]
    ) -> None:
        """Execute `operations` in order, as if nothing came between the reads and the writes of one submission.

        `reply` is called once, perhaps before `ask` returns. It gets one result for each operation, in their order,
        when all writes among them are durable on a majority and every read is linearizable. Or it gets a
        `kvraft.errors.RequestFailed`, the reason why no operation has a result. It must not raise. A call cannot be
        withdrawn, even if the client disconnects.
        """
        ...

    def administer(self, caller: Caller, command: AdminCommand) -> Deferred[dict[str, object]]:
        """Execute an operator's command; the Deferred fires with the answer, in values that JSON can hold.

        It fails with `kvraft.errors.RequestFailed` when it cannot be done, or when it is unknown whether it was done.
        """
        ...

    def watch(self, caller: Caller, selection: Selection, sink: Sink) -> Subscription:
        """Deliver all changes of `selection` to `sink`, until the subscription is cancelled or the sink closed.

        Nothing is delivered before this returns. Every member can serve a watch.

        Raises:
            kvraft.errors.RequestFailed: the watch cannot begin.
        """
        ...

    def cluster(self) -> ClusterView:
        """Return the members of the cluster and its leader in the view of this node."""
        ...

    def follow_leader(self, tell: Callable[[], object]) -> None:
        """Call `tell` at each change of the leader or the term, as long as this node runs. `tell` must not raise."""
        ...

    def publish(self, caller: Caller, channel: bytes, message: bytes) -> None:
        """Send a message to all followers of messages at those other members that can be reached.

        Messages are not stored, and any may be lost; those that arrive do so in order.
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
        reason why there is none, as by `ask`. The returned function gives the request up: `reply` is not called any
        more, and if it was not called before, the request is withdrawn together with its place in the queue or the
        lock itself. The function may be called again.
        """
        ...

    def status(self, caller: Caller) -> dict[str, object]:
        """Return the status of this node, in values that JSON can hold. Cheap, and without effect."""
        ...
