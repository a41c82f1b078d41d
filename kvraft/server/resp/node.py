"""What all Redis connections of one node share: the leader they wait for, their numbers, and their subscriptions."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

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
from kvraft.errors import NotLeaderRefusal
from kvraft.metrics import RequestCounts
from kvraft.server.database import Database
from kvraft.server.limits import ServerLimits
from kvraft.server.resp.channels import Channels
from kvraft.server.resp.connection_state import Connection
from kvraft.server.resp.keyspace_events import KeyspaceEvents
from kvraft.server.resp.members import member as member_of
from kvraft.server.resp.read_budget import ReadBudget

HOLD_S: Final = 5.0
"""Longest time that a command waits for a leader before it is refused with CLUSTERDOWN, seconds."""
LOOK_S: Final = 0.1
"""Time between two checks for a leader, seconds; each change of the leader is a check, too."""

MASTER_NAME: Final = b"mymaster"
"""The name that Sentinel clients use for the leader."""

Reply = Callable[[Sequence[Result] | Exception], object]


class Member(Protocol):
    """A connection as the node sees it."""

    connection: Connection

    def leadership_lost(self) -> None:
        """React to the end of this node's leadership."""
        ...


class Held:
    """One submission of a connection. Without a leader it waits and is submitted again as soon as one is known."""

    __slots__ = ("_patience", "_reply", "caller", "deadline", "operations")

    def __init__(self, patience: "Patience", caller: Caller, operations: Sequence[Operation], reply: Reply) -> None:
        self._patience = patience
        self._reply = reply
        self.caller = caller
        self.operations = operations
        self.deadline: float | None = None
        """Until it is refused; None: it has not had to wait yet."""

    def __call__(self, outcome: Sequence[Result] | Exception) -> None:
        """Pass the results on, or wait for a leader."""
        if type(outcome) is NotLeaderRefusal and outcome.leader_hint is None and self._patience.hold(self):
            return
        self._reply(outcome)


class Patience:
    """A database whose submissions wait while no leader is known, each at most `HOLD_S`, in their order.

    A refusal because there is no leader says that nothing was changed, so the same may be submitted again.
    """

    def __init__(self, database: Database, clock: IReactorTime) -> None:
        self._database = database
        self._clock = clock
        self._waiting: deque[Held] = deque()
        self._timer: IDelayedCall | None = None
        self.administer: Callable[[Caller, AdminCommand], Deferred[dict[str, object]]] = database.administer
        self.acquire: Callable[[Caller, AcquireLock, Reply], Callable[[], None]] = database.acquire
        self.watch: Callable[[Caller, Selection, Sink], Subscription] = database.watch
        self.cluster: Callable[[], ClusterView] = database.cluster
        self.follow_leader: Callable[[Callable[[], object]], None] = database.follow_leader
        self.publish: Callable[[Caller, bytes, bytes], None] = database.publish
        self.follow_messages: Callable[[Callable[[bytes, bytes], object]], None] = database.follow_messages
        self.status: Callable[[Caller], dict[str, object]] = database.status

    def ask(self, caller: Caller, operations: Sequence[Operation], reply: Reply) -> None:
        """Carry out `operations`, perhaps a little later."""
        self._database.ask(caller, operations, Held(self, caller, operations, reply))

    def hold(self, held: Held) -> bool:
        """Let a submission wait; return False when it has waited long enough."""
        now = self._clock.seconds()
        if held.deadline is None:
            held.deadline = now + HOLD_S
        elif now >= held.deadline:
            return False
        self._waiting.append(held)
        if self._timer is None:
            self._timer = self._clock.callLater(LOOK_S, self._look)
        return True

    def leader_changed(self) -> None:
        """Submit again at once what waits, if a leader is known now."""
        if self._waiting and self.cluster().leader is not None:
            self._ask_again()

    def _look(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        if self.cluster().leader is not None:
            self._ask_again()
        else:
            waiting, self._waiting = self._waiting, deque()
            late: list[Held] = []
            for held in waiting:
                (late if held.deadline is not None and held.deadline <= now else self._waiting).append(held)
            for held in late:
                held(NotLeaderRefusal(None))
        if self._waiting and self._timer is None:
            self._timer = self._clock.callLater(LOOK_S, self._look)

    def _ask_again(self) -> None:
        waiting, self._waiting = self._waiting, deque()
        for held in waiting:
            self._database.ask(held.caller, held.operations, held)


class RespNode:
    """One node, as its Redis connections see it."""

    def __init__(self, database: Database, limits: ServerLimits, clock: IReactorTime) -> None:
        self.database = Patience(database, clock)
        self.limits = limits
        self.clock = clock
        self.started_at = clock.seconds()
        self.members: dict[int, Member] = {}
        """The connections that are open, by their ids."""
        self.connections_made = 0
        self.commands = 0
        """How many were read since the start, by connections that are closed."""
        self.counts = RequestCounts("resp")
        self.read_budget = ReadBudget(clock)
        self.channels = Channels()
        self.keyspace_events = KeyspaceEvents(database, clock, self.channels)
        self.last_leader = database.cluster().leader
        """The member that led last, as far as this node knows."""
        self._led = database.cluster().is_leader
        database.follow_leader(self._leader_changed)
        database.follow_messages(self.channels.publish)

    @property
    def cluster(self) -> ClusterView:
        """The members of the cluster and its leader."""
        return self.database.cluster()

    def make_connection(self) -> Connection:
        """Return the state of a new connection."""
        self.connections_made += 1
        return Connection(self, self.connections_made, self.clock.seconds())

    def opened(self, member: Member) -> None:
        """Take note of an open connection."""
        self.members[member.connection.id] = member

    def closed(self, member: Member) -> None:
        """Take note that a connection is closed."""
        self.channels.drop(member.connection)
        if self.members.pop(member.connection.id, None) is not None:
            self.commands += member.connection.commands

    def _leader_changed(self) -> None:
        view = self.cluster
        led, self._led = self._led, view.is_leader
        if view.leader is not None and view.leader != self.last_leader:
            self._tell_switch(view)
        if led and not self._led and not view.forwards:
            for member in [*self.members.values()]:
                member.leadership_lost()
        self.database.leader_changed()

    def _tell_switch(self, view: ClusterView) -> None:
        """Publish the change of the leader to subscribers, as Sentinel does."""
        before, self.last_leader = self.last_leader, view.leader
        now = member_of(view, view.leader) if view.leader is not None else None
        was = member_of(view, before) if before is not None else now
        if now is not None and was is not None:
            words = f"{MASTER_NAME.decode()} {was.host} {was.port} {now.host} {now.port}"
            self.channels.publish(b"+switch-master", words.encode())
