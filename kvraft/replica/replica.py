"""The replica: its turn takes the node's effects to the journal, the peers, the store and the waiting clients."""

from collections.abc import Callable
from functools import partial

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from kvraft.commands import Mutation
from kvraft.errors.exit_status import FatalReason, fatal_reason
from kvraft.raft import MessageRefused, Node, Ready
from kvraft.raft.types import Role
from kvraft.replica.administration import Administration
from kvraft.replica.admission import Admission
from kvraft.replica.apply import Applier
from kvraft.replica.expiry import Expirer
from kvraft.replica.first_proposals import FirstProposals
from kvraft.replica.group_commit import GroupCommit
from kvraft.replica.inbox import Inbox
from kvraft.replica.instruments import Instruments
from kvraft.replica.intake import Intake
from kvraft.replica.limits import READYS_A_TURN_MAX, TURN_GAP_S_MAX, TURN_S_MAX
from kvraft.replica.lock_waits import LockWaits
from kvraft.replica.options import ReplicaOptions
from kvraft.replica.peer_transport import NoPeers, PeerTransport
from kvraft.replica.persistence import DiskWatch, Saver
from kvraft.replica.reads import Reads
from kvraft.replica.redirects import Redirects
from kvraft.replica.rejoin import Rejoin
from kvraft.replica.snapshots.context import SnapshotContext
from kvraft.replica.snapshots.install import StateInstaller
from kvraft.replica.snapshots.snapshotter import Snapshotter
from kvraft.replica.startup_replay import StartupReplay
from kvraft.replica.state import State
from kvraft.replica.state_checksums import StateChecksums
from kvraft.replica.status import describe, log_defect, log_transition
from kvraft.replica.submissions import OWN, Deadlines, Submission
from kvraft.replica.transfer_on_stop import TransferOnStop
from kvraft.replica.watches import Watches
from kvraft.storage import SnapshotStorage, Storage
from kvraft.store import Store

CallSoon = Callable[[Callable[[], None]], object]
"""Calls a function once, when what has arrived by now is read."""


class Replica:
    """Carries out the node's effects, in turns.

    An event only changes the node or joins a queue. One *turn* at the end of the reactor's iteration proposes the
    queued writes as one entry, begins one read round, and carries out the node's Readys. It also calls `look` of the
    parts, each of which then does what is due by now. Requests come in by `intake`, messages and events of peers by
    `inbox`. The package's docstring says what each part is for.

    Args:
        make_id: returns a random id of hexadecimal digits: of a snapshot, or of this process.
        fatal: called once, with the reason, when this node must not go on.
        rejoin: for a node that keeps nothing on disk: decides when it may take part again.
        memory: returns how many bytes of memory the process holds, None for unknown.
        call_soon: calls the turn; the default lets `clock` do it in its next iteration.
    """

    def __init__(
        self,
        *,
        node: Node,
        store: Store,
        storage: Storage,
        snapshots: SnapshotStorage,
        clock: IReactorTime,
        make_cluster_id: Callable[[], str],
        make_id: Callable[[], str],
        fatal: Callable[[FatalReason], None],
        rejoin: Rejoin | None = None,
        options: ReplicaOptions | None = None,
        memory: Callable[[], int | None] = lambda: None,
        call_soon: CallSoon | None = None,
    ) -> None:
        options = options or ReplicaOptions()
        self.node = node
        self.is_due = self.is_stopped = False
        self._carries_out = False
        """Whether a turn is carrying out Readys: it takes the effects of a save that ends meanwhile."""
        self._peers: PeerTransport = NoPeers()
        self._clock = clock
        self._fatal = fatal
        self._rejoin = rejoin
        self._call_soon: CallSoon = call_soon or partial(clock.callLater, 0)
        self._timer: IDelayedCall | None = None
        self._timer_at = 0.0
        """The deadline for which it was set. It comes some microseconds later, so its own time would not do here."""
        self._startup_replay: StartupReplay | None = None
        """Set until the log that was read at the start is applied."""
        self._state = state = State(store, lambda: self._peers)
        self._watches = Watches(state, clock, options.watches_max)
        self._lock_waits = LockWaits(self._propose, lambda: state.store.locks)
        self.instruments = Instruments(node, clock.seconds, options.request_timeout)
        note = self.instruments.events.note
        self._saver = Saver(storage, self._became_durable, self._save_failed, clock.seconds, self.instruments.saved)
        self._disk_watch = DiskWatch(node, storage, options.disk_stall_max, note)
        self._redirects = Redirects(node, lambda: self._administration.is_transferring)
        self._commits = GroupCommit(node, self._saver, self._redirects)
        self._expirer = Expirer(node, state, clock, self._commits)
        self._reads = Reads(node, self._redirects.refuse, lambda store: self._commits.present(store, clock.seconds()))
        self._deadlines = Deadlines()
        self._transfer_on_stop = TransferOnStop(node, clock, self._redirects, self._deadlines, self.schedule)
        self._checksums = StateChecksums(node, note)
        self._admission = Admission(node, clock, self._depart, lambda: state.store, note)
        self._snapshotter = self._make_snapshotter(storage, snapshots, make_id, options)
        self._administration = Administration(
            node,
            self._redirects.error,
            lambda: self._snapshotter.begin(state.store),
            snapshots,
            options.request_timeout,
            lambda: self._peers,
            lambda: state.store.feature_level,
            self.instruments.events,
        )
        self._applier = self._make_applier(clock, options, make_cluster_id)
        self.intake = self._make_intake(self._make_describe(storage, snapshots, memory), options, make_id)
        self.inbox = self._make_inbox()

    def _make_snapshotter(
        self, storage: Storage, snapshots: SnapshotStorage, make_id: Callable[[], str], options: ReplicaOptions
    ) -> Snapshotter:
        node, clock = self.node, self._clock
        installer = StateInstaller(
            self,
            node,
            self._state,
            storage,
            self._saver,
            self._commits.under_way,
            self._redirects,
            self._watches,
            self._lock_waits,
            clock,
            lambda: bool(self._applier.waiting),
        )
        context = SnapshotContext(
            node=node,
            storage=storage,
            snapshots=snapshots,
            clock=clock,
            send=lambda to, message: self._peers.send([(to, message)]),
            promise=lambda to, message: self.tell(node.promise, to, message),
            failed=self._snapshot_failed,
        )
        return Snapshotter(context, options.snapshots, make_id=make_id, installer=installer, sent=self._snapshot_sent)

    def _make_applier(
        self, clock: IReactorTime, options: ReplicaOptions, make_cluster_id: Callable[[], str]
    ) -> Applier:
        first_proposals = FirstProposals(self, clock, options, self._commits, make_cluster_id)
        return Applier(
            self.node,
            self._state,
            self._saver,
            self._commits.under_way,
            first_proposals,
            self._checksums,
            self._snapshotter,
            self._watches,
            self._lock_waits,
            self.instruments,
        )

    def _make_describe(
        self, storage: Storage, snapshots: SnapshotStorage, memory: Callable[[], int | None]
    ) -> Callable[[], dict[str, object]]:
        return lambda: describe(
            self.node,
            self.store,
            storage,
            0 if snapshots.latest is None else snapshots.latest.size,
            memory(),
            self._peers.status(),
            self._checksums.differs_at,
        )

    def _make_intake(
        self, status: Callable[[], dict[str, object]], options: ReplicaOptions, make_id: Callable[[], str]
    ) -> Intake:
        return Intake(
            self,
            self.node,
            self._state,
            self._clock,
            options,
            commits=self._commits,
            reads=self._reads,
            deadlines=self._deadlines,
            redirects=self._redirects,
            administration=self._administration,
            checksums=self._checksums,
            watches=self._watches,
            make_run=make_id,
            describe=status,
            connected=lambda: frozenset(peer for peer, each in self._peers.status().items() if each.connected),
            lock_waits=self._lock_waits,
        )

    def _make_inbox(self) -> Inbox:
        return Inbox(
            self,
            self.node,
            self._clock,
            admission=self._admission,
            checksums=self._checksums,
            forwarding=self.intake.forwarding,
            publishing=self.intake.publishing,
            rejoin=self._rejoin,
            note=self.instruments.events.note,
        )

    @property
    def store(self) -> Store:
        """The current state machine."""
        return self._state.store

    @property
    def differs_at(self) -> int | None:
        """The index at which this node's state was found to differ from the others'; None: it does not."""
        return self._checksums.differs_at

    def queues(self) -> dict[str, int]:
        """Return how much waits at each stage of a write, for metrics."""
        waiting = self._commits.waiting
        return {
            "writes": len(waiting),
            "write_bytes": waiting.size,
            "proposed": self._commits.under_way.submission_count,
            "unapplied": len(self._applier.waiting),
        }

    # Start and stop.

    def connect(self, peers: PeerTransport) -> None:
        """Send through `peers` from now on; called once, before `start`."""
        self._peers = peers

    def start(self) -> None:
        """Apply the journal's entries up to the stored commit index, and arm the election timer."""
        self._startup_replay = StartupReplay(self.node, self.store, self._clock)
        if self._admission.is_to_found_alone:
            self.node.stand_back(self._clock.seconds())  # members of a cluster that knows this id dial twice a second
        self.schedule()

    async def hand_over(self, patience: float) -> None:
        """Transfer leadership if this node leads; wait up to `patience` seconds for that and for pending answers.

        A node that does not lead waits for the answers to the writes that it has forwarded, and forwards no others.
        """
        self.instruments.events.note("stopping")
        forwarding = self.intake.forwarding
        if not self.node.is_leader and not self.is_stopped:
            forwarding.is_closing = True
            await self._transfer_on_stop.await_forwarded(lambda: forwarding.awaits_writes, patience)
        if self.node.is_leader and not self.is_stopped:
            await self._transfer_on_stop.begin(patience)

    def stop(self) -> None:
        """Stop at once. Waiting requests are answered with an error; writes in the log may still happen."""
        if self.is_stopped:
            return
        self.is_stopped = True
        self._snapshotter.stop()
        self._administration.stop()
        self._watches.stop(self._checksums.why_stopped())
        self.intake.local_reads.stop()
        self.intake.publishing.stop()
        self._admission.stop()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._saver.end_waits()
        self._deadlines.end()
        self._transfer_on_stop.end()
        self._lock_waits.stop()

    # The turn; see `kvraft.replica.turn.Turn`.

    def tell(self, event: Callable[..., None], *news: object) -> None:
        """Let the node take an event, and schedule a turn for its effects."""
        try:
            self.let(event, *news)
        finally:
            self.schedule()

    def let(self, event: Callable[..., None], *news: object) -> None:
        """Let the node take an event; an unexpected exception stops this node."""
        try:
            event(*news)
        except MessageRefused as refusal:
            self._admission.was_told_impossible(refusal)
            raise
        except Exception as error:  # noqa: BLE001 - after any unexpected error the node stops, before it costs data
            self._fail(fatal_reason(error, f"an event could not be processed: {error}"), Failure())

    def schedule(self) -> None:
        """Schedule a turn, unless one is due."""
        if not self.is_due and not self.is_stopped:
            self.is_due = True
            self._call_soon(self.run)

    def run(self) -> None:
        """Run a turn now, unless the node was stopped."""
        self.is_due = False
        if self.is_stopped:
            return
        try:
            now = self._clock.seconds()
            has_deadlines = self._state.store.has_deadlines
            self._deadlines.expire(now)
            if self._administration.waits:
                self._administration.look(now)
            if self._rejoin is not None:
                self._rejoin.look()
            states = self.node.states
            if (states.reports or states.differs_at) and self._checksums.look():
                self.stop()
            if has_deadlines:
                self._expirer.look(now)
            if self._commits.waiting.submissions:
                self._commits.propose(self._state.store, now)
            if self._reads.new:
                self._reads.ask(now)
            self._carry_out_readys(now)
            if self._startup_replay is not None and self._startup_replay.look(self._state.store):
                self._startup_replay = None
            if not self.is_stopped:
                self._look_around(now)
            self.instruments.turn_ended(now)
        except Exception as error:  # noqa: BLE001 - nothing is fire-and-forget: a failure in a turn stops the node
            self._fail(fatal_reason(error, f"a turn failed: {error}"), Failure())

    def _look_around(self, now: float) -> None:
        """Let the parts do what has become due by this turn."""
        self.intake.look()
        if self._admission.look(self._peers):
            self.schedule()
        self._snapshotter.creator.consider(self._state.store)
        self._arm_timer(now)
        if self._transfer_on_stop.over is not None:
            self._transfer_on_stop.look()

    def _carry_out_readys(self, now: float) -> None:
        """Apply what earlier turns have left, and carry out Readys until the turn has done enough."""
        if self._applier.is_behind:
            self._apply_waiting()
        self._carries_out = True
        for _ in range(READYS_A_TURN_MAX):
            if self.is_stopped or not self.node.has_ready():
                break
            self._carry_out(self.node.ready())
            if self._applier.is_behind:
                break  # another turn is scheduled below
            if self._clock.seconds() - now > TURN_S_MAX:
                if self.node.has_ready():
                    self.schedule()
                break
        else:
            self.schedule()
        self._carries_out = False
        self._applier.turn_ended()
        if self._applier.is_behind:
            self.schedule()

    def _apply_waiting(self) -> None:
        """Apply entries that wait, and answer the reads that waited for them."""
        self._applier.apply(())
        self._reads.answer(self._state.store)

    def _arm_timer(self, now: float) -> None:
        """Keep one timer at or before the node's deadline; when the deadline moves to later, the timer stays."""
        deadline = self.node.deadline
        if deadline - now > TURN_GAP_S_MAX:  # an election on slow disks takes long; requests must expire meanwhile
            deadline = now + TURN_GAP_S_MAX
        delayed_until = self._commits.delayed_until() if self._commits.under_way.is_delaying else None
        if delayed_until is not None:
            if delayed_until > now:
                deadline = min(deadline, delayed_until)
            else:  # now, but after what else has arrived by the next iteration
                self.schedule()
        if self._state.store.has_deadlines:
            due_at = self._expirer.due_at(now)
            deadline = deadline if due_at is None else min(deadline, due_at)
        if self._timer is None:
            self._timer = self._clock.callLater(max(0.0, deadline - self._clock.seconds()), self._timer_fired)
        elif deadline < self._timer_at:
            self._timer.reset(max(0.0, deadline - self._clock.seconds()))
        else:
            return
        self._timer_at = deadline

    def _timer_fired(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        is_early = now < self.node.deadline
        self.let(self._disk_watch.look, now)
        self.let(self.node.wake, now)
        if self.is_due or self.is_stopped:
            return
        if self.store.has_deadlines:
            self._expirer.look(now)
        if self._commits.waiting.submissions:  # propose them together with what else has arrived by the next iteration
            self.schedule()
        elif is_early and self.node.leader is not None and not self.node.has_ready():
            self._arm_timer(now)  # its delayed writes were proposed meanwhile, or the deadline has moved
        else:
            self.run()

    def _carry_out(self, ready: Ready) -> None:
        if ready.messages:
            self._peers.send(ready.messages)
        self._saver.save(ready)
        if self.node.facts.waiting:
            self.instruments.take_facts()
        if ready.soft_state is not None:
            log_transition(self.node.id, ready.soft_state)
            self.instruments.transition(ready.soft_state)
            self.intake.leader_changed()  # before waiting requests are refused: it may change the form of the refusal
        if ready.entries and not self.node.is_leader:
            self._redirects.refuse_overwritten(self._commits.under_way)
        if ready.committed or self._applier.waiting:
            self._applier.apply(ready.committed)
        if ready.reads or ready.aborted_reads or self._reads.confirmed:
            self._reads.carry_out(ready, self._state.store)
        self._snapshotter.carry_out(ready)
        if ready.soft_state is not None:
            if ready.soft_state.role is not Role.LEADER:
                self._commits.end_leadership()
                self._lock_waits.end_leadership()
            self._redirects.settle()

    def _became_durable(self, readys: list[Ready]) -> None:
        """Send the replies that waited for the disk, and advance the node."""
        if self.is_stopped:
            return
        replies = [reply for ready in readys for reply in ready.replies]
        if replies:
            self._peers.send(replies)
        for ready in readys:
            self.node.advance(ready)
        if self._applier.waiting:
            self._apply_waiting()
        is_work_left = self._commits.waiting.submissions or self._applier.is_behind
        if is_work_left or (not self._carries_out and self.node.has_ready()):
            self.schedule()
        if self._transfer_on_stop.over is not None:
            self._transfer_on_stop.look()

    def _save_failed(self, failure: Failure) -> None:
        self._fail(fatal_reason(failure.value, failure.getErrorMessage()), failure)

    def _propose(self, mutation: Mutation) -> bool:
        """Queue a mutation of this node's own if it leads; return whether it does. The outcome is not reported."""
        leads = self.node.is_leader and not self.is_stopped
        if leads:
            self._commits.waiting.append(Submission([mutation], OWN, lambda _: None))
            self.schedule()
        return leads

    # Snapshots.

    def _snapshot_sent(self, peer: int, installed_index: int | None) -> None:
        self.tell(self.node.snapshot_sent, peer, installed_index, self._clock.seconds())

    def _snapshot_failed(self, failure: Failure) -> None:
        what = f"a snapshot could not take the place of the log: {failure.getErrorMessage()}"
        self._fail(fatal_reason(failure.value, what), failure)

    def _fail(self, what: FatalReason, failure: Failure) -> None:
        """Stop for good: to go on after a defect would risk the data."""
        if self.is_stopped:
            return
        log_defect(self.node.id, failure)
        self.stop()
        self._fatal(what)

    def _depart(self, why: FatalReason) -> None:
        self.stop()
        self._fatal(why)
