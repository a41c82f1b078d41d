"""The invariants of a simulated cluster, checked after every event and without help of the code under test.

Each check raises `InvariantViolated`, whose text names the broken rule. The properties of single nodes and those of
Figure 3 are in `kvraft.raft.invariants`. This module adds the checks that need the disks and the stores: every promise
is durable, every committed entry is on the disks of a majority, and equal logs produce equal states.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Final, cast

import attrs

from kvraft.peers.forwarded import PeerMessage
from kvraft.process.assembly import Assembly
from kvraft.raft import EntryKind, HardState, InvariantViolated, Membership, Message, Node, Ready
from kvraft.raft.invariants import ClusterHistory, NodeHistory
from kvraft.raft.messages import (
    AppendEntries,
    AppendEntriesReply,
    HeartbeatReply,
    InstallSnapshot,
    InstallSnapshotReply,
    PreVote,
    PreVoteReply,
    RequestVote,
    RequestVoteReply,
)
from kvraft.raft.roles import Candidate, Leader
from kvraft.replica import PeerTransport, Replica
from kvraft.replica.cluster_clock import MICROSECONDS
from kvraft.simulation.conduct import (
    Before,
    Conduct,
    Elections,
    agree,
    check_configurations,
    check_votes,
    demand,
    majorities,
)
from kvraft.simulation.conduct_of_logs import Marks, Tail, Votes, check_allegiance, check_amount, check_removal
from kvraft.simulation.conduct_of_members import Departures, watch_regained_vote
from kvraft.simulation.conduct_of_processes import watch_calls
from kvraft.simulation.conduct_of_reads import ReadRounds
from kvraft.simulation.founders import Founders
from kvraft.simulation.member import Member
from kvraft.simulation.moments import Moments
from kvraft.simulation.refusals import REFUSED_S, SERVED_S, check_refused, check_served
from kvraft.simulation.views import check_equal_keys, check_members
from kvraft.storage.extent import Extent

_match_of: Final = attrgetter("match")


@attrs.define
class _Watched:
    """One process under observation."""

    node: Node
    history: NodeHistory
    conduct: Conduct
    tail: Tail = attrs.field(factory=Tail)
    marks: Marks = attrs.field(factory=Marks)
    reads: ReadRounds = attrs.field(factory=ReadRounds)
    departures: Departures = attrs.field(factory=Departures)
    outline: tuple[object, ...] = ()
    commit: int = 0
    applied: int = 0
    cluster_time: int = 0
    founder: bool = False
    led: bool = False
    """Whether it was the leader after the previous event."""
    membership: Membership | None = None
    """The configuration that was told to operators when that was last compared."""
    begins: int = -1
    """The index of the first configuration that it holds."""


class Checks:
    """Checks every process of a cluster."""

    def __init__(self, members: Mapping[int, Member]) -> None:
        self.figure_3 = ClusterHistory()
        self.violations: list[InvariantViolated] = []
        """Violations found while production code ran. That code may catch exceptions, so they are also listed here."""
        self.elected: Callable[[Member], None] = lambda _member: None
        """Called with each new leader."""
        self.moments = Moments()
        """The callbacks that wait for a decision or a message of a node."""
        self.messages = self.denials = 0
        """How many messages all nodes have sent, and how many of them reject an AppendEntries."""
        self._members = members
        self._watched: dict[int, _Watched] = {}
        self._states: dict[int, tuple[tuple[int, ...], int]] = {}
        """By index: the outline of a store that has applied it, and the first node that reached it."""
        self._elections = Elections()
        self._of_logs = Votes()
        self._founders = Founders()
        self._led: set[int] = set()
        """The terms whose leaders were checked."""
        self._terms: dict[int, int] = {}
        """The highest term that each node has made durable, over all its processes."""
        self._votes: dict[tuple[int, int], int] = {}
        """By (node, term): the candidate that got its vote, over all its processes."""
        self._snapshots: dict[str, int] = {}
        """By id of a snapshot that was sent: the last entry that it covers."""
        self._acks: dict[int, tuple[int, int]] = {}
        """The term of each node's latest acknowledgement, and the highest entry that it acknowledged."""
        self._acks_of_all: dict[int, tuple[int, int]] = {}
        """Like `_acks`, but kept when a node has lost its memory."""
        self._reached = 0
        """The last entry that any node has applied."""

    def _check_kept(self, member: int, node: Node) -> None:
        """Check that a restarted node has all that it acknowledged, unless a later leader has replaced it (row 4)."""
        term, index = self._acks.get(member, (0, 0))
        demand(
            node.term > term or node.log.last_index >= index,
            f"node {member} has acknowledged entry {index} in term {term}, and comes back with a log that ends at "
            f"{node.log.last_index}",
        )

    def watch(self, member: Member, assembly: Assembly) -> None:
        """Begin to check a new process, and every promise that it sends."""
        node = assembly.replica.node
        if not (member.has_older_copy or member.has_empty_disk or member.forgets):
            self._check_remembered(member, node)
        if not member.has_empty_disk:
            self._founders.begins(member, node)
        self._watched[member.id] = _Watched(
            node, NodeHistory(node), Conduct(member, node, Before.of(node)), founder=node.founder
        )
        check_configurations(node)
        if member.forgets:
            self._note_lost_memories(node, self._watched[member.id].history)
            watch_regained_vote(node, lambda: self._acks_of_all.get(member.id, (0, 0)), self.violations.append)
        self._look_ahead_of_effects(member, node)
        assembly.replica.connect(PromiseKeeper(assembly.peers, member, self))
        watch_calls(member, assembly, self.figure_3.committed, lambda: self._reached, self.violations.append)

    def _check_remembered(self, member: Member, node: Node) -> None:
        """Check that a restarted node still has its term, its vote and what it acknowledged."""
        demand(
            node.term >= self._terms.get(member.id, 0),
            f"node {member.id} has lost term {self._terms.get(member.id, 0)}: it comes back in term {node.term}",
        )
        promised = self._votes.get((member.id, node.term), node.vote)
        demand(
            promised == node.vote,
            f"node {member.id} has lost its vote for {promised} in term {node.term}: it comes back with {node.vote}",
        )
        if not member.rots:  # else recovery may cut off the last save as torn; its disk is then restored from a copy
            self._check_kept(member.id, node)

    def _look_ahead_of_effects(self, member: Member, node: Node) -> None:
        """Check a node also after each decision, before any effect of it has happened.

        The process may end at one of these effects, after it has already sent some of its messages.
        """
        take = node.ready

        def look_and_take() -> Ready:
            self.noted(self.after, member)
            if self.moments.decisions and member.is_running:
                self.moments.decided(member)
            return take()

        node.ready = look_and_take  # type: ignore[method-assign]

    def _note_lost_memories(self, node: Node, history: NodeHistory) -> None:
        """Drop a member's acknowledgements from the checks when a leader learns that the member has lost its log."""
        forget = node.peer_forgot

        def forget_and_note(peer: int, now: float) -> None:
            forget(peer, now)
            history.peer_forgot(peer)
            if node.is_leader:
                self._acks.pop(peer, None)

        node.peer_forgot = forget_and_note  # type: ignore[method-assign]

    def noted(self, check: Callable[..., None], *looked_at: object) -> None:
        """Run a check while production code runs. A violation is also listed, since that code may catch it."""
        try:
            check(*looked_at)
        except InvariantViolated as violation:
            self.violations.append(violation)
            raise

    def after(self, member: Member) -> None:
        """Check `member` after one of its events."""
        assembly = member.assembly
        if assembly is None:
            return
        watched = self._watched[member.id]
        node = watched.node
        role = node.role
        leader = role if type(role) is Leader else None
        if watched.led is (leader is None):
            self._leads_or_not(member, watched, assembly.replica)
        watched.conduct.after_each(leader)
        if leader is not None:
            watched.tail.after_each(node, leader)
            watched.reads.after_each(node, leader)
        log = node.log
        outline = (  # changes whenever anything changes that the checks below depend on
            node.term,
            node.vote,
            node.founder,
            node.commit,
            node.applying,
            log.last_index,
            log.durable,
            log.snapshot_index,
            type(role),
            len(node.memberships),
            None if leader is None else [*map(_match_of, leader.progress.values())],
        )
        if outline == watched.outline:
            return
        watched.outline = outline
        if node.founder != watched.founder:
            watched.founder = node.founder
            self._founders.appears(node)
        watched.history.observe()
        self.figure_3.look_at(node)
        before = watched.conduct.before
        if type(role) is Candidate:
            self._elections.looks(node)
        if leader is not None:
            if node.term not in self._led:
                self._check_elected(member, before)
                self.elected(member)
            if node.commit > watched.commit:
                self._check_committed(node, before)
        watched.conduct.after_change()
        watched.tail.after_change(node)
        self._of_logs.after_change(node)
        check_allegiance(node, self.figure_3.leaders)
        watched.marks.after_change(member, node)
        self._look_at_configurations(watched, node, assembly.replica)
        watched.commit = node.commit
        if member.store.applied_index != watched.applied:
            watched.applied = member.store.applied_index
            self._reached = max(self._reached, watched.applied)
            self._check_state(member, watched)

    def _look_at_configurations(self, watched: _Watched, node: Node, replica: Replica) -> None:
        watched.departures.after_change(node)
        begins = node.memberships[0][0]
        if begins != watched.begins:
            watched.begins = begins
            self._check_beginning(node)
        if node.membership is not watched.membership:
            watched.membership = node.membership
            check_members(node, replica)

    def _leads_or_not(self, member: Member, watched: _Watched, replica: Replica) -> None:
        """Check a moment later what became of requests at a node that has just begun to lead, or has ended to."""
        watched.led = not watched.led
        world, machine = member.machine.world, member.machine
        if watched.led:
            world.at(world.now + SERVED_S, machine, self.noted, check_served, member.id, replica, replica.node.term)
        else:
            world.at(world.now + REFUSED_S, machine, self.noted, check_refused, member.id, replica)

    def promised(self, member: Member, to: int, message: PeerMessage) -> None:
        """Check a message that `member` sends: what it promises must be durable (Figure 2, rows 1 to 3)."""
        if type(message) in _OF_ELECTIONS:
            self._elections.said(member, self._watched[member.id].conduct.before, to, cast(Message, message))
        match message:
            case HeartbeatReply(term=term, round=round) if round > 0:
                self._check_durable(member, term, "to follow")
            case RequestVoteReply(granted=True, term=term):
                extent = self._check_durable(member, term, "a vote")
                demand(
                    extent.hard_state.term > term or extent.hard_state.vote == to,
                    f"node {member.id} grants a vote it has not saved",
                )
                self._founders.promises(member, member.node)
                self._note_vote(member.id, term, to)
            case RequestVote(term=term, last_term=last_term, last_index=last_index):
                self._check_durable(member, term, "its candidacy")
                self._founders.promises(member, member.node)
                self._of_logs.asks(member.id, term, last_term, last_index)
                self._note_vote(member.id, term, member.id)
            case AppendEntriesReply(success=True, term=term, index=index):
                extent = self._check_durable(member, term, "entries")
                self._note_acknowledged(member, term, index)
                # An acknowledgement sent in a later term than its own may be for an entry that was replaced since,
                # even by the same save. That is harmless: had a majority acknowledged it, each later leader would
                # have the entry.
                # A snapshot is durable before it replaces the log in memory, and only then the log on the disk.
                covered = max(extent.base_index, member.node.log.snapshot_index)
                if extent.hard_state.term <= term and max(extent.last_index, covered) < index:
                    raise InvariantViolated(
                        f"node {member.id} acknowledges entry {index}, and its disk ends at {extent.last_index}"
                    )
            case AppendEntriesReply(success=False, index=index) if index > 0:  # 0: also to a leader of an earlier term
                self.denials += 1
            case InstallSnapshot(snapshot=snapshot, index=index):
                self._snapshots[snapshot] = index
            case InstallSnapshotReply(term=term, installed=is_installed, snapshot=snapshot):
                extent = self._check_durable(member, term, "a snapshot" if is_installed else "a piece of a snapshot")
                if is_installed:
                    self._check_installed(member, extent, snapshot)

    def removing(self, member: Member, path: Path) -> None:
        """Check that a node may delete the file that it is about to delete."""
        if path.name.startswith("segment"):
            self.noted(check_removal, member, path)

    def at_the_end(self) -> None:
        """Check log matching (Figure 3) and equal states on all members, which takes too long after every event."""
        running = [member for member in self._members.values() if member.is_running]
        self.figure_3.check_log_matching(member.node for member in running)
        check_equal_keys(running)

    def _note_acknowledged(self, member: Member, term: int, index: int) -> None:
        for acks in (self._acks, self._acks_of_all):
            acks[member.id] = max(acks.get(member.id, (0, 0)), (term, index))
        if term == member.node.term:
            self._watched[member.id].conduct.acked(term, index)

    def _check_durable(self, member: Member, term: int, what: str) -> Extent:
        assert member.journal is not None
        extent = member.journal.extent
        if extent.hard_state.term < term:
            raise InvariantViolated(
                f"node {member.id} promises {what} in term {term}, and its disk has only term {extent.hard_state.term}"
            )
        if member.has_failed_to_sync:
            raise InvariantViolated(f"node {member.id} promises {what} although a sync of its journal has failed")
        # On a full disk even what was read at the start may not be durable. A heartbeat reply is still right: neither a
        # vote nor an acknowledgement is given before its term is on the disk.
        dirty = [path.name for path in member.disk.dirty if path.name.startswith("segment")]
        if dirty and what == "to follow" and member.journal.full is not None:
            return extent
        if dirty:
            raise InvariantViolated(f"node {member.id} promises {what} while {dirty} is not synced")
        self._terms[member.id] = max(self._terms.get(member.id, 0), extent.hard_state.term)
        return extent

    def _check_installed(self, member: Member, extent: Extent, snapshot: str) -> None:
        """Check that `member` has made a snapshot durable that it reports as installed: it is not sent again."""
        covers = self._snapshots[snapshot]
        durable = max(extent.last_index, extent.base_index, member.node.log.snapshot_index)
        demand(
            durable >= covers,
            f"node {member.id} calls a snapshot up to entry {covers} installed, and its disk ends at {durable}",
        )

    def _note_vote(self, member: int, term: int, favourite: int) -> None:
        first = self._votes.setdefault((member, term), favourite)
        demand(first == favourite, f"node {member} votes for {favourite} in term {term}, and has for {first}")

    def _check_elected(self, member: Member, before: Before) -> None:
        """Check that a new leader has the votes of a majority."""
        node = member.node
        self._led.add(node.term)
        durable = member.journal.extent.hard_state if member.journal is not None else HardState()
        if (durable.term, durable.vote) == (node.term, node.id):  # a single voter sends no requests
            self._note_vote(member.id, node.term, node.id)
        votes = {voter for (voter, term), favourite in self._votes.items() if (term, favourite) == (node.term, node.id)}
        check_votes(node, before, votes)

    def _check_beginning(self, node: Node) -> None:
        """Check that the first configuration of a log or snapshot is the one committed at that index (row 16).

        Those after it must be the ones that the log holds.
        """
        check_configurations(node)
        begins, membership = node.memberships[0]
        committed = self.figure_3.committed
        earlier = [at for at, entry in committed.items() if at <= begins and entry.kind == EntryKind.MEMBERSHIP]
        demand(
            not earlier or committed[max(earlier)].payload == membership.encode(),
            f"node {node.id} begins at entry {begins} with another configuration than was committed there",
        )

    def _check_committed(self, node: Node, before: Before) -> None:
        """Check that an entry that a leader commits is on the disks of a majority (§5.3, row 3)."""
        self._note_counted(node)
        term = node.log.term_at(node.commit)
        if node.commit <= node.log.snapshot_index or term is None:
            return
        holds = {member.id for member in self._members.values() if self._holds(member, node.commit, term)}
        # A member without a disk that has lost its log receives all that it acknowledged to this leader again before
        # it promises anything more, so its acknowledgement counts.
        holds |= {
            each for each, (acked_in, index) in self._acks.items() if self._lost_since(each, node, acked_in, index)
        }
        sets = majorities(node.membership)
        if not any(agree(each, holds) for each in (sets, before.majorities) if each):
            raise InvariantViolated(
                f"node {node.id} committed entry {node.commit}, which only the disks of {sorted(holds)} hold, of "
                f"{' and '.join(str(sorted(voters)) for voters in sets)}"
            )

    def _note_counted(self, leader: Node) -> None:
        """Note what the leader counts of its own disk: it may lose that as little as what others acknowledged to it."""
        if not self._members[leader.id].forgets:
            self._acks[leader.id] = max(self._acks.get(leader.id, (0, 0)), (leader.term, leader.log.durable))

    def _lost_since(self, member: int, leader: Node, term: int, index: int) -> bool:
        """Whether a node without a disk has acknowledged what the leader commits, and its loss is not yet detected."""
        return self._members[member].forgets and term == leader.term and index >= leader.commit

    @staticmethod
    def _holds(member: Member, index: int, term: int) -> bool:
        if member.journal is None:
            return False
        extent = member.journal.extent
        return extent.base_index >= index or extent.term_at(index) == term

    def _check_state(self, member: Member, watched: _Watched) -> None:
        store = member.store
        if member.has_other_state:
            return
        outline = (store.checksum, store.revision, store.key_count, store.cluster_time)
        state, first = self._states.setdefault(store.applied_index, (outline, member.id))
        if outline != state:
            raise InvariantViolated(
                f"nodes {first} and {member.id} applied the same {store.applied_index} entries and came to other states"
            )
        if store.cluster_time < watched.cluster_time:
            raise InvariantViolated(
                f"node {member.id}: the cluster's time goes back from {watched.cluster_time} to {store.cluster_time} "
                "(row 28)"
            )
        watched.cluster_time = store.cluster_time
        self._check_not_ahead(store.cluster_time)

    def _check_not_ahead(self, cluster_time: int) -> None:
        """Check that the cluster's time does not run faster than the fastest clock of its machines (row 28)."""
        now = 0.0
        for member in self._members.values():
            now = member.machine.now
            if cluster_time <= now * member.machine.rate * MICROSECONDS + 1:
                return
        raise InvariantViolated(f"the cluster's time is {cluster_time} after {now:.6f} s (row 28)")


def describe(message: PeerMessage) -> str:
    """Return the fields of a message as text, with only the sizes of byte strings."""
    shown = []
    for field in message.__struct_fields__:
        value = getattr(message, field)
        if field == "entries":
            value = f"{value[0].index}..{value[-1].index}" if value else "none"
        elif isinstance(value, bytes):
            value = f"{len(value)} bytes"
        shown.append(f"{field} {value}")
    return f"{type(message).__name__}({', '.join(shown)})"


_OF_ELECTIONS: Final = frozenset({PreVote, PreVoteReply, RequestVote})
"""The messages that `Elections` checks."""
_WATCHED: Final = _OF_ELECTIONS | {
    AppendEntriesReply,
    HeartbeatReply,
    InstallSnapshot,
    InstallSnapshotReply,
    RequestVoteReply,
}
"""The messages that `Checks.promised` checks; others promise nothing."""


class PromiseKeeper:
    """An outbox that checks every message before it is sent."""

    def __init__(self, outbox: PeerTransport, member: Member, checks: Checks) -> None:
        self._outbox = outbox
        self._member = member
        self._checks = checks
        self.set_members = outbox.set_members
        self.learn_cluster = outbox.learn_cluster
        self.status = outbox.status
        self.reached_at = outbox.reached_at
        self.says_at = outbox.says_at

    def send(self, outgoing: Sequence[tuple[int, PeerMessage]]) -> None:
        """See `PeerTransport.send`."""
        assembly = self._member.assembly
        if assembly is not None and assembly.peers is self._outbox:  # else the process has ended, and nothing is sent
            world = self._member.machine.world
            moments = self._checks.moments
            self._checks.messages += len(outgoing)
            for to, message in outgoing:
                if moments.sayings:
                    moments.said(self._member, to, cast(Message, message))
                if type(message) is AppendEntries:
                    self._checks.noted(check_amount, self._member.node, message.entries)
                elif type(message) in _WATCHED:
                    self._checks.noted(self._checks.promised, self._member, to, message)
                if world.trace is not None:
                    world.tell(self._member.machine.name, f"→ node {to}: {describe(message)}")
        self._outbox.send(outgoing)
