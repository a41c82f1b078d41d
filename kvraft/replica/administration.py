"""Administrative commands: list and change the members, transfer leadership, take a snapshot."""

from collections.abc import Callable, Mapping
from typing import Final

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger

from kvraft.commands import (
    AddMember,
    AdminCommand,
    Caller,
    ListEvents,
    ListMembers,
    MoveMember,
    RemoveMember,
    ReplaceMember,
    TakeSnapshot,
    TransferLeadership,
)
from kvraft.config import Address, WrongValue
from kvraft.config.values import PEERS_MAX
from kvraft.errors import OutcomeUnknown, Refused, RequestFailed
from kvraft.events import EventRing
from kvraft.peers import Address as Place
from kvraft.peers.addresses import written
from kvraft.raft import Membership, Node, NotLeader, ProposalRefused, TryAgain
from kvraft.raft.changes import is_under_way, waits_for
from kvraft.raft.identity import is_other
from kvraft.replica.peer_transport import NoPeers, PeerTransport
from kvraft.storage import SnapshotStorage
from kvraft.store.features import COMPACTED_MEMBERSHIP_LEVEL

DONE: Final[Mapping[str, object]] = {"status": "OK"}


class AdminRefused(Refused):
    """The cluster cannot be changed like this; the text says why, and what to do."""

    code = "REFUSED"


class Busy(AdminRefused):
    """The cluster cannot be changed like this now, but can be in a moment."""

    code = "BUSY"


@attrs.define
class _Wait:
    """A command that was begun and waits for its outcome."""

    is_done: Callable[[], bool]
    has_failed: Callable[[], RequestFailed | None]
    answer: dict[str, object]
    deadline: float
    is_transfer: bool = False
    promise: Deferred[dict[str, object]] = attrs.field(factory=Deferred)


@attrs.define
class _FirstEntry:
    """The first entry of a change of the members, whose commit decides whether the change happens."""

    node: Node
    term: int
    index: int
    not_leader: Callable[[], RequestFailed]
    is_committed: bool = False

    def has_failed(self) -> RequestFailed | None:
        """Return why the change fails, or why its fate is not known; called in every turn.

        If the entry was replaced, the change has certainly failed only when the replacement is committed: until then a
        member that still has the entry may be elected and commit it (row 12). An installed snapshot does not show what
        it covers.
        """
        if self.is_committed or self.node.commit < self.index:
            return None
        term = self.node.log.term_at(self.index)
        self.is_committed = term == self.term
        if term is None:
            return OutcomeUnknown("another node led meanwhile; MEMBERS shows whether the change was carried out")
        return None if self.is_committed else self.not_leader()


class Administration:
    """Carries out administrative commands. `look` must be called in every turn.

    Args:
        not_leader: returns the error of a node that does not lead.
        snapshot: begins to take a snapshot; its Deferred fires at the end, even if that has failed.
        snapshots: where a finished snapshot is found.
        timeout: longest wait for a change to be committed, seconds.
        peers: returns the current connections to the other members.
        feature_level: returns the cluster's feature level as of the applied entries.
        events: the latest events on this node.
    """

    _log = Logger(namespace="kvraft.replica")

    def __init__(
        self,
        node: Node,
        not_leader: Callable[[], RequestFailed],
        snapshot: Callable[[], Deferred[None]],
        snapshots: SnapshotStorage,
        timeout: float,
        peers: Callable[[], PeerTransport] = NoPeers,
        feature_level: Callable[[], int] = lambda: 0,
        events: EventRing | None = None,
    ) -> None:
        self._node = node
        self._not_leader = not_leader
        self._snapshot = snapshot
        self._snapshots = snapshots
        self._timeout = timeout
        self._peers = peers
        self._feature_level = feature_level
        self._events = events or EventRing(node.id, lambda: node.now)
        self.waits: list[_Wait] = []
        """Commands that were begun and wait for their effect."""
        self._asked: list[Deferred[dict[str, object]]] = []
        """The answers to those that wait for a snapshot."""

    def carry_out(self, caller: Caller, command: AdminCommand, now: float) -> Deferred[dict[str, object]]:
        """Carry out a command; the Deferred fires with the answer for the operator, or fails with RequestFailed."""
        try:
            promise = self._begin(command, now)
        except NotLeader:
            return fail(self._not_leader())
        except TryAgain as refusal:
            return fail(Busy(str(refusal)))
        except ProposalRefused as refusal:
            return fail(AdminRefused(str(refusal)))
        except AdminRefused as refusal:
            return fail(refusal)
        if not isinstance(command, ListMembers | ListEvents):
            self._events.note("operator", caller=str(caller), command=str(command))
            self._log.info("{caller} has asked for {command}", caller=caller, command=command)
        return promise

    def look(self, now: float) -> None:
        """Answer the commands that are done, have failed, or are past their deadline."""
        for wait in [*self.waits]:
            error = wait.has_failed()
            if error is None and not wait.is_done():
                if now < wait.deadline:
                    continue
                error = self._late()
            self.waits.remove(wait)
            if wait.is_transfer and error is not None:
                self._log.warn("leadership was not handed over: {why}", why=error)
            if error is not None:
                wait.promise.errback(error)
            else:
                wait.promise.callback(wait.answer)

    @property
    def is_transferring(self) -> bool:
        """Whether an operator's leadership transfer is under way."""
        return any(wait.is_transfer for wait in self.waits)

    def stop(self) -> None:
        """Answer every waiting command that its outcome is unknown."""
        waits, self.waits = self.waits, []
        for wait in waits:
            wait.promise.errback(OutcomeUnknown("this node was stopped; ask another for MEMBERS"))
        asked, self._asked = self._asked, []
        for answer in asked:
            answer.errback(OutcomeUnknown("this node was stopped while it took the snapshot"))

    def _begin(self, command: AdminCommand, now: float) -> Deferred[dict[str, object]]:
        """Begin a command.

        Raises:
            NotLeader: this node does not lead.
            ProposalRefused: the core refuses the change.
            AdminRefused: the change is not possible.
        """
        match command:
            case ListMembers():
                return succeed(self._members())
            case ListEvents(since=since):
                return succeed(self._events.read(since))
            case TakeSnapshot():
                return self._take_snapshot()
            case TransferLeadership(node=target):
                return self._transfer(target, now)
            case AddMember() | RemoveMember() | ReplaceMember() | MoveMember():
                return self._change(command, now)

    def _members(self) -> dict[str, object]:
        membership = self._node.membership
        return {
            "members": [
                {"id": member, "address": membership.addresses.get(member), "role": _role(membership, member)}
                | ({"incarnation": membership.incarnations[member]} if member in membership.incarnations else {})
                | ({"replaces": membership.replacing[member]} if member in membership.replacing else {})
                | ({"waits_for": why} if (why := waits_for(self._node, member)) is not None else {})
                for member in sorted(membership.members)
            ],
            "removed": sorted(membership.removed),
            "leader": self._node.leader,
            "changing": is_under_way(self._node),
        } | ({"removed_below": membership.removed_below} if membership.removed_below else {})

    def _change(
        self, command: AddMember | RemoveMember | ReplaceMember | MoveMember, now: float
    ) -> Deferred[dict[str, object]]:
        node, answer = self._node, {**DONE}
        if not node.is_leader:
            raise NotLeader(node.leader)  # its configuration may be outdated, or joint
        if node.membership.outgoing:
            # The target configuration is computed from the current one, which must not be joint.
            raise TryAgain("another membership change is under way; ask again when it is done")
        match command:
            case AddMember(node=new, address=address):
                target = with_learner(node.membership, new, address)
                answer["message"] = f"node {new} is a learner; it becomes a voter by itself when it has caught up"
            case ReplaceMember(old=old, new=new, address=address):
                _find_voter(node.membership, old)
                target = with_learner(node.membership, new, address, replaces=old)
                answer["message"] = f"node {new} is a learner; it takes the place of node {old} when it has caught up"
            case MoveMember(node=member, address=address):
                target = moved(node.membership, member, address, command.incarnation)
                if command.incarnation is not None and target != node.membership:
                    self._refuse_copy(member, target.addresses[member])
            case _:
                target = without(node.membership, command.node)
        if self._feature_level() >= COMPACTED_MEMBERSHIP_LEVEL:
            target = target.compacted()
        before = node.membership.members
        term, index = node.change_membership(
            target, now, force=command.force, unreachable=[] if command.force else self._find_unreachable(target)
        )
        gone, came = before - target.members, target.members - before

        entry = _FirstEntry(node, term, index, self._not_leader)

        def is_done() -> bool:
            members = node.membership.members
            is_committed = entry.is_committed and node.commit >= node.membership_index
            return is_committed and not gone & members and came <= members

        wait = _Wait(is_done, entry.has_failed, answer, now + self._timeout)
        self.waits.append(wait)
        return wait.promise

    def _find_unreachable(self, target: Membership) -> set[int]:
        """Return the voters that do not answer at their address in `target`.

        For a member whose address does not change, any connection counts. This node has no connection to itself; it
        counts as unreachable only if its new address is not its own.
        """
        unreachable, before = set(), self._node.membership.addresses
        for voter in target.voters:
            place, address = self._peers().reached_at(voter), target.addresses.get(voter)
            moves = address != before.get(voter)
            if (place is None and voter != self._node.id) or (moves and not _is_at(place, address)):
                unreachable.add(voter)
        return unreachable

    def _refuse_copy(self, member: int, address: str) -> None:
        """Refuse a member's own request to be moved to `address` while the member answers at another one.

        A process that has moved does not run at its old address any more, so the request comes from a copy of its data
        directory. The exception is a process that answers at another address and announces `address` in its hello, as
        one with two addresses may.

        Raises:
            AdminRefused: the member runs twice.
        """
        place, says = self._peers().reached_at(member), self._peers().says_at(member)
        if (place is not None or member == self._node.id) and not (_is_at(place, address) or _is_at(says, address)):
            where = self._node.membership.addresses.get(member) if place is None else written(place)
            raise AdminRefused(
                f"node {member} runs twice: it answers at {where} as well; stop the one with the copied data "
                "directory, or, if it is to be reached elsewhere, stop it there first"
            )

    def _transfer(self, target: int, now: float) -> Deferred[dict[str, object]]:
        node = self._node
        term = node.term
        if node.is_leader and target == node.id:
            return succeed({**DONE})
        node.transfer_leadership(target, now)
        self._log.info("leadership is being handed to node {target}", target=target)

        def has_failed() -> RequestFailed | None:
            has_given_up = node.is_leader and node.term == term and not node.is_transferring
            went_elsewhere = node.term > term and node.leader not in (None, target)
            return AdminRefused(f"node {target} did not take over in time") if has_given_up or went_elsewhere else None

        wait = _Wait(
            lambda: node.term > term and node.leader == target,
            has_failed,
            {**DONE},
            now + self._timeout,
            is_transfer=True,
        )
        self.waits.append(wait)
        return wait.promise

    def _take_snapshot(self) -> Deferred[dict[str, object]]:
        """Take a snapshot, unless the latest one covers everything applied."""
        before, applied = self._snapshot_index(), self._node.applying
        answer: Deferred[dict[str, object]] = Deferred()

        def tell(_: None) -> None:
            if answer not in self._asked:
                return  # the node was stopped meanwhile
            self._asked.remove(answer)
            index = self._snapshot_index()
            if index <= before and index < applied:
                answer.errback(AdminRefused("there is no new snapshot; the log of this node says why"))
            else:
                answer.callback({**DONE, "index": index})

        if not applied:
            raise AdminRefused("there is nothing to take a snapshot of yet")
        self._asked.append(answer)
        self._snapshot().addCallback(tell)
        return answer

    def _snapshot_index(self) -> int:
        latest = self._snapshots.latest
        return latest.header.index if latest is not None else 0

    def _late(self) -> OutcomeUnknown:
        return OutcomeUnknown("the change was begun and is not finished in time; MEMBERS shows its state")


def _is_at(place: Place | None, address: str | None) -> bool:
    return place is not None and written(place) == address


def with_learner(membership: Membership, new: int, address: str, *, replaces: int | None = None) -> Membership:
    """Return the configuration in which `new` is a learner that will vote; one that replaces may be a learner already.

    Raises:
        AdminRefused: the id or the address is taken or wrong, or there are too many members.
    """
    address = _free_address(membership, new, address)
    if replaces is not None and new in membership.learners and membership.addresses.get(new) == address:
        return membership.with_learner(new, address, replaces=replaces)
    if new in membership.members:
        is_added = replaces not in (None, new) and new in membership.voters
        remedy = f" and votes; to let node {replaces} go, send MEMBER REMOVE {replaces}" if is_added else ""
        raise AdminRefused(f"node {new} is a member already{remedy}")
    if new in membership.removed:
        raise AdminRefused(f"node {new} was removed from this cluster; give the new member an id that was never used")
    if new in membership.departed:
        raise AdminRefused(f"ids below {membership.removed_below} are not given any more; give the new member another")
    if len(membership.members) >= PEERS_MAX:
        raise AdminRefused(f"a cluster has at most {PEERS_MAX} members")
    return membership.with_learner(new, address, replaces=replaces)


def moved(membership: Membership, member: int, address: str, incarnation: str | None) -> Membership:
    """Return the configuration in which `member` is reached at `address`.

    Raises:
        AdminRefused: it is no member, it is known with another incarnation, or the address is taken or wrong.
    """
    if member not in membership.members:
        raise AdminRefused(f"node {member} is no member")
    if incarnation is not None and is_other(membership, member, incarnation):
        raise AdminRefused(f"node {member} is known with another data directory")
    return membership.moved(member, _free_address(membership, member, address))


def _free_address(membership: Membership, member: int, address: str) -> str:
    """Return an address in its canonical form, so that two members cannot have the same one in two spellings.

    Raises:
        AdminRefused: it is no valid address, the others cannot connect to it, or another member has it.
    """
    try:
        place = Address.parse(address)
    except WrongValue as mistake:
        raise AdminRefused(f"this is no address: {mistake}") from mistake
    if place.is_unspecified:
        raise AdminRefused(f"{address} is no address that the others can connect to; name one of the machine's own")
    if any(where == str(place) for other, where in membership.addresses.items() if other != member):
        raise AdminRefused(f"{place} is the address of another member")
    return str(place)


def without(membership: Membership, old: int) -> Membership:
    """Return the configuration without `old`.

    Raises:
        AdminRefused: it is no member, or the last voter.
    """
    if old not in membership.members:
        raise AdminRefused(f"node {old} is no member")
    if membership.voters == {old}:
        raise AdminRefused(f"node {old} is the only voter; without it there is no cluster")
    return membership.without(old)


def _find_voter(membership: Membership, node: int) -> None:
    if node not in membership.voters:
        raise AdminRefused(f"node {node} is no voter; only a voter can be replaced")


def _role(membership: Membership, member: int) -> str:
    if member in membership.learners:
        return "learner"
    if member not in membership.voters:
        return "leaving"
    return "joining" if membership.outgoing and member not in membership.outgoing else "voter"
