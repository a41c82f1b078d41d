"""Holds the current store, which is the node's state machine."""

from collections.abc import Callable

from kvraft.replica.peer_transport import PeerTransport
from kvraft.store import Store


class State:
    """Holds the store, which an installed snapshot replaces.

    Args:
        peers: returns the current connections to the other members.
    """

    def __init__(self, store: Store, peers: Callable[[], PeerTransport]) -> None:
        self.store = store
        self._peers = peers
        self._cluster_told: str | None = None

    @property
    def peers(self) -> PeerTransport:
        """The connections to the other members."""
        return self._peers()

    def replace(self, store: Store) -> Store:
        """Replace the store; return the old one."""
        before, self.store = self.store, store
        return before

    def tell_cluster(self) -> None:
        """Pass the cluster's id to the connections if it is new."""
        cluster_id = self.store.cluster_id
        if cluster_id != self._cluster_told and cluster_id is not None:
            self._cluster_told = cluster_id
            self._peers().learn_cluster(cluster_id)
