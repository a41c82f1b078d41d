"""What the replica needs of its connections to the other members: the seam through which messages go out."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from kvraft.peers import Address, PeerStatus
from kvraft.peers.forwarded import PeerMessage


class PeerTransport(Protocol):
    """What the replica needs of its connections to the other members; `kvraft.peers.Peers` is the real one."""

    def status(self) -> Mapping[int, PeerStatus]:
        """Return how every other member is connected."""
        ...

    def reached_at(self, node: int) -> Address | None:
        """Return where a member answers, or where this node itself is reached; None when that is unknown."""
        ...

    def says_at(self, node: int) -> Address | None:
        """Return where the process that answers as a member says that it is reached; None when that is unknown."""
        ...

    def send(self, outgoing: Sequence[tuple[int, PeerMessage]]) -> None:
        """Send each message to its member, in order; whatever cannot be sent now is dropped."""
        ...

    def learn_cluster(self, cluster_id: str) -> None:
        """From now on talk to members of this cluster alone."""
        ...

    def set_members(
        self,
        addresses: Mapping[int, Address],
        removed: Collection[int] = (),
        incarnations: Mapping[int, str] | None = None,
    ) -> None:
        """From now on talk to these nodes and to nobody else; `removed` are told that they have left.

        A node in `incarnations` must have that incarnation.
        """
        ...


class NoPeers:
    """The outbox of a replica that is not connected, as that of a cluster of one stays."""

    def status(self) -> Mapping[int, PeerStatus]:
        """Return nothing: there is nobody."""
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
