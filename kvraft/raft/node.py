"""One member of the cluster: takes inputs, keeps the state of Figure 2, and returns effects.

The node performs nothing itself. Its inputs are a message, a proposal, a read, news of a connection, and the time; its
output is a `Ready`. What it does with them is told in the modules that are named after the parts of the paper:
`election` (§5.2, §5.4.1, thesis §9.6), `replication` (§5.3, §5.4.2), `read_index` (thesis §6.4), `transfer` (thesis
§3.10).
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
    """A member of the cluster. Its attributes may be read by anyone and are written by this package alone.

    Args:
        node_id: this member.
        membership: the configuration that the snapshot holds, or the one the cluster is born with; those in `entries`
            take its place.
        hard_state: what the journal remembers; the default for a node that has never run.
        entries: the log that the journal remembers, from after the snapshot.
        snapshot: (index, term) of the entry after which the log begins.
        applied: up to here the state machine has what it begins with, and `membership` is the configuration there; no
            less than `snapshot`.
        now: the time, in seconds; every later time must come from the same clock and may not go back.
        random: the source of all randomness.
        voting: False for a node that may have forgotten a promise: it neither votes nor campaigns.
        incarnation: names this node's data directory; None without one. See `identity`, which decides then whether
            the node may vote.
    """

    role: AnyRole
    is_leader: bool
    """Whether `role` is a Leader; an attribute, since it is asked for each request. `election` sets both together."""

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
        """(index, configuration) of all that the log holds, after the one it begins with; the last one counts (§6)."""
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
            # A snapshot was durable before the hard state of its term, in which we have promised nothing.
            self.term, self.vote = self.log.last_term, None
        changes.adopt(self, (entry for entry in entries if entry.index > applied))
        self.durable_hard_state = stored
        # Volatile state; invariant: applying <= commit <= log.last_index.
        self.commit = max(self.log.snapshot_index, applied, min(stored.commit, self.log.last_index))
        self.applying = max(self.log.snapshot_index, applied)
        """The last index that was given out to be applied."""
        assert self.applying <= self.commit <= self.log.last_index, "what was applied is committed and in the log"
        assert self.memberships[0][0] <= self.commit, "the first configuration is committed"
        self.match_index = 0
        """Up to here the log is known to match that of this term's leader, whom it outlives: who asks for pre-votes and
        then hears from the same leader again is not sent the same entries again. A heartbeat's commit index counts no
        further."""
        identity.begin(self)
        self.elections_in_vain = 0
        """Elections in a row, stood in or voted in, since a leader was last heard from; see `election`."""
        self.role, self.is_leader = Follower(now + self.random_timeout()), False
        self.states, self.facts = States(), Facts()
        # Effects since the last Ready.
        self.messages: list[tuple[int, Message]] = []
        self.replies: list[tuple[int, Message]] = []
        self.ack: tuple[int, AppendEntriesReply] | None = None
        """The newest acknowledgement of entries; it stands for all before it."""
        self.confirmed_reads: list[Read] = []
        self.aborted_reads: list[object] = []
        self.snapshots_wanted: list[int] = []
        self.snapshot_replies: list[tuple[int, InstallSnapshotReply]] = []
        self.snapshot_pieces: list[tuple[int, InstallSnapshot]] = []
        self._handed_over_hard_state = stored
        self._shown = SoftState(Role.FOLLOWER, -1, None)

    # Inputs.

    def step(self, sender: int, message: Message, now: float) -> None:
        """Take a message from another member.

        Raises:
            MessageRefused: no honest member can have sent it; the node is unchanged.
        """
        self.observe_time(now)
        if sender == self.id:
            raise MessageRefused("a message from myself")
        # A node that holds nothing may join a cluster of any age.
        if self.log.last_index > 0 and message.term > self.term + TERM_LEAP_MAX:
            raise MessageRefused(f"term {message.term} is absurd: this node is in term {self.term}")
        _STEPS[type(message)](self, sender, message)

    def wake(self, now: float) -> None:
        """Do what is due; harmless when called early, and late is only late."""
        self.observe_time(now)
        if now < self.role.deadline:
            return
        if isinstance(self.role, Leader):
            replication.lead_on(self, self.role)
        else:
            # Each timeout asks again whether an election can be won, even for a candidate: its term grows no further
            # while it cannot (row 24).
            election.pre_campaign(self)

    def propose(self, payloads: Sequence[bytes], now: float, kind: int = EntryKind.COMMANDS) -> tuple[int, int]:
        """Append one entry for each payload; return the term and the index of the first.

        Raises:
            NotLeader: this node does not lead.
            ProposalRefused: leadership is being handed over, or too much waits to be committed.
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

    def read_index(self, ticket: object, now: float) -> None:
        """Ask for the index at which a linearizable read may be answered; it comes with `ticket` in a later Ready.

        Raises:
            NotLeader: this node does not lead.
        """
        self.observe_time(now)
        if not isinstance(self.role, Leader):
            raise NotLeader(self.leader)
        self.role.new_reads.append(ticket)

    def transfer_leadership(self, target: int, now: float) -> None:
        """Begin to hand leadership to `target`; proposals are refused until it is done or given up.

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
        """Whether this leader is handing its leadership over."""
        return isinstance(self.role, Leader) and self.role.transfer is not None

    def best_successor(self) -> int | None:
        """Return the voter whose log is longest among those heard from lately; None on a node that does not lead."""
        return transfer.best_target(self, self.role) if isinstance(self.role, Leader) else None

    def resign(self, now: float) -> None:
        """Stop leading without a successor, and give the others time to elect one of theirs."""
        self.observe_time(now)
        if isinstance(self.role, Leader):
            election.become_follower(self, self.term, None)
            self.role.deadline = now + 2 * self.options.election_timeout_max

    def make_way(self, now: float) -> bool:
        """Stop leading over a disk that has not answered for long, if another can do better; return whether it did."""
        self.observe_time(now)
        if not (isinstance(self.role, Leader) and transfer.can_another_do_better(self, self.role)):
            return False
        self.resign(now)
        return True

    def stand_back(self, now: float) -> None:
        """Neither lead nor stand for election for a while: what this node would promise cannot be made durable."""
        self.observe_time(now)
        if not isinstance(self.role, Follower):
            election.become_follower(self, self.term, None)
        self.role.deadline = now + 2 * self.options.election_timeout_max

    def change_membership(
        self, target: Membership, now: float, *, force: bool = False, unreachable: Collection[int] = ()
    ) -> tuple[int, int]:
        """Begin to change the membership to `target`; return the term and the index of the entry that begins it.

        Unless `force`, a majority of its voters must be heard from, those that are `unreachable` left out: members that
        do not answer where `target` has them.

        Raises:
            NotLeader: this node does not lead.
            ProposalRefused: another change is under way, or this one would leave no living quorum; see `changes`.
        """
        self.observe_time(now)
        if not isinstance(self.role, Leader):
            raise NotLeader(self.leader)
        return self.term, changes.propose(self, self.role, target, force=force, unreachable=unreachable)

    def compact(self, index: int) -> None:
        """Forget the log up to `index`; a durable snapshot must cover what was applied at least as far."""
        index = min(index, self.applying)
        if index <= self.log.snapshot_index:
            return  # a snapshot from the leader has overtaken the one that the caller took
        self.log.compact(index)
        while len(self.memberships) > 1 and self.memberships[1][0] <= self.log.snapshot_index:
            del self.memberships[0]
        assert self.memberships[0][0] <= self.commit, "the first configuration is committed"

    def membership_at(self, index: int) -> Membership:
        """Return the configuration that stands in the log at or before `index`: what a snapshot up to there holds."""
        return next(membership for at, membership in reversed(self.memberships) if at <= index)

    def install_snapshot(self, index: int, term: int, membership: Membership) -> bool:
        """Go on after a snapshot that is durable, verified and loaded; False when it is of no use any more."""
        return snapshots.install(self, index, term, membership)

    def snapshot_sent(self, peer: int, installed_index: int | None, now: float) -> None:
        """Learn that `peer` has installed the snapshot that ends with `installed_index`; None: that it has not."""
        self.observe_time(now)
        if isinstance(self.role, Leader):
            snapshots.note_sent(self, self.role, peer, installed_index)

    def peer_introduced(self, peer: int, incarnation: str | None, now: float, *, is_empty: bool | None) -> None:
        """`peer` names its incarnation, and whether its log is empty; None for what it does not say."""
        self.observe_time(now)
        identity.hear(self, peer, incarnation, is_empty=is_empty)

    def peer_lost(self, peer: int, now: float) -> None:
        """A connection to or from `peer` broke: a hint, not proof, that it is dead.

        A follower whose leader it was, or the candidate that it voted for, asks soon whether it could win an election,
        instead of waiting out its timeout. PreVote and the stickiness of the others make that harmless when only one
        link broke.
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
                    delay = self.random.uniform(self.options.peer_lost_delay_min, self.options.peer_lost_delay_max)
                    follower.deadline = now + delay

    def peer_connected(self, peer: int, now: float) -> None:
        """A connection to `peer` stands again: what was sent before may be lost, so repeat it or probe now."""
        self.observe_time(now)
        if isinstance(self.role, Leader) and peer in self.role.progress:
            self.role.progress[peer].become_probe()
        election.repeat(self, peer)

    def acknowledged_by(self, peer: int) -> Acknowledged | None:
        """Return what `peer` is known to have acknowledged: it must find that on its disk."""
        return acknowledged.known(self, peer)

    def lacks(self, told: Acknowledged) -> bool:
        """Whether this node lacks what another one says that it has acknowledged."""
        return acknowledged.lacks(self, told)

    def peer_forgot(self, peer: int, now: float) -> None:
        """`peer` came back without its log: what it acknowledged before counts for nothing any more."""
        self.observe_time(now)
        if (progress := self.progress_of(peer)) is not None:
            progress.match = 0
            progress.become_probe()
            progress.next = self.log.last_index + 1

    def state_differs(self, peer: int, index: int, now: float) -> None:
        """Tell `peer` at once, and with each heartbeat, that its state was found to differ at `index`."""
        self.observe_time(now)
        if isinstance(self.role, Leader) and peer in self.role.progress:
            self.states.differing[peer] = index
            self.send(peer, Heartbeat(self.term, self.commit, self.role.round, differs=index))

    def regain_vote(self) -> None:
        """Let a node vote again that has caught up with what it may have forgotten.

        Its vote in this term stays unused.
        """
        assert not self.voting, "who has a vote cannot get it once more, and must not lose that of this term"
        assert not isinstance(self.role, Leader | Candidate), "nobody stands without a vote"
        self.voting = True
        if self.term > 0 and self.vote is None:
            self.vote = self.id

    # Outputs.

    @property
    def deadline(self) -> float:
        """When `wake` is due, in the clock's seconds."""
        return self.role.deadline

    @property
    def membership(self) -> Membership:
        """The configuration by which this node goes: the latest in its log (§6)."""
        return self.memberships[-1][1]

    @property
    def membership_index(self) -> int:
        """The index of its entry; where the log begins when it has none."""
        return self.memberships[-1][0]

    @property
    def leader(self) -> int | None:
        """The leader of this term, as far as it is known here."""
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
        """Return what this leader knows of `peer`'s log; None for no member, and on a node that does not lead."""
        return self.role.progress.get(peer) if isinstance(self.role, Leader) else None

    def heard_since(self, moment: float) -> dict[int, Progress]:
        """Return what this leader knows of those it has heard from at `moment` or later; nothing on other nodes."""
        return self.role.heard_since(moment) if isinstance(self.role, Leader) else {}

    def has_ready(self) -> bool:
        """Whether `ready` has anything to tell."""
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
        """Take the effects of everything since the last call; see `Ready` for what must be done with them."""
        if isinstance(self.role, Leader):
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
        """Learn that what `ready` wanted saved is durable. Called once for each Ready, in their order."""
        if ready.hard_state is not None:
            assert self.durable_hard_state.term <= ready.hard_state.term <= self.term, "saves end in their order"
            self.durable_hard_state = ready.hard_state
            election.count_own_vote(self)
        if ready.entries:
            self.log.saved()
            if isinstance(self.role, Leader):
                replication.advance_commit(self, self.role)

    # What the parts of the algorithm share.

    def observe_time(self, now: float) -> None:
        """Take the time of an input."""
        if now > self.now:  # noqa: PLR1730 - asked at each input, too often for max()
            self.now = now

    def random_timeout(self) -> float:
        """Draw an election timeout (§5.2), seconds."""
        return self.random.uniform(self.options.election_timeout_min, self.options.election_timeout_max)

    def send(self, to: int, message: Message) -> None:
        """Send what promises nothing."""
        self.messages.append((to, message))

    def promise(self, to: int, message: Message) -> None:
        """Send what may be said only when the state it rests on is durable."""
        assert to != self.id, "a promise to myself"
        assert message.term <= self.term, f"a promise in term {message.term}, and this node is in {self.term}"
        self.replies.append((to, message))

    def _soft_state_changed(self) -> bool:
        shown, role = self._shown, self.role
        if shown.term != self.term or shown.role is not _ROLES[type(role)]:
            return True
        # The leader of a leader's term is known, and a candidate of either kind knows none.
        return isinstance(role, Follower) and shown.leader != role.leader

    @staticmethod
    def _check_promises(before: HardState, after: HardState) -> None:
        """Check that what is to be saved takes nothing back that was promised (Figure 2)."""
        assert after.term >= before.term, f"the term goes back from {before.term} to {after.term}"
        if after.term == before.term:
            assert before.vote in (None, after.vote), f"the vote for {before.vote} in term {after.term} stands (§5.2)"
        assert after.founder or not before.founder, "a founder stays one"

    def _hard_state_changed(self) -> bool:
        shown = self._handed_over_hard_state
        return shown.term != self.term or shown.vote != self.vote
