"""Connects this node to the members of its configuration, and stops it when it is no member any more."""

from collections.abc import Callable
from typing import Final

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from kvraft.config import Address
from kvraft.config.values import PEERS_MAX
from kvraft.errors import exit_status
from kvraft.events import Note, ignore
from kvraft.peers import OTHER_INCARNATION, REMOVED, TOO_OLD, Facts, Hello
from kvraft.raft import CommittedContradicted, Membership, MessageRefused, Node
from kvraft.raft.acknowledged import Acknowledged
from kvraft.raft.identity import is_stranger
from kvraft.raft.quorum import majority
from kvraft.replica.features import Features
from kvraft.replica.membership_log import MembershipLog
from kvraft.replica.peer_transport import PeerTransport
from kvraft.store import FEATURE_LEVEL, Store

LAST_ANSWERS_S: Final = 0.5
"""How long a removed node runs on, so that its last answers and messages reach clients and its successor, seconds."""

REMOVED_ITSELF: Final = exit_status.FatalReason(
    "it was removed from its cluster; its id is never used again, its data may be deleted", exit_status.REMOVED
)

OTHER_DATA_DIRECTORY: Final = exit_status.FatalReason(
    "the cluster has recorded this id with another data directory: a disk was lost or emptied, and with it the votes "
    "and acknowledgements of this node. Give it that directory back; or replace it by a node with a new id and an "
    "empty directory: MEMBER REPLACE <this id> <new id> <host:port>, sent to the leader, then start the new node",
    exit_status.NOINPUT,
)

HAS_AN_OLDER_COPY: Final = exit_status.FatalReason(
    "its data directory is an older copy of its own: it lacks entries that it has acknowledged, so its vote could lose "
    "them. Give it the latest directory back; or replace it by a node with a new id and an empty directory: MEMBER "
    "REPLACE <this id> <new id> <host:port>, sent to the leader, then start the new node",
    exit_status.NOINPUT,
)
KNOWS_BETTER: Final = exit_status.FatalReason(
    "a leader contradicts entries that are committed here: the others have lost confirmed writes, as when older copies "
    "of their data were put back and have voted. Keep this data directory, which holds what they have lost",
    exit_status.IOERR,
)
CONTRADICTIONS_MAX: Final = 5
"""After so many contradictions of a committed entry this node stops. After each one the connection to the leader is
dropped, and the leader tries again at once."""

IS_TOO_OLD: Final = exit_status.FatalReason(
    f"the cluster has a higher feature level than this kvraft, which supports {FEATURE_LEVEL}: upgrade this node; its "
    "data are good",
    exit_status.PROTOCOL,
)
REFUSALS: Final = {
    REMOVED: REMOVED_ITSELF,
    OTHER_INCARNATION: OTHER_DATA_DIRECTORY,
    TOO_OLD: IS_TOO_OLD,
}
"""By refusal code: the reason with which a node stops when enough others refuse it."""


class Admission:
    """Decides to which nodes this one connects, and collects the others' refusals of this node.

    Args:
        store: returns the current state machine.
        depart: stops this node, with the reason; called `LAST_ANSWERS_S` after it is known not to be a member.
        note: records an event of the membership.
    """

    _log = Logger(namespace="kvraft.replica")

    def __init__(
        self,
        node: Node,
        clock: IReactorTime,
        depart: Callable[[exit_status.FatalReason], None],
        store: Callable[[], Store] = Store,
        note: Note = ignore,
    ) -> None:
        self._node = node
        self._clock = clock
        self._depart = depart
        self._store = store
        self._features = Features(node)
        self._membership_log = MembershipLog(node, note)
        self._told: tuple[Membership, bool] | None = None
        """The last configuration that was passed to the connections, and whether it was committed."""
        self._refused_by: dict[str, set[int]] = {each: set() for each in REFUSALS}
        """By refusal code: the members that refuse this node with it."""
        self._sponsors: dict[int, tuple[int, Address]] = {}
        """Nodes that are no members here but use a later configuration: (its index, the node's address), by id."""
        self._contradictions = 0
        self._contradicted_at = 0
        """The commit index at the last contradiction."""
        self._departure: IDelayedCall | None = None

    def look(self, peers: PeerTransport) -> bool:
        """Connect to new members at once, and disconnect removed ones after the commit; called in every turn.

        Returns whether it has proposed an entry, which needs another turn.
        """
        store = self._store()
        has_proposed = store.feature_level < self._features.speaks and self._features.look(peers, store)
        begins, present = self._node.memberships[-1]
        told, is_committed = self._told, self._node.commit >= begins
        if told is None or told[0] is not present or told[1] != is_committed:
            self._look_for_members(peers, begins, present, is_committed=is_committed)
        return has_proposed

    def _look_for_members(self, peers: PeerTransport, begins: int, present: Membership, *, is_committed: bool) -> None:
        node = self._node
        self._told = present, is_committed
        self._membership_log.look()
        certain = max((index for index, _ in node.memberships if index <= node.commit), default=0)
        addresses: dict[int, Address] = {}
        for index, membership in node.memberships:
            if index >= certain:  # the members of an uncommitted configuration may be needed to commit it
                addresses |= {member: Address.parse(where) for member, where in membership.addresses.items()}
        for sponsor, (index, address) in [*self._sponsors.items()]:
            if index > begins:
                addresses.setdefault(sponsor, address)
            else:
                del self._sponsors[sponsor]
        peers.set_members(addresses, present.departed, present.incarnations)
        if is_committed and node.id in present.departed and node.id not in present.outgoing:
            # While outgoing it has a vote: the leader may crash before the last entry of the change is on its disk.
            self._begin_to_leave(REMOVED_ITSELF)
        elif is_stranger(node):
            self._begin_to_leave(OTHER_DATA_DIRECTORY)

    def refused(self, peer: int, code: str) -> None:
        """Take a peer's refusal of this node.

        A removal counts as true if this node's own log has it, or if as many nodes as a majority of the other members
        refuse this node: it may have been down at its removal, or have crashed before it received the commit. Nodes
        with a later configuration count like members, since the members in this node's log may have been replaced
        and stopped (see `admits`). Refusals for another incarnation or a too low feature level need a majority too,
        unless this node has no vote: then no quorum needs it, and one refusal is enough.
        """
        if code not in self._refused_by:
            return
        self._refused_by[code].add(peer)
        node = self._node
        others = node.membership.members - {node.id}
        if code == REMOVED:
            is_certain, why = node.id in node.membership.departed, REMOVED_ITSELF
        else:
            is_certain, why = not node.voting and node.incarnation is not None, REFUSALS[code]
        counted = others | self._sponsors.keys()
        if is_certain or len(self._refused_by[code] & counted) >= majority(len(others)):
            self._begin_to_leave(why)

    def hello(self, hello: Hello) -> None:
        """Take the hello of a peer that accepts this node.

        Raises:
            MessageRefused: the peer's kvraft is too old for the cluster's feature level.
        """
        self._look_for_what_was_acknowledged(hello)
        self._features.hello(hello, self._store())
        for refusing in self._refused_by.values():
            refusing.discard(hello.sender)
        incarnation = hello.incarnation if hello.empty is not None else None
        self._node.peer_introduced(hello.sender, incarnation, self._clock.seconds(), is_empty=hello.empty)

    def was_told_impossible(self, refusal: MessageRefused) -> None:
        """Count contradictions of committed entries, and stop this node at `CONTRADICTIONS_MAX`.

        If the commit index has grown since the last one, a leader has agreed with this node in between, and the count
        begins anew.
        """
        if isinstance(refusal, CommittedContradicted):
            if self._node.commit > self._contradicted_at:
                self._contradicted_at, self._contradictions = self._node.commit, 0
            self._contradictions += 1
            if self._contradictions >= CONTRADICTIONS_MAX:
                self._begin_to_leave(KNOWS_BETTER)

    def admits(self, hello: Hello, ours: str | None) -> Address | None:
        """Return the address of a node that is no member here but has a later configuration; None: do not connect.

        While a member was down, all others may have been replaced. Then no member of its configuration can bring it up
        to date, and it must accept a leader that is not in its configuration (§6, thesis §4.2.1). So it accepts nodes
        with a later configuration, until it has that configuration itself. This is safe: votes and acknowledgements
        count by the configuration alone.

        A node may even have been cut off before its log held its cluster's id (`ours`). While it has no vote, and in
        term 0, it accepts any cluster that lists this node. Otherwise it accepts only a node whose log binds this
        node's id to its incarnation (`to_incarnation`): only the log of its own cluster can have that.

        A node that is to found a cluster alone (`is_to_found_alone`) stops instead when such a log binds its id to
        another incarnation: its disk was lost, and nobody else could refuse it.
        """
        if ours is None and self.is_to_found_alone and hello.to_incarnation not in {None, self._node.incarnation}:
            self._begin_to_leave(OTHER_DATA_DIRECTORY, after=0.0)
        if ours is None and self._node.voting and not self._is_known_as(hello.to_incarnation):
            return None
        if hello.address is None or hello.configuration <= self._node.membership_index:
            return None
        if len(self._sponsors) >= PEERS_MAX and hello.sender not in self._sponsors:
            return None
        try:
            address = Address.parse(hello.address)
        except ValueError:
            return None
        self._sponsors[hello.sender] = (hello.configuration, address)
        self._told = None
        return address

    def _is_known_as(self, incarnation: str | None) -> bool:
        """Whether a cluster that binds this voter's id to that incarnation can be its own."""
        if incarnation is None:
            return self._node.term == 0  # then this node has promised nothing yet
        return incarnation == self._node.incarnation

    @property
    def is_to_found_alone(self) -> bool:
        """Whether this node has an empty disk, and a configuration with itself alone: it needs no other to lead.

        It may have been the first member of a cluster that has grown since, which its config.json does not say.
        """
        node = self._node
        return node.incarnation is not None and node.log.last_index == 0 and node.membership.members == {node.id}

    def facts(self, to: int) -> Facts:
        """Return the facts in the hello for node `to`; see `Facts`."""
        node = self._node
        acknowledged = node.acknowledged_by(to)
        return Facts(
            level=self._features.speaks,
            configuration=node.membership_index,
            address=node.membership.addresses.get(node.id),
            empty=None if node.incarnation is None else node.log.last_index == 0,
            acknowledged=None if acknowledged is None else attrs.astuple(acknowledged),
        )

    def stop(self) -> None:
        """Cancel a pending departure."""
        if self._departure is not None and self._departure.active():
            self._departure.cancel()

    def _look_for_what_was_acknowledged(self, hello: Hello) -> None:
        """Stop at once, before it can vote, if this node lacks an entry that it has acknowledged to a member.

        The hello only names the entry; this node's own log decides whether it is missing.
        """
        if hello.acknowledged is None:
            return
        peer, told = hello.sender, Acknowledged(*hello.acknowledged)
        node = self._node
        if self._departure is None and peer in node.membership.members and node.lacks(told):
            self._log.warn(
                "node {id} has acknowledged entry {index} in term {term} and entry {committed}, which is committed, as "
                "node {peer} has recorded; it is in term {own_term}, and its log ends at entry {last}",
                id=node.id,
                peer=peer,
                index=told.index,
                term=told.term,
                committed=told.committed,
                own_term=node.term,
                last=node.log.last_index,
            )
            self._begin_to_leave(HAS_AN_OLDER_COPY, after=0.0)

    def _begin_to_leave(self, why: exit_status.FatalReason, *, after: float = LAST_ANSWERS_S) -> None:
        if self._departure is None:
            self._departure = self._clock.callLater(after, self._depart, why)
