"""The replica: the one place where node, journal, peers, store and waiting clients meet."""

from collections.abc import Callable, Sequence
from functools import partial

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from kvraft.commands import AdminCommand, Caller, Operation, Result, Selection, Sink, Subscription, encode_batch
from kvraft.config import Address
from kvraft.errors import Overloaded, Unsupported
from kvraft.exits import LastWords, words_for
from kvraft.peers import Facts, Hello
from kvraft.raft import Entry, EntryKind, Membership, Message, MessageRefused, Node, NotLeader, ProposalRefused, Ready
from kvraft.raft.types import Role
from kvraft.replica.administration import Administration
from kvraft.replica.agreement import Agreement
from kvraft.replica.belonging import Belonging
from kvraft.replica.cluster_clock import ClusterClock
from kvraft.replica.handing_over import HandOver
from kvraft.replica.limits import BATCH_BYTES_MAX, READYS_A_TURN_MAX, TURN_GAP_S_MAX, TURN_S_MAX, LevelTooLow, TooLarge
from kvraft.replica.office import BEGINS, first_writes
from kvraft.replica.options import ReplicaOptions
from kvraft.replica.outbox import Nowhere, Outbox
from kvraft.replica.parts import SnapshotParts
from kvraft.replica.proposals import Proposals
from kvraft.replica.reads import Reads
from kvraft.replica.redirects import Redirects
from kvraft.replica.rejoin import Rejoin
from kvraft.replica.replay import Replay
from kvraft.replica.saving import DiskWatch, Saver
from kvraft.replica.snapshotter import Snapshotter
from kvraft.replica.status import describe, log_defect, log_transition
from kvraft.replica.submissions import Batch, Deadlines, Submission, Tell, WriteQueue, lay_out, promised
from kvraft.storage import Snapshot, SnapshotStorage, Storage
from kvraft.store import FEATURE_LEVEL, Store


class Replica:
    """Takes submissions from servers and messages from peers, and carries out what the node makes of them, in turns.

    An event only changes the node or joins a queue; one *turn* at the end of the reactor's iteration proposes what has
    come together as one entry, asks for one read round, and carries out everything that the node wants done.

    Args:
        fatal: called once, with a sentence for the log, when this node must not go on.
    """

    _log = Logger(namespace="kvraft.replica")

    def __init__(
        self,
        *,
        node: Node,
        store: Store,
        storage: Storage,
        snapshots: SnapshotStorage,
        clock: IReactorTime,
        make_cluster_id: Callable[[], str],
        make_snapshot_id: Callable[[], str],
        fatal: Callable[[str], None],
        rejoin: Rejoin | None = None,
        options: ReplicaOptions | None = None,
    ) -> None:
        self.node = node
        self.store = store
        self._storage = storage
        self._peers: Outbox = Nowhere()
        self._clock = clock
        self._make_cluster_id = make_cluster_id
        self._fatal = fatal
        self._rejoin = rejoin
        self._options = options or ReplicaOptions()
        self._saver = Saver(storage, self._became_durable, self._save_failed)
        self._disk_watch = DiskWatch(node, storage, self._options.disk_stall_max)
        parts = SnapshotParts(
            node=node,
            storage=storage,
            snapshots=snapshots,
            clock=clock,
            send=lambda to, message: self._peers.send([(to, message)]),
            promise=lambda to, message: self._tell(self.node.promise, to, message),
            failed=self._snapshot_failed,
        )
        self._snapshotter = Snapshotter(
            parts, self._options.snapshots, make_id=make_snapshot_id, installer=self, sent=self._snapshot_sent
        )
        self._redirects = Redirects(node, lambda: self._administration.is_transferring)
        timeout = self._options.request_timeout
        self._administration = Administration(
            node, self._redirects.error, self._begin_snapshot, snapshots, timeout, self._outbox, self._feature_level
        )
        self._cluster_clock = ClusterClock()
        self._deadlines = Deadlines()
        self._hand_over = HandOver(node, clock, self._redirects, self._deadlines, self._schedule_turn)
        self._writes = WriteQueue()
        self._unapplied: Sequence[Entry] = ()
        """Committed entries that are not applied yet because a save is under way."""
        self._reads = Reads(node, self._redirects.refuse)
        self._proposals = Proposals()
        self._cluster_told: str | None = None
        self._belonging = Belonging(node, clock, self._depart, lambda: self.store)
        self._replay: Replay | None = None
        """As long as the log that was read at the start is not applied."""
        self._turn: IDelayedCall | None = None
        self._turn_is_due = False
        """Whether a turn follows, be it `_turn` or at the end of what is under way."""
        self._timer: IDelayedCall | None = None
        self._stopped = False
        self._agreement = Agreement(node)

    # What servers ask (`kvraft.server.Database`).

    def ask(self, caller: Caller, operations: Sequence[Operation], tell: Tell) -> None:
        """Carry out `operations`; see `kvraft.server.database.Database`."""
        submission = Submission(operations, self._clock.seconds() + self._options.request_timeout, tell)
        if self._stopped:
            submission.answer(self._agreement.why_stopped())
        elif not self.node.is_leader:
            submission.answer(self._redirects.error())
        elif submission.size > TooLarge.size_max:
            submission.answer(TooLarge(submission.size))
        elif self.store.feature_level < FEATURE_LEVEL and submission.level > self.store.feature_level:
            submission.answer(LevelTooLow(submission.level, self.store.feature_level))
        elif submission.writes and not self._writes.append(submission, self._options.waiting_bytes_max):
            submission.answer(Overloaded("too many writes wait for a majority; try again in a moment"))
        else:
            if not submission.writes:
                self._reads.append(submission)
            self._deadlines.watch(submission)
            if not (self._turn_is_due or (submission.writes and self._must_wait())):
                self._schedule_turn()

    def submit(self, caller: Caller, operations: Sequence[Operation]) -> Deferred[list[Result]]:
        """Do what `ask` does, for whoever would rather have a Deferred."""
        return promised(partial(self.ask, caller, operations))

    def administer(self, caller: Caller, command: AdminCommand) -> Deferred[dict[str, object]]:
        """Carry out what an operator asks; see `kvraft.server.database.Database`."""
        if self._stopped:
            return fail(self._agreement.why_stopped())
        self._schedule_turn()
        return self._administration.carry_out(caller, command, self._clock.seconds())

    def watch(self, caller: Caller, selection: Selection, sink: Sink) -> Subscription:
        """Tell of changes; see `kvraft.server.database.Database`."""
        raise Unsupported("this kvraft keeps no history of changes, so it cannot watch any; ask for the keys again")

    def status(self, caller: Caller) -> dict[str, object]:
        """Describe this node, in values that JSON can hold."""
        return describe(self.node, self.store, self._storage, self._peers.status(), self._agreement.differs_at)

    # What peers tell (`kvraft.peers.PeerReceiver`).

    def receive(self, sender: int, messages: Sequence[Message]) -> None:
        """Take what arrived from `sender`; raises MessageRefused when it must be disconnected."""
        if self._stopped:
            return
        if self._rejoin is not None:
            messages = self._rejoin.admit(messages)
        # A leader's turn waits for what else comes in this iteration. The others hear from their leader alone, who has
        # batched already.
        at_once = not self._turn_is_due and not self.node.is_leader
        self._turn_is_due |= at_once
        try:
            self._let(self._step, sender, messages, self._clock.seconds())
        finally:
            if at_once and not self._stopped:
                self._run_turn()
            elif not self._turn_is_due and (
                self.node.has_ready() or self.node.states.reports
            ):  # the answer to a heartbeat is often all there is
                self._schedule_turn()

    def hello(self, hello: Hello) -> None:
        """Take what a peer says of itself when a connection begins."""
        if not self._stopped:
            self._tell(self._belonging.hello, hello)
            if self._rejoin is not None:
                self._tell(self._rejoin.hello, hello)

    def admits(self, hello: Hello, ours: str | None) -> Address | None:
        """Return where a node is reached that is no member here and is talked to; None: it is not."""
        return None if self._stopped else self._belonging.admits(hello, ours)

    def refused(self, peer: int, code: str, message: str) -> None:
        """`peer` does not want to talk to this node; the log says so, and one peer's word is no reason to stop."""
        if not self._stopped:
            self._belonging.refused(peer, code)

    def facts(self, to: int) -> Facts:
        """Say of this node what node `to` needs to know when a connection begins."""
        facts = self._belonging.facts(to)
        return facts if self._rejoin is None else self._rejoin.add_to(facts)

    def link_up(self, peer: int) -> None:
        """A connection to `peer` stands."""
        if not self._stopped:
            self._agreement.forget(peer)
            self._tell(self.node.peer_connected, peer, self._clock.seconds())

    def peer_lost(self, peer: int) -> None:
        """A connection to or from `peer` broke."""
        if not self._stopped:
            self._tell(self.node.peer_lost, peer, self._clock.seconds())

    # Life.

    def connect(self, peers: Outbox) -> None:
        """Send through `peers` from now on; called once, before `start`."""
        self._peers = peers

    def start(self) -> None:
        """Begin: apply what the journal remembers to be committed, and arm the election timer."""
        self._replay = Replay(self.node, self.store, self._clock)
        self._schedule_turn()

    async def hand_over(self, patience: float) -> None:
        """Pass leadership on, if this node leads, and wait up to `patience` seconds for that and for open answers."""
        if self.node.is_leader and not self._stopped:
            await self._hand_over.begin(patience)

    def stop(self) -> None:
        """Stop at once. What waits is told so; what stands in the log may still happen."""
        if self._stopped:
            return
        self._stopped = True
        self._snapshotter.stop()
        self._administration.stop()
        self._belonging.stop()
        for call in (self._turn, self._timer):
            if call is not None and call.active():
                call.cancel()
        self._saver.end_waits()
        self._deadlines.end()
        self._hand_over.end()

    # The turn.

    def _step(self, sender: int, messages: Sequence[Message], now: float) -> None:
        for message in messages:
            self.node.step(sender, message, now)

    def _tell(self, event: Callable[..., None], *news: object) -> None:
        """Let the node take an event, and carry out what it makes of it."""
        try:
            self._let(event, *news)
        finally:
            self._schedule_turn()

    def _let(self, event: Callable[..., None], *news: object) -> None:
        """Let the node take an event; a bug in the core stops this node."""
        try:
            event(*news)
        except MessageRefused as refusal:
            self._belonging.was_told_impossible(refusal)
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is: stop before it costs data
            self._fail(words_for(error, f"an event could not be processed: {error}"), Failure())

    def _schedule_turn(self) -> None:
        if not self._turn_is_due and not self._stopped:
            self._turn_is_due = True
            self._turn = self._clock.callLater(0, self._run_turn)

    def _run_turn(self) -> None:
        self._turn_is_due = False
        try:
            now = self._clock.seconds()
            self._deadlines.expire(now)
            self._administration.look(now)
            if self._rejoin is not None:
                self._rejoin.look()
            if self._agreement.look():
                self.stop()
            if self._writes:
                self._propose(now)
            self._reads.ask(now)
            for _ in range(READYS_A_TURN_MAX):
                if self._stopped or not self.node.has_ready():
                    break
                self._carry_out(self.node.ready())
                if self._clock.seconds() - now > TURN_S_MAX:
                    self._schedule_turn()
                    break
            else:
                self._schedule_turn()
            if self._replay is not None and self._replay.look(self.store):
                self._replay = None
            if not self._stopped:
                self._belonging.look(self._peers)
                self._snapshotter.consider(self.store)
                self._arm_timer(now)
                self._hand_over.look()
        except Exception as error:  # noqa: BLE001 - nothing is fire-and-forget: a failure in a turn stops the node
            self._fail(words_for(error, f"a turn failed: {error}"), Failure())

    def _arm_timer(self, now: float) -> None:
        """Hold one timer at or before the node's deadline; a deadline that moves away costs nothing here."""
        deadline = self.node.deadline
        if deadline - now > TURN_GAP_S_MAX:  # an election on slow disks takes long, and somebody may wait for an answer
            deadline = now + TURN_GAP_S_MAX
        if self._proposals.holds and self._writes and self._saver.idle:
            until = self._proposals.hold_until(len(self._writes))
            if until > now:
                deadline = min(deadline, until)
            else:  # now, but behind what else has arrived by the next iteration
                self._schedule_turn()
        if self._timer is None:
            self._timer = self._clock.callLater(max(0.0, deadline - self._clock.seconds()), self._timer_fired)
        elif deadline < self._timer.getTime():
            self._timer.reset(max(0.0, deadline - self._clock.seconds()))

    def _timer_fired(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        is_early = now < self.node.deadline
        self._let(self._disk_watch.look, now)
        self._let(self.node.wake, now)
        if self._turn_is_due or self._stopped:
            return
        if self._writes:  # they go together with what else has arrived by the next iteration
            self._schedule_turn()
        elif is_early and self.node.leader is not None and not self.node.has_ready():
            self._arm_timer(now)  # the writes that it was set for have gone, or the deadline has moved
        else:
            self._run_turn()

    def _propose(self, now: float) -> None:
        """Make one entry of all writes that have come together, when the last one's save is done (group commit).

        To propose while the disk is busy would only cut the same writes into more entries, each with its syncs and
        messages on every node: a tenth less throughput at 64 connections on a quiet machine (measured).
        """
        self._redirects.refuse_overwritten(self._proposals)  # this leadership may begin in their place
        is_held = self._proposals.hold(len(self._writes), now)
        while self._writes and self._saver.idle and not is_held:
            submissions = self._writes.take(BATCH_BYTES_MAX)
            if not submissions:
                return
            mutations, queries = lay_out(submissions)
            try:
                content = (self._stamp(now), mutations)
                term, index = self.node.propose((encode_batch(*content),), now)
            except ProposalRefused:
                self._writes.put_back(submissions)
                return
            except NotLeader:
                self._redirects.refuse(submissions)
                continue
            for submission in submissions:
                submission.is_proposed = True
            self._proposals.add(index, Batch(term, submissions, queries, len(mutations) + len(queries), content), now)

    def _must_wait(self) -> bool:
        """Whether a turn would propose nothing now: it follows when the disk is done, or the wait for company over."""
        return not self._saver.idle or self._proposals.lack_company(len(self._writes))

    def _stamp(self, now: float) -> int:
        """Return the cluster time for a batch of this leader, in microseconds."""
        # It may be asked for before the turn that shows the transition.
        self._cluster_clock.take_office(self.node.term, self.store.cluster_time, now)
        return self._cluster_clock.stamp(now)

    def _carry_out(self, ready: Ready) -> None:
        if ready.messages:
            self._peers.send(ready.messages)
        self._saver.save(ready)
        if ready.soft_state is not None:
            log_transition(self.node.id, ready.soft_state)
        if ready.entries and not self.node.is_leader:
            self._redirects.refuse_overwritten(self._proposals)
        if ready.committed or self._unapplied:
            self._apply_committed(ready.committed)
        self._reads.carry_out(ready, self.store)
        self._snapshotter.carry_out(ready)
        if ready.soft_state is not None:
            if ready.soft_state.role is not Role.LEADER:
                # Also those that wait for a disk that may never answer.
                self._redirects.refuse(self._writes.take_all())
                self._proposals.end_leadership()
            self._redirects.settle()

    def _became_durable(self, readys: list[Ready]) -> None:
        """Keep the promises that waited for the disk."""
        if self._stopped:
            return
        replies = [reply for ready in readys for reply in ready.replies]
        if replies:
            self._peers.send(replies)
        for ready in readys:
            self.node.advance(ready)
        if self._unapplied:
            self._apply_committed(())
        if self._writes or self.node.has_ready():
            self._schedule_turn()
        self._hand_over.look()

    def _save_failed(self, failure: Failure) -> None:
        self._fail(words_for(failure.value, failure.getErrorMessage()), failure)

    def _apply_committed(self, entries: Sequence[Entry]) -> None:
        """Apply what is committed; a follower does so when the save that is under way is done.

        The leader waits for its disk and not for its store, and the thread of the disk waits for the interpreter.
        """
        earlier, self._unapplied = self._unapplied, ()
        for entry in earlier:
            self._apply(entry)
        if not self._saver.idle and not self.node.is_leader:
            self._unapplied = entries  # those of one Ready at most, so that a turn stays short
            return
        for entry in entries:
            self._apply(entry)

    def _apply(self, entry: Entry) -> None:
        batch = self._proposals.take(entry.index)
        assert batch is None or batch.term == entry.term, f"entry {entry.index} took the place of a batch unnoticed"
        results = self.store.apply(entry) if batch is None else batch.apply(self.store, entry)
        self._agreement.applied(self.store)
        self._snapshotter.applied(entry)
        if batch is not None:
            batch.answer(results)
        if entry.kind in BEGINS and self.node.is_leader and entry.term == self.node.term:
            self._took_office(entry.kind)
        self._tell_cluster()

    def _tell_cluster(self) -> None:
        if self.store.cluster_id != self._cluster_told and self.store.cluster_id is not None:
            self._cluster_told = self.store.cluster_id
            self._peers.learn_cluster(self.store.cluster_id)

    def _depart(self, why: LastWords) -> None:
        self.stop()
        self._fatal(why)

    # Snapshots.

    def _outbox(self) -> Outbox:
        return self._peers

    def _feature_level(self) -> int:
        return self.store.feature_level

    def _begin_snapshot(self) -> Deferred[None]:
        return self._snapshotter.begin(self.store)

    def _snapshot_sent(self, peer: int, installed_index: int | None) -> None:
        self._tell(self.node.snapshot_sent, peer, installed_index, self._clock.seconds())

    def _snapshot_failed(self, failure: Failure) -> None:
        what = f"a snapshot could not take the place of the log: {failure.getErrorMessage()}"
        self._fail(words_for(failure.value, what), failure)

    async def install(self, snapshot: Snapshot, store: Store, membership: Membership) -> Store:
        """Put a loaded snapshot in the place of log and store; see `receiving.Installer`."""
        while not self._stopped and (not self._saver.idle or self.node.has_ready()):
            # What the journal is given before must not come after.
            await self._saver.when_idle()
            await deferLater(self._clock, 0)  # a turn is due when the node has something to be done
        header = snapshot.header
        keeps_tail = self.node.log.term_at(header.index) == header.term
        if self._stopped or self.node.is_leader:  # who has come to lead has it all in its log
            return store
        if not self.node.install_snapshot(header.index, header.term, membership):
            return store
        old, self.store = self.store, store
        self._redirects.refuse_covered(self._proposals, header.index)
        if keeps_tail:
            await self._storage.compact(header.index, header.term)
        else:
            await self._storage.reset_to(header.index, header.term)
        self._tell_cluster()
        self._schedule_turn()
        return old

    def _took_office(self, kind: int) -> None:
        """The first entry of this leader's term, or a new feature level, is applied, and all that came before it."""
        now = self._clock.seconds()
        if kind == EntryKind.EMPTY:
            self._stamp(now)
            self._cluster_clock.continue_from(self.store.cluster_time, now)
        for command in first_writes(kind, self.store, self._options.quota, self._make_cluster_id):
            self._writes.append(Submission([command], now + self._options.request_timeout, lambda _: None))
            self._schedule_turn()

    def _fail(self, what: str, failure: Failure) -> None:
        """Stop for good: whoever goes on after this risks the data."""
        if self._stopped:
            return
        log_defect(self.node.id, failure)
        self.stop()
        self._fatal(what)
