"""One member of the cluster: takes inputs, keeps the state of Figure 2, and returns effects.

The node does no I/O. Its inputs are messages, proposals, reads, connection events and the time; its output is a
`Ready`. The rules are in modules named after the parts of the paper: `election` (§5.2, §5.4.1, thesis §9.6),
`replication` (§5.3, §5.4.2), `changes` (§6), `snapshots` (§7), `read_index` (thesis §6.4), `transfer` (thesis §3.10).
`identity` and `acknowledged` guard against lost and older disks, which the paper leaves out.
"""

import random
from collections.abc import Callable, Collection, Sequence

from kvraft.raft import acknowledged, changes, election, identity, read_index, replication, snapshots, transfer
from kvraft.raft.acknowledged import Acknowledged
from kvraft.raft.errors import MessageRefused, NotLeader, TryAgain
from kvraft.raft.facts import Facts
from kvraft.raft.log import Log
from kvraft.raft.membership import Membership
from kvraft.raft.messages import (
    AppendEntries,
    AppendEntriesReply,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    InstallSnapshotReply,
    Message,
    PreVote,
    PreVoteReply,
    RequestVote,
    RequestVoteReply,
    TimeoutNow,
)
from kvraft.raft.options import TERM_LEAP_MAX, RaftOptions
from kvraft.raft.progress import Progress
from kvraft.raft.ready import Read, Ready
from kvraft.raft.roles import AnyRole, Candidate, Follower, Leader, PreCandidate
from kvraft.raft.states import States
from kvraft.raft.types import Entry, EntryKind, HardState, Role, SoftState

_ROLES = {Follower: Role.FOLLOWER, PreCandidate: Role.PRE_CANDIDATE, Candidate: Role.CANDIDATE, Leader: Role.LEADER}

_STEPS: dict[type[Message], Callable[..., None]] = {
    PreVote: election.step_pre_vote,
    PreVoteReply: election.step_pre_vote_reply,
    RequestVote: election.step_request_vote,
    RequestVoteReply: election.step_request_vote_reply,
    AppendEntries: replication.step_append_entries,
    AppendEntriesReply: replication.step_append_entries_reply,
    Heartbeat: replication.step_heartbeat,
    HeartbeatReply: replication.step_heartbeat_reply,
    InstallSnapshot: snapshots.step_install_snapshot,
    InstallSnapshotReply: snapshots.step_install_snapshot_reply,
    TimeoutNow: transfer.step_timeout_now,
}


class Node:
    """A member of the cluster. Only this package may write its attributes.

    Args:
        node_id: this member.
        membership: the configuration at `applied`: from the snapshot or, without one, the cluster's first; later ones
            in `entries` replace it.
        hard_state: the one in the journal; the default for a node that has never run.
        entries: the log in the journal, after the snapshot.
        snapshot: (index, term) of the last entry that the snapshot covers: the log begins after it.
        applied: the index up to which the state machine has applied the log already, at least that of `snapshot`.
        now: the time, in seconds; every later time must come from the same clock and may not go back.
        random: the source of all randomness.
        voting: False for a node that may have lost a promise, such as a vote: it neither votes nor campaigns.
        incarnation: identifies this node's data directory; None for a node without a disk. With one, `identity`
            decides whether the node may vote.
    """

    role: AnyRole
    is_leader: bool
    """Whether `role` is a Leader; stored, because each request reads it. `election` sets both together."""

    def __init__(
        self,
        node_id: int,
        membership: Membership,
        *,
        now: float,
        random: random.Random,
        options: RaftOptions | None = None,
        hard_state: HardState | None = None,
        entries: Sequence[Entry] = (),
        snapshot: tuple[int, int] = (0, 0),
        applied: int = 0,
        voting: bool = True,
        incarnation: str | None = None,
    ) -> None:
        self.id = node_id
        self.memberships: list[tuple[int, Membership]] = [(max(applied, snapshot[0]), membership)]
        """(index, configuration): the one at the start of the log and all those in it; the last one counts (§6)."""
        self.options = options or RaftOptions()
        self.random = random
        self.now = now
        self.voting = voting
        self.incarnation = incarnation
        self.heard = identity.Heard()
        stored = hard_state or HardState()
        # Persistent state (Figure 2); invariant: term >= log.last_term.
        self.term, self.vote, self.founder = stored.term, stored.vote, stored.founder
        self.log = Log(entries, *snapshot)
        if self.term < self.log.last_term:
            # The snapshot became durable before the hard state of its term, so this node has promised nothing in it.
            self.term, self.vote = self.log.last_term, None
        changes.adopt(self, (entry for entry in entries if entry.index > applied))
        self.durable_hard_state = stored
        # Volatile state; invariant: applying <= commit <= log.last_index.
        self.commit = max(self.log.snapshot_index, applied, min(stored.commit, self.log.last_index))
        self.applying = max(self.log.snapshot_index, applied)
        """The last index that a Ready has handed out to be applied."""
        assert self.applying <= self.commit <= self.log.last_index, "what was applied is committed and in the log"
        assert self.memberships[0][0] <= self.commit, "the first configuration is committed"
        self.match_index = 0
        """Up to this index the log is known to match that of this term's leader. A heartbeat's commit index counts only
        up to it. It is kept while the term lasts, so a pre-candidate that returns to the same leader keeps it."""
        identity.begin(self)
        self.elections_in_vain = 0
        """Elections in which this node has campaigned or voted since the last contact with a leader; see `election`."""
        self.role, self.is_leader = Follower(now + self.random_timeout()), False
        self.states, self.facts = States(), Facts()  # for the driver: checksums of state machines, news of elections
        # Effects since the last Ready. `messages` may leave at once, `replies` and `ack` when they are durable.
        self.messages: list[tuple[int, Message]] = []
        self.replies: list[tuple[int, Message]] = []
        self.ack: tuple[int, AppendEntriesReply] | None = None
        """The newest acknowledgement of entries; it covers all earlier ones."""
        self.confirmed_reads: list[Read] = []
        self.aborted_reads: list[object] = []
        self.snapshots_wanted: list[int] = []
        self.snapshot_replies: list[tuple[int, InstallSnapshotReply]] = []
        self.snapshot_pieces: list[tuple[int, InstallSnapshot]] = []
        self._handed_over_hard_state = stored  # as in the last Ready
        self._shown = SoftState(Role.FOLLOWER, -1, None)  # as in the last Ready

    # Inputs.

    def step(self, sender: int, message: Message, now: float) -> None:
        """Take a message from another member.

        Raises:
            MessageRefused: no correct member can have sent it; the node is unchanged.
        """
        self.observe_time(now)
        if sender == self.id:
            raise MessageRefused("a message from this node itself")
        # A node with an empty log may join a cluster in any term.
        if self.log.last_index > 0 and message.term > self.term + TERM_LEAP_MAX:
            raise MessageRefused(f"term {message.term} is absurd: this node is in term {self.term}")
        _STEPS[type(message)](self, sender, message)

    def wake(self, now: float) -> None:
        """Do what is due at `deadline`. An early call has no effect; a late call only delays the work."""
        self.observe_time(now)
        if now < self.deadline:
            return
        if isinstance(self.role, Leader):
            replication.lead_on(self, self.role)
        else:
            # A candidate, too: after each timeout, so that no term grows while no candidate can win (row 24).
            election.pre_campaign(self)

    def propose(self, payloads: Sequence[bytes], now: float, kind: int = EntryKind.COMMANDS) -> tuple[int, int]:
        """Append one entry for each payload; return the term and the index of the first.

        Raises:
            NotLeader: this node does not lead.
            ProposalRefused: leadership is being transferred, or too many bytes wait to be committed.
        """
        self.observe_time(now)
        if not isinstance(self.role, Leader):
            raise NotLeader(self.leader)
        if self.role.transfer is not None:
            raise TryAgain("leadership is being handed over; ask again in a moment")
        if self.role.uncommitted_bytes >= self.options.uncommitted_bytes_max:
            raise TryAgain("too many writes wait for a quorum; ask again in a moment")
        assert kind != EntryKind.MEMBERSHIP, "the membership changes by change_membership"
        first = self.log.last_index + 1
        for payload in payloads:
            replication.append(self, self.role, kind, payload)
        return self.term, first

    def read_index(self, ticket: object, now: float, *, are_many: bool = False) -> None:
        """Request the index at which a read, or `are_many`, may be answered; a later Ready returns it with `ticket`.

        Raises:
            NotLeader: this node does not lead.
        """
        self.observe_time(now)
        if not isinstance(self.role, Leader):
            raise NotLeader(self.leader)
        self.role.new_reads.append(ticket)
        self.role.reads_are_many |= are_many

    def transfer_leadership(self, target: int, now: float) -> None:
        """Begin to transfer leadership to `target`; proposals are refused until the transfer succeeds or is abandoned.

        Raises:
            NotLeader: this node does not lead.
            ProposalRefused: the target cannot lead, or another transfer is under way.
        """
        self.observe_time(now)
        if not isinstance(self.role, Leader):
            raise NotLeader(self.leader)
        transfer.begin(self, self.role, target)

    @property
    def is_transferring(self) -> bool:
        """Whether this node leads and is transferring its leadership."""
        return isinstance(self.role, Leader) and self.role.transfer is not None

    def best_successor(self) -> int | None:
        """Return the voter with the longest log among those that have answered recently; None unless this node leads.

        Also None when no voter has answered recently.
        """
        return transfer.best_target(self, self.role) if isinstance(self.role, Leader) else None

    def resign(self, now: float) -> None:
        """Step down without a successor, and wait long enough for the others to elect one."""
        self.observe_time(now)
        if isinstance(self.role, Leader):
            election.become_follower(self, self.term, None)
            self.role.deadline = now + 2 * self.options.election_timeout_max

    def make_way(self, now: float) -> bool:
        """Step down because this node's disk does not answer, if another voter could lead; return whether it did."""
        self.observe_time(now)
        if not (isinstance(self.role, Leader) and transfer.can_another_do_better(self, self.role)):
            return False
        self.resign(now)
        return True

    def stand_back(self, now: float) -> None:
        """Neither lead nor campaign for two election timeouts: this node cannot make its promises durable."""
        self.observe_time(now)
        if not isinstance(self.role, Follower):
            election.become_follower(self, self.term, None)
        self.role.deadline = now + 2 * self.options.election_timeout_max

    def change_membership(
        self, target: Membership, now: float, *, force: bool = False, unreachable: Collection[int] = ()
    ) -> tuple[int, int]:
        """Begin to change the membership to `target`; return the term and the index of the first entry of the change.

        Unless `force`, a majority of the voters of `target` must have answered recently. Those in `unreachable`, which
        do not answer at their address in `target`, do not count.

        Raises:
            NotLeader: this node does not lead.
            ProposalRefused: another change is under way, or this one would leave no live quorum; see `changes`.
        """
        self.observe_time(now)
        if not isinstance(self.role, Leader):
            raise NotLeader(self.leader)
        return self.term, changes.propose(self, self.role, target, force=force, unreachable=unreachable)

    def compact(self, index: int) -> None:
        """Drop the log up to `index`; a durable snapshot must cover at least as much."""
        index = min(index, self.applying)
        if index <= self.log.snapshot_index:
            return  # a snapshot from the leader already covers more
        self.log.compact(index)
        while len(self.memberships) > 1 and self.memberships[1][0] <= self.log.snapshot_index:
            del self.memberships[0]
        assert self.memberships[0][0] <= self.commit, "the first configuration is committed"

    def membership_at(self, index: int) -> Membership:
        """Return the latest configuration at or before `index`, which a snapshot up to `index` must contain."""
        return next(membership for at, membership in reversed(self.memberships) if at <= index)

    def install_snapshot(self, index: int, term: int, membership: Membership) -> bool:
        """Replace the log by a snapshot that is durable, verified and loaded; False if it covers nothing new."""
        return snapshots.install(self, index, term, membership)

    def snapshot_sent(self, peer: int, installed_index: int | None, now: float) -> None:
        """Take the end of sending a snapshot: `peer` has installed it up to `installed_index`, or failed to if None."""
        self.observe_time(now)
        if isinstance(self.role, Leader):
            snapshots.note_sent(self, self.role, peer, installed_index)

    def peer_introduced(self, peer: int, incarnation: str | None, now: float, *, is_empty: bool | None) -> None:
        """Take the incarnation in `peer`'s hello, and whether its log is empty; None for what the hello leaves out."""
        self.observe_time(now)
        identity.hear(self, peer, incarnation, is_empty=is_empty)

    def peer_lost(self, peer: int, now: float) -> None:
        """Take the loss of a connection to or from `peer`: a hint, not proof, that it is dead.

        If `peer` is this follower's leader, or the candidate that it voted for, the follower starts PreVote soon,
        without waiting for its whole election timeout. If only one link broke, PreVote and the leader stickiness of the
        others keep this harmless.
        """
        self.observe_time(now)
        match self.role:
            case Leader(progress=progress) as leader if peer in progress:
                progress[peer].become_probe()
                transfer.note_lost(leader, peer)
            case Follower(leader=leader) as follower if peer == (self.vote if leader is None else leader):
                follower.leader, follower.lost = None, peer
                follower.last_contact = float("-inf")
                if follower.deadline > now + self.options.peer_lost_delay_max:
                    follower.deadline = now + election.delay_after_loss(self, peer)

    def peer_connected(self, peer: int, now: float) -> None:
        """Take a new connection to `peer`: earlier messages may be lost, so probe its log and repeat vote requests."""
        self.observe_time(now)
        if isinstance(self.role, Leader) and peer in self.role.progress:
            self.role.progress[peer].become_probe()
        election.repeat(self, peer)

    def acknowledged_by(self, peer: int) -> Acknowledged | None:
        """Return what `peer` is known to have acknowledged, which its disk must hold."""
        return acknowledged.known(self, peer)

    def lacks(self, told: Acknowledged) -> bool:
        """Whether this node lacks an entry that another member has recorded as acknowledged by it."""
        return acknowledged.lacks(self, told)

    def peer_forgot(self, peer: int, now: float) -> None:
        """Take that `peer` has restarted without its log: its earlier acknowledgements do not count any more."""
        self.observe_time(now)
        if (progress := self.progress_of(peer)) is not None:
            progress.match = 0
            progress.become_probe()
            progress.next = self.log.last_index + 1

    def state_differs(self, peer: int, index: int, now: float) -> None:
        """Send `peer`, now and in each heartbeat, the `index` at which its state differs from the others'."""
        self.observe_time(now)
        if isinstance(self.role, Leader) and peer in self.role.progress:
            self.states.differing[peer] = index
            self.send(peer, Heartbeat(self.term, self.commit, self.role.round, differs=index))

    def regain_vote(self) -> None:
        """Give the vote to a node that holds again what it may have lost.

        It does not vote for another node in the current term, in which it may have voted before.
        """
        assert not self.voting, "a node that has a vote cannot regain it, and must not lose that of this term"
        assert not isinstance(self.role, Leader | Candidate), "no node stands without a vote"
        self.voting = True
        if self.term > 0 and self.vote is None:
            self.vote = self.id

    # Outputs.

    @property
    def deadline(self) -> float:
        """When `wake` is due, in the clock's seconds."""
        role = self.role
        return min(role.deadline, role.ask_all_at) if isinstance(role, Leader) else role.deadline

    @property
    def membership(self) -> Membership:
        """The configuration in effect: the latest in this node's log, committed or not (§6)."""
        return self.memberships[-1][1]

    @property
    def membership_index(self) -> int:
        """The index of its entry; without one, the index from which the log and the state machine started."""
        return self.memberships[-1][0]

    @property
    def leader(self) -> int | None:
        """The leader of this term; None while this node has learned of none."""
        if isinstance(self.role, Follower):
            return self.role.leader
        return self.id if self.is_leader else None

    @property
    def soft_state(self) -> SoftState:
        """Role, term and known leader."""
        return SoftState(_ROLES[type(self.role)], self.term, self.leader)

    @property
    def hard_state(self) -> HardState:
        """What must survive a crash."""
        return HardState(self.term, self.vote, self.commit, self.founder)

    def progress_of(self, peer: int) -> Progress | None:
        """Return the progress of `peer`; None if it is no member, or if this node does not lead."""
        return self.role.progress.get(peer) if isinstance(self.role, Leader) else None

    def heard_since(self, moment: float) -> dict[int, Progress]:
        """Return the progress of the members that have answered at `moment` or later; empty unless this node leads."""
        return self.role.heard_since(moment) if isinstance(self.role, Leader) else {}

    def has_ready(self) -> bool:
        """Whether `ready` would return any effect."""
        return bool(
            self.messages
            or self.replies
            or self.ack
            or self.commit > self.applying
            or self.log.last_index > self.log.handed_over
            or self.confirmed_reads
            or self.aborted_reads
            or self.snapshots_wanted
            or self.snapshot_replies
            or self.snapshot_pieces
            or self._hard_state_changed()
            or self._soft_state_changed()
            or (isinstance(self.role, Leader) and replication.has_work(self, self.role))
        )

    def ready(self) -> Ready:
        """Return the effects of all inputs since the last call; see `Ready` for what must be done with them."""
        if isinstance(self.role, Leader):
            if self.role.new_reads:
                read_index.begin_round(self, self.role)
            replication.send_entries(self, self.role)
        committed: Sequence[Entry] = ()
        if self.commit > self.applying:
            committed = self.log.slice(
                self.applying + 1, self.commit, self.options.apply_bytes_max, self.options.apply_entries_max
            )
            assert committed[0].index == self.applying + 1, "entries are applied one after the other"
            self.applying = committed[-1].index
            assert self.applying <= self.commit, f"entry {self.applying} is applied and not committed (§5.3)"
        entries = self.log.take_unsaved() if self.log.last_index > self.log.handed_over else ()
        hard_state = self.hard_state if entries or self._hard_state_changed() else None
        if hard_state is not None:
            self._check_promises(self._handed_over_hard_state, hard_state)
            self._handed_over_hard_state = hard_state
        soft_state = self.soft_state if self._soft_state_changed() else None
        if soft_state is not None:
            self._shown = soft_state
        replies = [*self.replies, self.ack] if self.ack else self.replies
        ready = Ready(
            messages=self.messages,
            hard_state=hard_state,
            entries=entries,
            replies=replies,
            committed=committed,
            reads=self.confirmed_reads,
            aborted_reads=self.aborted_reads,
            snapshots_wanted=self.snapshots_wanted,
            snapshot_replies=self.snapshot_replies,
            snapshot_pieces=self.snapshot_pieces,
            soft_state=soft_state,
        )
        self.messages, self.replies, self.ack = [], [], None
        self.confirmed_reads, self.aborted_reads = [], []
        self.snapshots_wanted, self.snapshot_replies, self.snapshot_pieces = [], [], []
        return ready

    def advance(self, ready: Ready) -> None:
        """Take that the hard state and entries of `ready` are durable. Called once for each Ready, in order."""
        if ready.hard_state is not None:
            assert self.durable_hard_state.term <= ready.hard_state.term <= self.term, "saves end in their order"
            self.durable_hard_state = ready.hard_state
            election.count_own_vote(self)
        if ready.entries:
            self.log.saved()
            if isinstance(self.role, Leader):
                replication.advance_commit(self, self.role, self.log.durable)

    # Shared by the modules of this package.

    def observe_time(self, now: float) -> None:
        """Take the time of an input."""
        if now > self.now:  # noqa: PLR1730 - asked at each input, too often for max()
            self.now = now

    def random_timeout(self) -> float:
        """Draw an election timeout (§5.2), seconds."""
        return self.random.uniform(self.options.election_timeout_min, self.options.election_timeout_max)

    def send(self, to: int, message: Message) -> None:
        """Send a message that needs no durable state."""
        self.messages.append((to, message))

    def promise(self, to: int, message: Message) -> None:
        """Send a message that may leave only after the state it describes is durable."""
        assert to != self.id, "a promise to this node itself"
        assert message.term <= self.term, f"a promise in term {message.term}, and this node is in {self.term}"
        self.replies.append((to, message))

    def _soft_state_changed(self) -> bool:
        shown, role = self._shown, self.role
        if shown.term != self.term or shown.role is not _ROLES[type(role)]:
            return True
        # Within a role and term only a follower's leader can change: a leader is its own, and a candidate has none.
        return isinstance(role, Follower) and shown.leader != role.leader

    @staticmethod
    def _check_promises(before: HardState, after: HardState) -> None:
        """Check that the hard state to be saved breaks no promise of the one before (Figure 2)."""
        assert after.term >= before.term, f"the term goes back from {before.term} to {after.term}"
        if after.term == before.term:
            assert before.vote in (None, after.vote), f"the vote for {before.vote} in term {after.term} stands (§5.2)"
        assert after.founder or not before.founder, "a founder stays one"

    def _hard_state_changed(self) -> bool:
        shown = self._handed_over_hard_state
        return shown.term != self.term or shown.vote != self.vote
