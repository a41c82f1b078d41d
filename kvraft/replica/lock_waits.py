"""Clients of this node that wait for a lock.

The queue of each lock and its grants are replicated state. This module keeps only the reply callbacks of the clients
connected here. A wait is answered when an applied entry grants the request, ends its wait, or replaces it by a later
request of the same owner. A request that was passed on may be settled here before the leader's answer says that it is
queued, and a snapshot may cover what settled it: then the state of the lock says what became of it.

If the client disconnects first, the request is withdrawn by a log entry; a member that has forwarded the request to the
leader forwards the withdrawal, too. When this node stops leading, every wait is answered with an error that asks the
client to repeat the request at the leader: its place in the queue stays until its wait ends.
"""

from collections.abc import Callable, Sequence

from kvraft.commands import AcquireLock, Caller, Failure, Granted, Mutation, Operation, Queued, Result, WithdrawRequest
from kvraft.commands.lock_values import SUPERSEDED, Told
from kvraft.errors import OutcomeUnknown, RequestFailed
from kvraft.replica.submissions import Reply
from kvraft.store.locks import Locks

Ask = Callable[[Caller, Sequence[Operation], Reply], None]


class Wait:
    """One request for a lock. It is answered once, unless the client gives up first."""

    __slots__ = ("_ask", "_caller", "_waits", "is_over", "reply", "request", "ticket")

    def __init__(self, waits: "LockWaits", ask: Ask, caller: Caller, request: AcquireLock, reply: Reply) -> None:
        self._waits = waits
        self._ask = ask
        self._caller = caller
        self.request = request
        self.reply = reply
        self.ticket = 0
        """The request's number in the replicated queue; 0: not known yet."""
        self.is_over = False
        """Whether it was answered or given up, so that no reply may follow."""

    def give_up(self) -> None:
        """Withdraw the request unless it was answered. May be called again."""
        if not self.is_over:
            self.is_over = True
            if self.ticket:
                self._waits.withdraw(self)

    def ask(self, operation: Operation) -> None:
        """Submit another operation of the same client; its outcome is not reported."""
        self._ask(self._caller, [operation], lambda _: None)

    def answered(self, outcome: list[Result] | RequestFailed) -> None:
        """Take the outcome of the request's log entry: granted, queued, or failed."""
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
        """Answer the client, unless it was answered or has given up."""
        if not self.is_over:
            self.is_over = True
            self.reply(outcome)


class LockWaits:
    """The queued requests of clients connected here, by ticket.

    Args:
        propose: proposes a mutation if this node leads, and returns whether it does; the outcome is not reported.
        locks: returns the replicated locks.
    """

    def __init__(self, propose: Callable[[Mutation], bool], locks: Callable[[], Locks]) -> None:
        self._propose = propose
        self._locks = locks
        self._queued: dict[int, Wait] = {}

    def begin(self, ask: Ask, caller: Caller, request: AcquireLock, reply: Reply) -> Callable[[], None]:
        """Submit `request` with `ask`; return the function that gives it up.

        See `kvraft.server.database.Database.acquire`.
        """
        wait = Wait(self, ask, caller, request, reply)
        ask(caller, [request], wait.answered)
        return wait.give_up

    def add(self, wait: Wait) -> None:
        """Take a request that the leader has queued, unless this node has already applied what settled it."""
        outcome = self._settled(wait)
        if outcome is None:
            self._queued[wait.ticket] = wait
        else:
            wait.end(outcome)

    def replaced(self) -> None:
        """Answer the waits whose requests were settled by entries that an installed snapshot covers."""
        for wait in [*self._queued.values()]:
            outcome = self._settled(wait)
            if outcome is not None:
                del self._queued[wait.ticket]
                wait.end(outcome)

    def _settled(self, wait: Wait) -> list[Result] | RequestFailed | None:
        """Return what became of a queued request, by the state of the lock; None: it waits, or is not applied here."""
        locks, ticket = self._locks(), wait.ticket
        for each in locks.told:
            if each.ticket == ticket:
                return [_outcome(wait.request, each)]
        lock = locks.get(wait.request.name)
        waiters = () if lock is None else lock.waiters
        if ticket > locks.last or any(waiter.ticket == ticket for waiter in waiters):
            return None
        if lock is not None and lock.ticket == ticket:
            return [Granted(lock.token, wait.request.ttl_us, ticket)]
        return OutcomeUnknown(
            "the request was settled before this node was told that it was queued: ask again with the same OWNER"
        )

    def withdraw(self, wait: Wait) -> None:
        """Remove a request from the replicated queue, by a log entry."""
        self._queued.pop(wait.ticket, None)
        withdrawal = WithdrawRequest(wait.request.name, wait.ticket)
        if not self._propose(withdrawal):
            wait.ask(withdrawal)

    def settle(self, told: Sequence[Told]) -> None:
        """Answer the waits whose requests an applied entry has settled."""
        for each in told:
            wait = self._queued.pop(each.ticket, None)
            if wait is not None:
                wait.end([_outcome(wait.request, each)])

    def end_leadership(self) -> None:
        """Answer every wait: the client must ask the new leader."""
        self._end(
            "this node does not lead any more; the place in the queue stays until the wait ends: ask again with the "
            "same OWNER at the leader"
        )

    def stop(self) -> None:
        """Answer every wait: this node is being stopped, and the client must ask another."""
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
