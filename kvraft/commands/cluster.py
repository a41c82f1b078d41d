"""The members of the cluster and its leader, in the view of one node, which may be out of date."""

from collections.abc import Mapping

import msgspec


class ClusterView(msgspec.Struct, frozen=True):
    """The members of the cluster and its leader in the view of one node."""

    me: int
    """The id of this node."""
    leader: int | None
    """None: no leader is known."""
    term: int
    addresses: Mapping[int, str]
    """The address of each member for clients, "host:port"."""
    voters: frozenset[int]
    connected: frozenset[int]
    """The other members to which this node has a connection."""

    forwards: bool = False
    """Whether this node forwards requests that only the leader can answer."""

    @property
    def is_leader(self) -> bool:
        """Whether this node is the leader."""
        return self.leader == self.me

    @property
    def leader_address(self) -> str | None:
        """The leader's address; None: unknown."""
        return None if self.leader is None else self.addresses.get(self.leader)
