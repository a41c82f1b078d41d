"""Who this node is, whom it talks to, and what it says of itself in a hello."""

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
    """Who this node is, and whom it talks to."""

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
        """Where this node is reached, whatever the log says."""
        self.cluster_id = cluster_id
        """Once known it changes only when the log says so: a node never goes from one cluster to another by hearsay."""
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
        """Talk to `members` alone from now on, and tell each where it is looked for.

        `removed` are told that they once belonged to them. Of those in `incarnations` only one with that incarnation
        is talked to.
        """
        self._incarnations = incarnations or {}
        self._members = frozenset(members)
        self._addresses = members
        self._removed = removed

    def let_in(self, node: int, address: Address) -> None:
        """Talk to one node more, until `set_members` says whom to talk to."""
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
        """Read the other end's line, which must come from `expected` when a node was dialed.

        Raises:
            HelloRefused: it is none, it refuses us, it is meant for another node, or it comes from another cluster.
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
        """Whether a sound hello comes from a node that is no member as far as is known here, and may be one by now."""
        return (
            hello.sender not in self._members
            and hello.sender not in self._removed
            and hello.cluster is not None
            and self.cluster_id in {None, hello.cluster}
        )

    def accept(self, hello: Hello) -> None:
        """Talk to who said a sound hello.

        A cluster's id that is heard for the first time is adopted provisionally, for the life of this process.

        Raises:
            HelloRefused: it is no member, or not the one that it must be.
        """
        if (refusal := self._refusal_of_stranger(hello.sender) or self.refusal_of_other(hello)) is not None:
            raise refusal
        if self.cluster_id is None:
            self.cluster_id = hello.cluster

    def refusal_of_other(self, hello: Hello) -> HelloRefused | None:
        """Return why a sound hello is refused: its id is bound to another incarnation. None when it is not.

        A node that is refused so ends. Two nodes of different clusters that are so young that neither knows its
        cluster's id would end each other, so between such two the refusal is not final. When their cluster is one, a
        node that knows its id will say so.
        """
        if self._incarnations.get(hello.sender, hello.incarnation) == hello.incarnation:
            return None
        node = hello.sender
        return HelloRefused(
            UNSURE_INCARNATION if self.cluster_id is None and hello.cluster is None else OTHER_INCARNATION,
            f"node {node} has another data directory than the cluster knows, so it has lost what it promised; give it "
            f"that one back, or replace it: MEMBER REPLACE {node} <new id> <host:port>, with an empty directory",
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
        """Return why a node that is no member is refused; None for a member."""
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
            f"node {node} is no member of this cluster, as far as node {self.me} knows; add it with "
            f"MEMBER ADD {node} host:port, sent to the leader, and it is let in by itself",
        )
