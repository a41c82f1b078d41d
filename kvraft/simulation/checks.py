"""What must hold of a simulated cluster after every event, checked from outside of the code that is checked.

Each check raises `InvariantViolated` with the rule that is broken. The properties of single nodes and of Figure 3 are
those of `kvraft.raft.invariants`; here they are joined by what needs the disks and the stores: what was promised is
durable, what is committed is on the disks of a majority, equal logs make equal states.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

import attrs

from kvraft.assembly import Assembly
from kvraft.raft import HardState, InvariantViolated, Membership, Message, Node
from kvraft.raft.invariants import ClusterHistory, NodeHistory
from kvraft.raft.messages import AppendEntriesReply, InstallSnapshotReply, RequestVote, RequestVoteReply
from kvraft.raft.roles import Leader
from kvraft.replica import Outbox
from kvraft.simulation.member import Member
from kvraft.storage.extent import Extent


def _outline(node: Node) -> tuple[object, ...]:
    """Return what changes when anything changes that the rules are about."""
    role = node.role
    matches = tuple([progress.match for progress in role.progress.values()]) if isinstance(role, Leader) else ()
    return (
        node.term,
        node.vote,
        node.commit,
        node.released,
        node.log.last_index,
        node.log.snapshot_index,
        type(role),
        len(node.memberships),
        matches,
    )


@attrs.define
class _Watched:
    """One process under observation."""

    node: Node
    history: NodeHistory
    outline: tuple[object, ...] = ()
    majorities: Sequence[Collection[int]] = ()
    """By whom it went before the last event: what it commits in the next may have been counted by them."""
    commit: int = 0
    applied: int = 0


class Checks:
    """Watches every process of a cluster."""

    def __init__(self, members: Mapping[int, Member]) -> None:
        self.figure_3 = ClusterHistory()
        self.violations: list[InvariantViolated] = []
        """What was found while production code ran, which may catch what is raised in it."""
        self._members = members
        self._watched: dict[int, _Watched] = {}
        self._checksums: dict[int, tuple[int, int]] = {}
        """By index: the checksum of a store that has applied it, and whose that was first."""
        self._terms: dict[int, int] = {}
        """The highest term that each node has made durable, over all its lives."""
        self._votes: dict[tuple[int, int], int] = {}
        """By (node, term): for whom it has promised to vote, over all its lives."""

    def watch(self, member: Member, assembly: Assembly) -> None:
        """Watch a new process, and every promise that it makes."""
        node = assembly.replica.node
        _demand(
            node.term >= self._terms.get(member.id, 0),
            f"node {member.id} has forgotten term {self._terms.get(member.id, 0)}: it comes back in term {node.term}",
        )
        self._watched[member.id] = _Watched(node, NodeHistory(node))
        assembly.replica.connect(PromiseKeeper(assembly.peers, member, self))

    def after(self, member: Member) -> None:
        """Check `member` after an event in which it took part."""
        if not member.is_running:
            return
        watched = self._watched[member.id]
        node = watched.node
        outline = _outline(node)
        if outline == watched.outline:
            return
        watched.outline = outline
        watched.history.observe()
        self.figure_3.observe([node])
        if isinstance(node.role, Leader) and node.commit > watched.commit:
            self._check_committed(node, watched)
        watched.commit = node.commit
        watched.majorities = _majorities(node.membership)
        store = member.store
        if store.applied_index != watched.applied:
            watched.applied = store.applied_index
            self._check_state(member)

    def promised(self, member: Member, message: Message) -> None:
        """Check a message that leaves `member`: what it promises must be durable (Figure 2, BUGS rows 1 to 3)."""
        match message:
            case RequestVoteReply(granted=True, term=term):
                extent = self._check_durable(member, term, "a vote")
                vote = extent.hard_state.vote
                _demand(
                    extent.hard_state.term > term or vote is not None,
                    f"node {member.id} grants a vote it has not saved",
                )
                self._note_vote(member.id, extent.hard_state)
            case RequestVote(term=term):
                self._note_vote(member.id, self._check_durable(member, term, "its candidacy").hard_state)
            case AppendEntriesReply(success=True, term=term, index=index):
                extent = self._check_durable(member, term, "entries")
                _demand(
                    max(extent.last_index, extent.base_index) >= index,
                    f"node {member.id} acknowledges entry {index}, and its disk ends at {extent.last_index}",
                )
            case InstallSnapshotReply(installed=True, term=term):
                self._check_durable(member, term, "a snapshot")

    def at_the_end(self) -> None:
        """Check what takes too long for every event: that equal entries follow equal ones in all logs (Figure 3)."""
        running = [member for member in self._members.values() if member.is_running]
        self.figure_3.check_log_matching(member.node for member in running)
        digests: dict[int, tuple[str, int]] = {}
        for member in running:
            store = member.store
            digest, first = digests.setdefault(store.applied_index, (store.keys.digest(), member.id))
            _demand(
                digest == store.keys.digest(),
                f"nodes {first} and {member.id} applied the same {store.applied_index} entries and hold other keys",
            )

    def _check_durable(self, member: Member, term: int, what: str) -> Extent:
        assert member.journal is not None
        extent = member.journal.extent
        _demand(
            extent.hard_state.term >= term,
            f"node {member.id} promises {what} in term {term}, and its disk knows only term {extent.hard_state.term}",
        )
        dirty = [path.name for path in member.disk.dirty if path.name.startswith("segment")]
        _demand(not dirty, f"node {member.id} promises {what} while {dirty} is not synced")
        self._terms[member.id] = max(self._terms.get(member.id, 0), extent.hard_state.term)
        return extent

    def _note_vote(self, member: int, durable: HardState) -> None:
        if durable.vote is None:
            return
        first = self._votes.setdefault((member, durable.term), durable.vote)
        _demand(
            first == durable.vote, f"node {member} votes for {durable.vote} in term {durable.term}, and has for {first}"
        )

    def _check_committed(self, node: Node, watched: _Watched) -> None:
        """Check that what a leader calls committed is on the disks of a majority (§5.3, BUGS row 3)."""
        term = node.log.term_at(node.commit)
        if node.commit <= node.log.snapshot_index or term is None:
            return
        holds = {member.id for member in self._members.values() if self._holds(member, node.commit, term)}
        majorities = _majorities(node.membership)
        _demand(
            any(_agree(each, holds) for each in (majorities, watched.majorities) if each),
            f"node {node.id} committed entry {node.commit}, which only the disks of {sorted(holds)} hold, of "
            f"{' and '.join(str(sorted(voters)) for voters in majorities)}",
        )

    @staticmethod
    def _holds(member: Member, index: int, term: int) -> bool:
        if member.journal is None:
            return False
        extent = member.journal.extent
        return extent.base_index >= index or extent.term_at(index) == term

    def _check_state(self, member: Member) -> None:
        store = member.store
        checksum, first = self._checksums.setdefault(store.applied_index, (store.checksum, member.id))
        _demand(
            checksum == store.checksum,
            f"nodes {first} and {member.id} applied the same {store.applied_index} entries and came to other states",
        )


def describe(message: Message) -> str:
    """Return what a message says, without the bytes that it carries."""
    shown = []
    for field in message.__struct_fields__:
        value = getattr(message, field)
        if field == "entries":
            value = f"{value[0].index}..{value[-1].index}" if value else "none"
        elif isinstance(value, bytes):
            value = f"{len(value)} bytes"
        shown.append(f"{field} {value}")
    return f"{type(message).__name__}({', '.join(shown)})"


class PromiseKeeper:
    """An outbox that has every message looked at before it leaves."""

    def __init__(self, outbox: Outbox, member: Member, checks: Checks) -> None:
        self._outbox = outbox
        self._member = member
        self._checks = checks
        self.set_members = outbox.set_members
        self.learn_cluster = outbox.learn_cluster
        self.status = outbox.status

    def send(self, outgoing: Sequence[tuple[int, Message]]) -> None:
        """See `Outbox.send`."""
        assembly = self._member.assembly
        if assembly is not None and assembly.peers is self._outbox:  # else the process has ended, and nobody hears it
            world = self._member.machine.world
            for peer, message in outgoing:
                self._look_at(message)
                if world.trace is not None:
                    world.tell(self._member.machine.name, f"→ node {peer}: {describe(message)}")
        self._outbox.send(outgoing)

    def _look_at(self, message: Message) -> None:
        try:
            self._checks.promised(self._member, message)
        except InvariantViolated as violation:
            self._checks.violations.append(violation)
            raise


def _majorities(membership: Membership) -> Sequence[Collection[int]]:
    """Return the sets of voters of each of which a majority must agree (§6), without asking the code under test."""
    return [voters for voters in (membership.voters, membership.outgoing) if voters]


def _agree(majorities: Iterable[Collection[int]], who: Collection[int]) -> bool:
    """Whether `who` holds a majority of each set."""
    return all(2 * sum(voter in who for voter in voters) > len(voters) for voters in majorities)


def _demand(holds: bool, rule: str) -> None:
    if not holds:
        raise InvariantViolated(rule)
