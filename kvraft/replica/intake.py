"""Takes requests from the servers."""

from collections.abc import Callable, Sequence
from functools import partial

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime

from kvraft.commands import (
    AcquireLock,
    AdminCommand,
    Caller,
    ClusterView,
    ListEvents,
    LocalRead,
    Operation,
    Result,
    Selection,
    Sink,
    StaleRead,
    Subscription,
)
from kvraft.commands.bounds import copied_bytes
from kvraft.errors import Overloaded, RequestFailed
from kvraft.raft import Node
from kvraft.replica.administration import Administration
from kvraft.replica.forwarding import Forwarding
from kvraft.replica.group_commit import GroupCommit
from kvraft.replica.limits import LevelTooLow, TooLarge, TransactionTooLarge
from kvraft.replica.local_reads import LocalReads
from kvraft.replica.lock_waits import LockWaits
from kvraft.replica.options import ReplicaOptions
from kvraft.replica.publishing import Publishing
from kvraft.replica.reads import Reads
from kvraft.replica.redirects import Redirects
from kvraft.replica.state import State
from kvraft.replica.state_checksums import StateChecksums
from kvraft.replica.submissions import Deadlines, Reply, Submission, promised
from kvraft.replica.turn import Turn
from kvraft.replica.watches import Watches
from kvraft.store import FEATURE_LEVEL
from kvraft.store.history import HISTORY_LEVEL


class Intake:
    """Takes requests or refuses them; see `kvraft.server.database.Database`.

    Args:
        describe: returns this node's status, in values that JSON can hold.
        connected: returns the members to which this node is connected.
    """

    def __init__(
        self,
        turn: Turn,
        node: Node,
        state: State,
        clock: IReactorTime,
        options: ReplicaOptions,
        *,
        commits: GroupCommit,
        reads: Reads,
        deadlines: Deadlines,
        redirects: Redirects,
        administration: Administration,
        checksums: StateChecksums,
        watches: Watches,
        lock_waits: LockWaits,
        make_run: Callable[[], str],
        describe: Callable[[], dict[str, object]],
        connected: Callable[[], frozenset[int]],
    ) -> None:
        self._turn = turn
        self._node = node
        self._state = state
        self._clock = clock
        self._options = options
        self._surely_taken_bytes = min(TooLarge.size_max, options.transactions.surely_met_bytes)
        """A submission of so many bytes at most is not too large; no other needs a closer look."""
        self._commits = commits
        self._writes = commits.waiting
        self._reads = reads
        self._deadlines = deadlines
        self._redirects = redirects
        self._administration = administration
        self._checksums = checksums
        self._watches = watches
        self._lock_waits = lock_waits
        self._describe = describe
        self._connected = connected
        self._followers: list[Callable[[], object]] = []
        self.forwarding = Forwarding(node, state, clock, make_run, self._lead, self._lead_own, turn.schedule)
        self.local_reads = LocalReads(state, clock, self.forwarding, self._ask_leader)
        self.publishing = Publishing(state, clock)

    def ask(self, caller: Caller, operations: Sequence[Operation], reply: Reply) -> None:
        """Carry out `operations`; see `kvraft.server.database.Database`."""
        submission = Submission(operations, self._clock.seconds() + self._options.request_timeout, reply)
        if self._turn.is_stopped:
            submission.answer(self._checksums.why_stopped())
        elif not self._node.is_leader:
            self._follow(caller, submission)
        elif (refusal := self._take(submission)) is not None:
            submission.answer(refusal)
        else:
            self._deadlines.watch(submission)

    def _lead_own(self, submission: Submission) -> None:
        """Carry out a request that waited here for a leader, since this node leads now.

        It keeps its deadline: a second submission in its place could be in the log when this one says that nothing was
        changed.
        """
        if (refusal := self._take(submission)) is not None:
            submission.refuse(refusal)

    def _take(self, submission: Submission) -> RequestFailed | None:
        """Let a submission wait for a turn of this leader, or return why it is refused."""
        if submission.size > self._surely_taken_bytes and (refusal := self._too_large(submission)) is not None:
            return refusal
        level = self._state.store.feature_level
        if level < FEATURE_LEVEL and submission.level > level:
            return LevelTooLow(submission.level, level)
        if not submission.writes:
            self._reads.append(submission)
        elif not self._writes.append(submission, self._options.waiting_bytes_max):
            return Overloaded("too many writes wait for a majority; try again in a moment")
        if not (self._turn.is_due or (submission.writes and self._commits.must_wait())):
            self._turn.schedule()
        return None

    def _too_large(self, submission: Submission) -> RequestFailed | None:
        """Return why a submission is more than this node takes.

        At a leader, count the values that it copies as well, so that one entry holds few appends to long values.
        """
        if submission.size > TooLarge.size_max:
            return TooLarge(submission.size)
        excess = self._options.transactions.excess(submission.operations)
        if excess is not None:
            return TransactionTooLarge(excess)
        if self._node.is_leader:
            submission.size += sum(copied_bytes(each, self._value_bytes) for each in submission.operations)
        return None

    def _value_bytes(self, key: bytes) -> int:
        item = self._state.store.keys.get(key)
        return 0 if item is None else len(item.value)

    def _lead(self, caller: Caller, operations: Sequence[Operation], tell: Reply) -> None:
        """Carry out a forwarded request if this node leads; otherwise refuse it."""
        if self._node.is_leader or self._turn.is_stopped:
            self.ask(caller, operations, tell)
        else:
            tell(self._redirects.error())

    def _follow(self, caller: Caller, submission: Submission) -> None:
        """Answer reads here, or forward the submission, if that was requested; otherwise refuse it with the leader."""
        forwards = self._options.forwards or caller.forwards
        reads_here = not submission.writes and all(
            isinstance(each, StaleRead | LocalRead) or forwards for each in submission.operations
        )
        only_stale = all(isinstance(each, StaleRead) for each in submission.operations)
        if submission.size > self._surely_taken_bytes and (refusal := self._too_large(submission)) is not None:
            submission.answer(refusal)
        elif reads_here and (only_stale or self.forwarding.is_possible):
            self._deadlines.watch(submission)
            self.local_reads.take(submission)
        elif not (forwards and self.forwarding.is_possible):
            submission.answer(self._redirects.error())
        elif submission.level > (level := self._state.store.feature_level):  # an earlier leader could not read it
            submission.answer(LevelTooLow(submission.level, level))
        else:
            self._deadlines.watch(submission)
            if not self.forwarding.take(caller, submission):
                submission.answer(self._redirects.error())

    def _ask_leader(self, operations: Sequence[Operation], tell: Reply) -> None:
        """Forward operations of this node's own to the leader."""
        submission = Submission(operations, self._clock.seconds() + self._options.request_timeout, tell)
        self._deadlines.watch(submission)
        self.forwarding.take(Caller("this node"), submission)

    def look(self) -> None:
        """Continue with requests that wait for a leader or for entries to be applied; called in every turn."""
        if self.forwarding.parked or self.forwarding.under_way:
            self.forwarding.look()
        if self.local_reads.proofs:
            self.local_reads.look()

    def submit(self, caller: Caller, operations: Sequence[Operation]) -> Deferred[list[Result]]:
        """Do what `ask` does, with a Deferred in place of the callback."""
        return promised(partial(self.ask, caller, operations))

    def acquire(self, caller: Caller, request: AcquireLock, reply: Reply) -> Callable[[], None]:
        """Ask for a lock; see `kvraft.server.database.Database`."""
        return self._lock_waits.begin(self.ask, caller, request, reply)

    def administer(self, caller: Caller, command: AdminCommand) -> Deferred[dict[str, object]]:
        """Carry out an administrative command; see `kvraft.server.database.Database`."""
        if self._turn.is_stopped and not isinstance(command, ListEvents):
            return fail(self._checksums.why_stopped())
        self._turn.schedule()
        return self._administration.carry_out(caller, command, self._clock.seconds())

    def watch(self, caller: Caller, selection: Selection, sink: Sink) -> Subscription:
        """Begin a watch; see `kvraft.server.database.Database`."""
        if self._turn.is_stopped:
            raise self._checksums.why_stopped()
        level = self._state.store.feature_level
        if level < HISTORY_LEVEL:
            raise LevelTooLow(HISTORY_LEVEL, level)
        return self._watches.add(selection, sink)

    def publish(self, caller: Caller, channel: bytes, message: bytes) -> None:
        """Send a published message to the other members; see `kvraft.server.database.Database`."""
        if not self._turn.is_stopped:
            self.publishing.publish(channel, message)

    def follow_messages(self, tell: Callable[[bytes, bytes], object]) -> None:
        """Call `tell` with each message from another member; see `kvraft.server.database.Database`."""
        self.publishing.follow(tell)

    @property
    def watch_count(self) -> int:
        """The number of watches on this node."""
        return self._watches.count

    def cluster(self) -> ClusterView:
        """Return the leader and the members; see `kvraft.server.database.Database`."""
        soft, membership = self._node.soft_state, self._node.membership
        return ClusterView(
            self._node.id,
            soft.leader,
            soft.term,
            membership.addresses,
            membership.voters,
            self._connected(),
            self._options.forwards and self.forwarding.is_possible,
        )

    def follow_leader(self, tell: Callable[[], object]) -> None:
        """Call `tell` at each change of the leader; see `kvraft.server.database.Database`."""
        self._followers.append(tell)

    def leader_changed(self) -> None:
        """Call the callbacks of `follow_leader`: the role, the term or the known leader has changed."""
        for tell in self._followers:
            tell()

    def status(self, caller: Caller) -> dict[str, object]:
        """Describe this node, in values that JSON can hold."""
        return self._describe()
