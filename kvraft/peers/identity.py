"""This node's identity in hellos, and which hellos of others it accepts."""

from collections.abc import Callable, Collection, Mapping

from msgspec.structs import asdict

from kvraft.peers.hello import (
    OTHER_INCARNATION,
    PROTOCOL_VERSION,
    REMOVED,
    UNSURE_INCARNATION,
    Facts,
    Hello,
    HelloRefused,
)
from kvraft.peers.receiver import Address


class Identity:
    """This node's identity, and the nodes that it accepts."""

    def __init__(
        self,
        me: int,
        incarnation: str,
        run: str,
        members: Collection[int],
        cluster_id: str | None,
        facts: Callable[[int], Facts],
        reached_at: Address | None = None,
    ) -> None:
        self.me = me
        self.reached_at = reached_at
        """The address at which this node is reached, even if the log has another."""
        self.cluster_id = cluster_id
        """Once known it changes only by the log: a hello never moves a node from one cluster to another."""
        self._incarnation = incarnation
        self._run = run
        self._members = frozenset(members)
        self._removed: Collection[int] = ()
        self._incarnations: Mapping[int, str] = {}
        self._addresses: Mapping[int, Address] = {}
        self._facts = facts

    def set_members(
        self,
        members: Mapping[int, Address],
        removed: Collection[int],
        incarnations: Mapping[int, str] | None = None,
    ) -> None:
        """Accept only `members` from now on, and name in each hello the address at which its receiver is dialed.

        `removed` are former members, which are refused with REMOVED. A member in `incarnations` must have that
        incarnation.
        """
        self._incarnations = incarnations or {}
        self._members = frozenset(members)
        self._addresses = members
        self._removed = removed

    def let_in(self, node: int, address: Address) -> None:
        """Accept one more node, until the next `set_members`."""
        self._members |= {node}
        self._addresses = {**self._addresses, node: address}

    def line(self, to: int) -> bytes:
        """Return the hello or the welcome for node `to`.

        Raises:
            ValueError: it is too long.
        """
        here, there = self.reached_at, self._addresses.get(to)
        return Hello(
            PROTOCOL_VERSION,
            self.me,
            to,
            self.cluster_id,
            self._incarnation,
            self._run,
            self._incarnations.get(to),
            keepalive=True,
            reached_at=None if here is None else (here.host, here.port),
            to_address=None if there is None else (there.host, there.port),
            **asdict(self._facts(to)),
        ).line()

    def read(self, line: bytes, expected: int | None = None) -> Hello:
        """Read the other end's line; on a connection that this node has dialed, its sender must be `expected`.

        Raises:
            HelloRefused: it is no hello, it is a refusal, it is for another node, or it comes from another cluster.
        """
        hello = Hello.read(line, may_refuse=expected is not None)
        self._check_ids(hello, expected)
        if None not in {hello.cluster, self.cluster_id} and hello.cluster != self.cluster_id:
            raise HelloRefused(
                "OTHER_CLUSTER",
                f"node {self.me} belongs to cluster {self.cluster_id} and node {hello.sender} to cluster "
                f"{hello.cluster}; check the addresses, or empty the data directory of the one that shall move",
            )
        return hello

    def may_be_let_in(self, hello: Hello) -> bool:
        """Whether a valid hello comes from a node that is no member here, but may be one in a later configuration."""
        return (
            hello.sender not in self._members
            and hello.sender not in self._removed
            and hello.cluster is not None
            and self.cluster_id in {None, hello.cluster}
        )

    def accept(self, hello: Hello) -> None:
        """Accept the sender of a valid hello.

        While this node has no cluster id, it adopts that of the hello, provisionally for the life of this process.

        Raises:
            HelloRefused: the sender is no member, or its id is bound to another incarnation.
        """
        if (refusal := self._refusal_of_stranger(hello.sender) or self.refusal_of_other(hello)) is not None:
            raise refusal
        if self.cluster_id is None:
            self.cluster_id = hello.cluster

    def refusal_of_other(self, hello: Hello) -> HelloRefused | None:
        """Return the refusal of a valid hello whose id is bound to another incarnation; None if it is not.

        A node that receives this refusal stops. Two nodes of different clusters that have no cluster id yet would stop
        each other; so between two such nodes the refusal is not final. If they belong to one cluster, a member that has
        the id will refuse finally.
        """
        if self._incarnations.get(hello.sender, hello.incarnation) == hello.incarnation:
            return None
        node = hello.sender
        return HelloRefused(
            UNSURE_INCARNATION if self.cluster_id is None and hello.cluster is None else OTHER_INCARNATION,
            f"node {node} has another data directory than the cluster has recorded, so its votes and acknowledgements "
            f"may be lost; give it that one back, or replace it: MEMBER REPLACE {node} <new id> <host:port>, with an "
            "empty directory",
        )

    def _check_ids(self, hello: Hello, expected: int | None) -> None:
        if hello.receiver != self.me:
            raise HelloRefused(
                "WRONG_NODE",
                f"this is node {self.me} and not node {hello.receiver}; check the addresses of the members",
            )
        if expected is not None and hello.sender != expected:
            raise HelloRefused(
                "WRONG_NODE", f"node {hello.sender} answers where node {expected} should; check the addresses"
            )
        if hello.sender == self.me:
            raise HelloRefused("OWN_ID", f"node {self.me} is this node; give every node an id of its own")

    def _refusal_of_stranger(self, node: int) -> HelloRefused | None:
        """Return the refusal of a node that is no member; None for a member."""
        if node in self._members:
            return None
        if node in self._removed:
            return HelloRefused(
                REMOVED,
                f"node {node} was removed from this cluster; stop it, and to use its machine again give it an "
                "id that was never used and an empty data directory, and add it with MEMBER ADD",
            )
        return HelloRefused(
            "UNKNOWN_NODE",
            f"node {node} is no member of the configuration of node {self.me}; send MEMBER ADD {node} host:port to "
            f"the leader, and node {self.me} accepts its connections once it has that entry",
        )
