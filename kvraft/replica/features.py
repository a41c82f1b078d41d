"""Raises the cluster's feature level when all members support more, and refuses members that support too little."""

from contextlib import suppress

from kvraft.peers import TOO_OLD, Hello
from kvraft.raft import EntryKind, MessageRefused, Node, NotLeader, ProposalRefused
from kvraft.replica.peer_transport import PeerTransport
from kvraft.store import Store
from kvraft.store.features import FEATURE_LEVEL, encode_level


class TooOld(MessageRefused):
    """A member does not support everything that the log may contain."""

    code = TOO_OLD


class Features:
    """Keeps the level that each peer supports, and proposes the lowest."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.speaks = FEATURE_LEVEL
        """The level that this node supports; a simulation of earlier versions lowers it."""
        self._levels: dict[int, int] = {}
        self._proposed = (0, 0)
        """(term, level) of this node's last proposal; within its term the proposal cannot be lost."""

    def hello(self, hello: Hello, store: Store) -> None:
        """Take the level in a peer's hello.

        Raises:
            TooOld: it is lower than the cluster's.
        """
        self._levels[hello.sender] = hello.level
        if hello.level < store.feature_level:
            raise TooOld(
                f"the cluster has feature level {store.feature_level} and node {hello.sender} speaks {hello.level}: "
                "upgrade that node"
            )

    def look(self, peers: PeerTransport, store: Store) -> bool:
        """Propose a higher level if all members are connected and support it; return whether it did so.

        It is called in every turn in which this node supports a higher level than the cluster has.
        """
        node = self._node
        if not node.is_leader:
            return False
        if node.log.term_at(store.applied_index) != node.term:
            return False
        others = node.membership.members - {node.id}
        status = peers.status()
        if not all(peer in status and status[peer].connected for peer in others):
            return False
        level = min((self._levels.get(peer, 0) for peer in others), default=self.speaks)
        level = min(level, self.speaks)
        if level > store.feature_level and self._proposed != (node.term, level):
            with suppress(NotLeader, ProposalRefused):
                node.propose((encode_level(level),), node.now, kind=EntryKind.FEATURE_LEVEL)
                self._proposed = (node.term, level)
                return True
        return False
