"""Who belongs to the cluster and who leads it, as far as one node knows."""

from collections.abc import Mapping

import msgspec


class ClusterView(msgspec.Struct, frozen=True):
    """The members of the cluster and its leader, as one node knows them."""

    me: int
    """The id of the node that is asked."""
    leader: int | None
    """None: no leader is known."""
    term: int
    addresses: Mapping[int, str]
    """Where each member is reached by clients, "host:port"."""
    voters: frozenset[int]
    connected: frozenset[int]
    """The other members to which the node that is asked has a connection."""

    forwards: bool = False
    """Whether the node that is asked passes on what only the leader can answer."""

    @property
    def is_leader(self) -> bool:
        """Whether the node that is asked leads."""
        return self.leader == self.me

    @property
    def leader_address(self) -> str | None:
        """Where the leader is reached, as far as it is known."""
        return None if self.leader is None else self.addresses.get(self.leader)
