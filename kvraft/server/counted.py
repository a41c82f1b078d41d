"""A database that counts its requests, for a server that sends one at a time."""

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

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
from kvraft.metrics import RequestCounts
from kvraft.server.database import Database

Reply = Callable[[Sequence[Result] | Exception], object]


class CountedDatabase:
    """Forwards all calls; see `kvraft.server.database.Database`. A `Session` counts by itself, which costs less."""

    def __init__(self, database: Database, counts: RequestCounts, clock: IReactorTime) -> None:
        self._database = database
        self._counts = counts
        self._clock = clock
        self.administer: Callable[[Caller, AdminCommand], Deferred[dict[str, object]]] = database.administer
        self.watch: Callable[[Caller, Selection, Sink], Subscription] = database.watch
        self.cluster: Callable[[], ClusterView] = database.cluster
        self.follow_leader: Callable[[Callable[[], object]], None] = database.follow_leader
        self.publish: Callable[[Caller, bytes, bytes], None] = database.publish
        self.follow_messages: Callable[[Callable[[bytes, bytes], object]], None] = database.follow_messages
        self.status: Callable[[Caller], dict[str, object]] = database.status

    def ask(self, caller: Caller, operations: Sequence[Operation], reply: Reply) -> None:
        """Execute `operations`, and count them with their outcome."""
        self._database.ask(caller, operations, self._counting(operations, reply))

    def acquire(self, caller: Caller, request: AcquireLock, reply: Reply) -> Callable[[], None]:
        """Request a lock, and count that with its outcome."""
        return self._database.acquire(caller, request, self._counting([request], reply))

    def _counting(self, operations: Sequence[Operation], reply: Reply) -> Reply:
        began = self._clock.seconds()

        def answered(outcome: Sequence[Result] | Exception) -> None:
            self._counts.note(operations, outcome, self._clock.seconds() - began)
            reply(outcome)

        return answered
