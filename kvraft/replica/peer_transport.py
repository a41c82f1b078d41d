"""The interface by which the replica uses its connections to the other members."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from kvraft.peers import Address, PeerStatus
from kvraft.peers.forwarded import PeerMessage


class PeerTransport(Protocol):
    """The connections to the other members; `kvraft.peers.Peers` is the real implementation."""

    def status(self) -> Mapping[int, PeerStatus]:
        """Return how every other member is connected."""
        ...

    def reached_at(self, node: int) -> Address | None:
        """Return the address at which a member answers, or this node's own; None when it is unknown."""
        ...

    def says_at(self, node: int) -> Address | None:
        """Return the address that the process which answers as a member announces in its hello; None when unknown."""
        ...

    def send(self, outgoing: Sequence[tuple[int, PeerMessage]]) -> None:
        """Send each message to its member, in order; a message that cannot be sent now is dropped."""
        ...

    def learn_cluster(self, cluster_id: str) -> None:
        """Accept only members of this cluster from now on."""
        ...

    def set_members(
        self,
        addresses: Mapping[int, Address],
        removed: Collection[int] = (),
        incarnations: Mapping[int, str] | None = None,
    ) -> None:
        """Connect only to these nodes from now on; `removed` are refused as former members.

        A node in `incarnations` must have that incarnation.
        """
        ...


class NoPeers:
    """The connections of a replica that is not connected, or is the only member."""

    def status(self) -> Mapping[int, PeerStatus]:
        """Return nothing: there are no peers."""
        return {}

    def reached_at(self, node: int) -> Address | None:
        """Return nothing."""

    def says_at(self, node: int) -> Address | None:
        """Return nothing."""

    def send(self, outgoing: Sequence[tuple[int, PeerMessage]]) -> None:
        """Drop everything."""

    def learn_cluster(self, cluster_id: str) -> None:
        """Do nothing."""

    def set_members(
        self,
        addresses: Mapping[int, Address],
        removed: Collection[int] = (),
        incarnations: Mapping[int, str] | None = None,
    ) -> None:
        """Do nothing."""
