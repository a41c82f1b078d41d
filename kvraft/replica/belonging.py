"""Lets the connections follow the configuration, and notices when this node does not belong to its cluster any more."""

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from kvraft import exits
from kvraft.config import Address
from kvraft.peers import REMOVED
from kvraft.raft import Membership, Node
from kvraft.raft.quorum import majority
from kvraft.replica.outbox import Outbox

LAST_ANSWERS_S: Final = 0.5
"""How long a node that was removed stays, so that the last it says reaches its clients and its successor, seconds."""

REMOVED_ITSELF: Final = exits.LastWords.of(
    exits.REMOVED, "it was removed from its cluster; its id is never used again, its data may be deleted"
)


class Belonging:
    """Knows whom this node talks to, and what others say about its place among them.

    Args:
        depart: ends this node, because it does not belong to its cluster; called `LAST_ANSWERS_S` after that is known.
    """

    _log = Logger(namespace="kvraft.replica")

    def __init__(self, node: Node, clock: IReactorTime, depart: Callable[[exits.LastWords], None]) -> None:
        self._node = node
        self._clock = clock
        self._depart = depart
        self._told: tuple[Membership, bool] | None = None
        """The last configuration that the connections were told, and whether it was committed."""
        self._removed_by: set[int] = set()
        """Who says that this node was removed."""
        self._departure: IDelayedCall | None = None

    def look(self, peers: Outbox) -> None:
        """Connect to who is new at once, and part from who left when that is committed; called in every turn."""
        node = self._node
        is_committed = node.commit >= node.membership_index
        if self._told is not None and self._told[0] is node.membership and self._told[1] == is_committed:
            return
        self._told = node.membership, is_committed
        certain = max((index for index, _ in node.memberships if index <= node.commit), default=0)
        addresses: dict[int, Address] = {}
        for index, membership in node.memberships:
            if index >= certain:  # those that are not committed yet may be needed to commit them
                addresses |= {member: Address.parse(where) for member, where in membership.addresses.items()}
        peers.set_members(addresses, node.membership.removed)
        if is_committed and node.id in node.membership.removed:
            self._begin_to_leave()

    def refused(self, peer: int, code: str) -> None:
        """Take a peer's word that it does not talk to this node.

        That this node was removed is believed when its own log says so, too, or when most of the others do: it may have
        been down when that happened, or have died before it was told that its removal is committed.
        """
        if code != REMOVED:
            return
        self._removed_by.add(peer)
        membership = self._node.membership
        others = membership.members - {self._node.id}
        if self._node.id in membership.removed or len(self._removed_by & others) >= majority(len(others)):
            self._begin_to_leave()

    def hello(self, peer: int) -> None:
        """Note that a peer talks to this node."""
        self._removed_by.discard(peer)

    def stop(self) -> None:
        """Do nothing more."""
        if self._departure is not None and self._departure.active():
            self._departure.cancel()

    def _begin_to_leave(self) -> None:
        if self._departure is None:
            self._log.warn("node {id} was removed from its cluster and leaves", id=self._node.id)
            self._departure = self._clock.callLater(LAST_ANSWERS_S, self._depart, REMOVED_ITSELF)
