"""The interface by which the peers deliver messages, hellos and connection events to the owner of the node."""

from typing import Protocol

from kvraft.peers.forwarded import PeerMessage
from kvraft.peers.hello import Hello


class Address(Protocol):
    """Where a member listens."""

    @property
    def host(self) -> str:
        """A host name, or an IPv4 or IPv6 address."""

    @property
    def port(self) -> int:
        """The TCP port."""


class PeerReceiver(Protocol):
    """Takes the messages of peers and the events of the connections.

    Every method is called from the reactor, never from within a call to `Peers`. After `Peers.stop` none is called. For
    one connection the order is `hello`, then `link_up` or any number of `receive`, then `peer_lost`. The connections of
    the two directions are independent.
    """

    def hello(self, hello: Hello) -> None:
        """Take the hello of a peer, `hello.sender`, on a connection of either direction.

        Raises:
            MessageRefused: the owner refuses the peer; the connection is refused with this text.
        """

    def admits(self, hello: Hello, ours: str | None) -> Address | None:
        """Return the address of a node that is accepted although it is no member; None: it is refused.

        The node's hello names this node's cluster, `ours`; if that is None, this node has no cluster id yet.
        Called before `hello`. An accepted node is dialed as well, until the next `Peers.set_members`.
        """

    def refused(self, peer: int, code: str, message: str) -> None:
        """Take a refusal by the process at `peer`'s address: a claim, not proof; `message` is one printable line.

        Called at each attempt, so up to twenty times a second, while the peer is dialed.
        """

    def receive(self, sender: int, messages: list[PeerMessage]) -> None:
        """Take messages of `sender`, in order. Called once for each chunk of input that completes a message.

        Raises:
            MessageRefused: no correct member can have sent one of them; the connection is dropped.
        """

    def link_up(self, peer: int) -> None:
        """The outbound link to `peer` is established."""

    def peer_lost(self, peer: int) -> None:
        """An established connection from or to `peer` is lost: a hint, not a proof, that it died.

        Called once for each such connection, so a peer that dies is usually reported twice. A connection that `peer`
        replaces by a new one is lost too, and is reported before the new one's `hello`.
        """
