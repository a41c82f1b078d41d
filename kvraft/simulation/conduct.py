"""Rules for a node beyond the properties of Figure 3, whose violation shows no immediate damage.

They are checked from outside, by a node's messages and by its changes from one event to the next. Among them: a node
stands for election only after a majority has granted its pre-vote. A leader has the votes of a majority, contact to a
quorum, and has a disk that answers. Membership changes come one at a time. Each rule names its source.
"""

from collections.abc import Callable, Collection, Iterable, Sequence

import attrs

from kvraft.raft import EntryKind, InvariantViolated, Membership, Message, Node
from kvraft.raft.messages import PreVote, PreVoteReply, RequestVote
from kvraft.raft.roles import Follower, Leader
from kvraft.raft.transfer import SILENT_HEARTBEATS
from kvraft.simulation.conduct_of_leaders import Leadership, could_another_lead
from kvraft.simulation.member import Member

SILENT_MAX_S: float = 1.5
"""Longest time as leader without a quorum, seconds: CheckQuorum takes slightly more than an election timeout."""
STALLED_MAX_S: float = 1.5
"""Longest time as leader after a save has already taken so long, seconds, while another member could lead (row 26)."""
FULL_MAX_S: float = 0.5
"""Longest time as leader with a full disk, seconds: it cannot commit what it accepts."""
HANDOVER_MAX_S: float = 2.5
"""Longest time of a leadership transfer, seconds: it is aborted after `TRANSFER_S_MAX` (row 23)."""
OVERTIME_MAX_S: float = 0.4
"""Longest time of a transfer after its deadline while its target answers, seconds: four heartbeats."""
EVENTS_MIN: int = 10
"""Fewest events of a node before one of these times counts as exceeded: it may have been paused until just now."""
LOOKS_S: float = 0.02
"""Interval of the checks of these times, seconds."""


Objection = Callable[[InvariantViolated], None]
"""Takes a violation that was noticed while production code runs, which may catch what is raised."""


def majorities(membership: Membership) -> Sequence[Collection[int]]:
    """Return the sets of voters of which majorities must agree (§6), computed without the code under test."""
    return [voters for voters in (membership.voters, membership.outgoing) if voters]


def who(membership: Membership) -> tuple[Collection[int], ...]:
    """Return the voters, the outgoing voters and the learners of a configuration."""
    return membership.voters, membership.outgoing, membership.learners


def agree(sets: Iterable[Collection[int]], who: Collection[int]) -> bool:
    """Whether `who` holds a majority of each set."""
    return all(2 * sum(voter in who for voter in voters) > len(voters) for voters in sets)


def demand(holds: bool, rule: str) -> None:
    """Raise InvariantViolated unless the rule is kept.

    Checks that are made often call it only after they fail: making the text costs more than most of them.
    """
    if not holds:
        raise InvariantViolated(rule)


@attrs.define
class Before:
    """The state of a node before an event."""

    term: int
    is_leader: bool
    is_transferring: bool
    last_index: int
    commit: int
    membership: Membership

    @classmethod
    def of(cls, node: Node) -> "Before":
        """Return the present state of `node`."""
        leader = node.role if isinstance(node.role, Leader) else None
        return cls(
            node.term,
            leader is not None,
            leader is not None and leader.transfer is not None,
            node.log.last_index,
            node.commit,
            node.membership,
        )

    @property
    def majorities(self) -> Sequence[Collection[int]]:
        """The sets of voters before the event, by which its decisions may have been counted."""
        return majorities(self.membership)


@attrs.define
class _Patience:
    """How long a condition of a leader has lasted, and over how many of its events."""

    since: float | None = None
    events: int = 0

    def is_over(self, now: float, held_until: float, longest_s: float) -> bool:
        """Record that the condition holds at `now`; return whether it has lasted too long since the last pause."""
        if self.since is None:
            self.since, self.events = now, 0
        self.events += 1
        self.since = max(self.since, held_until)  # a paused process cannot react
        return now - self.since > longest_s and self.events > EVENTS_MIN


@attrs.define
class Conduct:
    """Checks one process."""

    member: Member
    node: Node
    before: Before
    _silence: _Patience = attrs.field(factory=_Patience)
    _stall: _Patience = attrs.field(factory=_Patience)
    _full: _Patience = attrs.field(factory=_Patience)
    _handover: _Patience = attrs.field(factory=_Patience)
    _overtime: _Patience = attrs.field(factory=_Patience)
    _leadership: Leadership = attrs.field(factory=Leadership)
    _encouragements: int = 0
    """How many of the messages that wait to be sent grant a pre-vote."""
    _acked: tuple[int, int, int | None] = (0, 0, None)
    """Term of the latest acknowledgement, the index of its entry, and the term of that entry."""
    _heard: float | None = None
    """When the leader's last message arrived, as of the previous event."""
    _heard_in: int = 0
    """The term of the previous event."""
    _looked: float = 0.0
    """When its leadership was last checked, by its own clock."""

    def after_each(self, leader: Leader | None) -> None:
        """Check the rules that can be broken without a change of the node's state; called after every event.

        `leader` is the role of a node that leads, else None.
        """
        # This runs most often of all checks: without a violation it allocates nothing and calls little.
        node, role = self.node, self.node.role
        if node.messages or self._encouragements:
            self._check_loyalty()
        self._heard_in = node.term
        if leader is not None:
            self._heard = node.now
            self._leadership.led, self._leadership.term = leader, node.term
            if node.now - self._looked >= LOOKS_S:
                self._looked = node.now
                self._check_leadership(node, leader)
            return
        if self._leadership.led is not None:
            wrong = self._leadership.why_not_over(self.member, node, majorities(node.membership))
            demand(wrong is None, f"{wrong} (row 26)")
        self._heard = role.last_contact if isinstance(role, Follower) and role.leader is not None else None
        self._silence.since = self._stall.since = self._full.since = None
        self._handover.since = self._overtime.since = None

    def _check_leadership(self, node: Node, role: Leader) -> None:
        """Check that a leader has a quorum and a disk that answers, and that no transfer lasts too long."""
        recent = node.now - node.options.election_timeout_max
        for progress in role.progress.values():
            if progress.last_contact < recent:
                self._check_silence(role)
                break
        else:
            self._silence.since = None
        if self.member.save_takes_s <= STALLED_MAX_S or not could_another_lead(node, role, majorities(node.membership)):
            self._stall.since = None
        elif self._is_over(self._stall, STALLED_MAX_S):
            raise InvariantViolated(
                f"node {node.id} leads on while its disk does not answer and another could lead (row 26)"
            )
        if self.member.journal is None or self.member.journal.full is None:
            self._full.since = None
        elif self._is_over(self._full, FULL_MAX_S):
            raise InvariantViolated(f"node {node.id} leads on while its disk is full (row 26)")
        self._check_handover(node, role)

    def _check_handover(self, node: Node, leader: Leader) -> None:
        """Check that a transfer ends in time, and soon after its deadline unless its target may be saving its vote.

        Such a target is silent, and its connection stands.
        """
        transfer = leader.transfer
        if transfer is None:
            self._handover.since = self._overtime.since = None
            return
        if self._is_over(self._handover, HANDOVER_MAX_S):
            raise InvariantViolated(
                f"node {node.id} accepts no writes: its leadership transfer lasts too long (row 23)"
            )
        target = leader.progress.get(transfer.target)
        silent_since = node.now - SILENT_HEARTBEATS * node.options.heartbeat_interval
        assembly = self.member.assembly
        may_be_saving = assembly is not None and assembly.peers.connected(transfer.target)
        is_silent = target is None or (target.last_contact < silent_since and may_be_saving)
        if node.now < transfer.deadline or is_silent:
            self._overtime.since = None
        elif self._is_over(self._overtime, OVERTIME_MAX_S):
            raise InvariantViolated(
                f"node {node.id} accepts no writes: node {transfer.target} was to lead long ago, and does not (row 23)"
            )

    def _check_silence(self, leader: Leader) -> None:
        """Check that a majority has answered the leader recently, or that this has not lasted long."""
        node, silent = self.node, self._silent(leader)
        heard = {*leader.progress, node.id} - {*silent}
        if agree(majorities(node.membership), heard):
            self._silence.since = None
        elif self._is_over(self._silence, SILENT_MAX_S):
            raise InvariantViolated(
                f"node {node.id} leads on without an answer from {silent} (CheckQuorum, thesis §6.2)"
            )

    def _is_over(self, patience: _Patience, longest_s: float) -> bool:
        machine = self.member.machine
        # Not the machine's time, which is ahead if the process was paused in the middle of this event.
        return patience.is_over(machine.world.now, machine.held_until, longest_s)

    def _silent(self, leader: Leader) -> list[int]:
        recent = self.node.now - self.node.options.election_timeout_max
        return [peer for peer, each in leader.progress.items() if each.last_contact < recent]

    def _check_loyalty(self) -> None:
        """Check that a node that receives a leader's messages grants no pre-vote (thesis §4.2.3)."""
        node, heard = self.node, self._heard
        count = 0
        for _, message in node.messages:
            if type(message) is PreVoteReply and message.granted:
                count += 1
        is_new, self._encouragements = count > self._encouragements, count
        if is_new and heard is not None and node.term == self._heard_in:
            demand(
                node.now - heard >= node.options.election_timeout_min,
                f"node {node.id} grants a pre-vote within an election timeout of its leader's last message (row 24)",
            )

    def acked(self, term: int, index: int) -> None:
        """Record that an entry was acknowledged, and check that the log is known to match the leader's there (§5.3)."""
        demand(
            index <= self.node.match_index,
            f"node {self.node.id} acknowledges entry {index} in term {term}, and knows its log to match the leader's "
            f"up to {self.node.match_index} (§5.3)",
        )
        if (term, index) > self._acked[:2]:
            self._acked = term, index, self.node.log.term_at(index)

    def _check_acked(self) -> None:
        """Check that an entry that was acknowledged to a leader stays in the log for the leader's term (§5.3)."""
        node = self.node
        term, index, entry_term = self._acked
        if node.term <= term and index > node.log.snapshot_index and node.log.term_at(index) != entry_term:
            raise InvariantViolated(
                f"node {node.id} has acknowledged entry {index} in term {term} and has dropped it in the same term"
            )

    def after_change(self) -> None:
        """Check the changes of an event."""
        node, before = self.node, self.before
        self._check_acked()
        after = self.before = Before.of(node)
        if before.is_leader and after.is_leader and before.term == after.term:
            self._check_commit(before)
            self._check_appended(before, after)

    def _check_commit(self, before: Before) -> None:
        node = self.node
        if node.commit != before.commit and node.log.term_at(node.commit) != node.term:
            raise InvariantViolated(
                f"node {node.id} commits entry {node.commit} of term {node.log.term_at(node.commit)} by counting "
                f"copies in term {node.term} (§5.4.2)"
            )

    def _check_appended(self, before: Before, after: Before) -> None:
        node = self.node
        for index in range(max(before.last_index, node.log.snapshot_index) + 1, node.log.last_index + 1):
            if node.log[index].kind == EntryKind.MEMBERSHIP:
                self._check_change(index)
            elif before.is_transferring and after.is_transferring:
                raise InvariantViolated(
                    f"node {node.id} appends entry {index} during a leadership transfer (thesis §3.10, row 43)"
                )

    def _check_change(self, index: int) -> None:
        """Check that the configuration of entry `index` may follow. One that only adds incarnations always may."""
        node = self.node
        earlier = [(at, who(membership)) for at, membership in node.memberships if at < index]
        if not earlier or earlier[-1][1] == who(node.membership_at(index)):
            return
        settled = who(node.membership_at(node.commit))
        under_way = [at for at, membership in earlier if at > node.commit and membership != settled]
        demand(
            not under_way,
            f"node {node.id} begins a change at entry {index} while that of {under_way} is under way (row 21)",
        )
        demand(
            node.log.term_at(node.commit) == node.term,
            f"node {node.id} begins a change before it has committed an entry of its term (row 14)",
        )


class Elections:
    """Records the granted pre-votes, across all restarts of all nodes."""

    def __init__(self) -> None:
        self._encouraged: dict[tuple[int, int], set[int]] = {}
        """By (candidate, term): the nodes that granted the pre-vote."""
        self._stood: dict[tuple[int, int], Sequence[Collection[int]]] = {}
        """By (node, term): the sets of voters when this voter became a candidate."""

    def looks(self, node: Node) -> None:
        """Record a candidate at once: while its RequestVote waits for its disk, its configuration may change."""
        if _is_voter(node):
            self._stood.setdefault((node.id, node.term), majorities(node.membership))

    def said(self, sender: Member, before: Before, to: int, message: Message) -> None:
        """Record a message of an election from `sender` to `to`, and check whether it is allowed."""
        if isinstance(message, (PreVote, RequestVote)) and sender.node.term <= message.term:
            demand(
                _is_voter(sender.node)
                or (isinstance(message, RequestVote) and (sender.id, message.term) in self._stood),
                f"node {sender.id} stands for election and is no voter (thesis §4.2.1, row 20)",
            )
        match message:
            case PreVoteReply(granted=True, term=term):
                self._encouraged.setdefault((to, term), set()).add(sender.id)
            case RequestVote(term=term, transfer=False) if sender.node.term == term:
                yes = {sender.id} | self._encouraged.get((sender.id, term), set())
                now = majorities(sender.node.membership)
                demand(
                    any(agree(sets, yes) for sets in (before.majorities, now, self._stood.get((sender.id, term), now))),
                    f"node {sender.id} stands for election in term {term}, and only {sorted(yes)} have granted its "
                    "pre-vote (thesis §9.6, row 24)",
                )


def _is_voter(node: Node) -> bool:
    """Whether a node is a voter in any configuration that it holds."""
    return any(node.id in voters for _, each in node.memberships for voters in majorities(each))


def check_votes(node: Node, before: Before, votes: Collection[int]) -> None:
    """Check that a new leader has durable votes of a majority; `votes` are the nodes that gave one (§5.2)."""
    demand(
        any(agree(sets, votes) for sets in (before.majorities, majorities(node.membership)) if sets),
        f"node {node.id} leads term {node.term} with the votes of {sorted(votes)}, no majority of "
        f"{' and '.join(str(sorted(each)) for each in majorities(node.membership))} (§5.2)",
    )


def check_configurations(node: Node) -> None:
    """Check that a node uses every configuration that its log holds (§6, row 19)."""
    begins = node.memberships[0][0]
    log = node.log
    in_log = [
        index
        for index in range(max(begins, log.snapshot_index) + 1, log.last_index + 1)
        if log[index].kind == EntryKind.MEMBERSHIP
    ]
    known = [index for index, _ in node.memberships[1:]]
    demand(in_log == known, f"node {node.id} uses the configurations {known}, and its log holds {in_log} (§6)")
