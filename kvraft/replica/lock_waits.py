"""Clients of this node that wait for a lock.

Who waits for which lock, and who is granted it, stands in the log. Here is only whom to tell of it: when an entry is
applied by which a request is granted, has waited long enough, or is replaced by another of the same owner. A client
that goes before it was told takes its request back. When this node does not lead any more, those who wait are told that
they must ask again: their places stay theirs until their waits end.
"""

from collections.abc import Callable, Sequence

from kvraft.commands import AcquireLock, Caller, Failure, Granted, Mutation, Operation, Queued, Result, WithdrawRequest
from kvraft.commands.lock_values import SUPERSEDED, Told
from kvraft.errors import OutcomeUnknown, RequestFailed
from kvraft.replica.submissions import Reply

Ask = Callable[[Caller, Sequence[Operation], Reply], None]


class Wait:
    """One request for a lock; whoever made it is told once, unless it gives up."""

    __slots__ = ("_waits", "is_over", "reply", "request", "ticket")

    def __init__(self, waits: "LockWaits", request: AcquireLock, reply: Reply) -> None:
        self._waits = waits
        self.request = request
        self.reply = reply
        self.ticket = 0
        """By which the log knows it; 0: not yet."""
        self.is_over = False
        """Whether there is nobody to be told any more."""

    def give_up(self) -> None:
        """Take the request back, if nothing has come of it. May be called again."""
        if not self.is_over:
            self.is_over = True
            if self.ticket:
                self._waits.withdraw(self)

    def answered(self, outcome: list[Result] | RequestFailed) -> None:
        """Take what the request has come to."""
        result = None if isinstance(outcome, RequestFailed) else outcome[0]
        if isinstance(result, Queued | Granted):
            self.ticket = result.ticket
        if self.is_over:
            if self.ticket:
                self._waits.withdraw(self)
        elif isinstance(result, Queued):
            self._waits.add(self)
        else:
            self.end(outcome)

    def end(self, outcome: list[Result] | RequestFailed) -> None:
        """Reply the client, if it is still there."""
        if not self.is_over:
            self.is_over = True
            self.reply(outcome)


class LockWaits:
    """The requests that wait, by their tickets.

    Args:
        propose: lets a mutation be proposed if this node leads; nobody is told what comes of it.
    """

    def __init__(self, propose: Callable[[Mutation], None]) -> None:
        self._propose = propose
        self._queued: dict[int, Wait] = {}

    def begin(self, ask: Ask, caller: Caller, request: AcquireLock, reply: Reply) -> Callable[[], None]:
        """Ask for a lock with `ask`, which takes what clients ask; see `kvraft.server.database.Database.acquire`."""
        wait = Wait(self, request, reply)
        ask(caller, [request], wait.answered)
        return wait.give_up

    def add(self, wait: Wait) -> None:
        """Take note of a request that waits."""
        self._queued[wait.ticket] = wait

    def withdraw(self, wait: Wait) -> None:
        """Take a request back."""
        self._queued.pop(wait.ticket, None)
        self._propose(WithdrawRequest(wait.request.name, wait.ticket))

    def settle(self, told: Sequence[Told]) -> None:
        """Reply those who wait here what has become of their requests."""
        for each in told:
            wait = self._queued.pop(each.ticket, None)
            if wait is not None:
                wait.end([_outcome(wait.request, each)])

    def end_leadership(self) -> None:
        """Let those who wait ask elsewhere."""
        self._end(
            "this node does not lead any more; the place in the queue stays until the wait ends: ask again with the "
            "same OWNER at the leader"
        )

    def stop(self) -> None:
        """Let those who wait ask elsewhere, as this node is being stopped."""
        self._end("this node was stopped; the place in the queue stays until the wait ends: ask another node")

    def _end(self, why: str) -> None:
        queued, self._queued = self._queued, {}
        for wait in queued.values():
            wait.end(OutcomeUnknown(why))


def _outcome(request: AcquireLock, told: Told) -> Granted | Failure:
    if told.token == SUPERSEDED:
        return Failure("SUPERSEDED", "the same owner has asked again; the later request has the place of this one")
    if not told.token:
        return Failure("LOCK_TIMEOUT", "the lock did not become free in time; the place in the queue is given up")
    return Granted(told.token, request.ttl_us, told.ticket)
