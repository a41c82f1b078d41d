"""What the peers need from whoever runs the node: the seam through which messages and hellos come in."""

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
    """Takes what peers send and what becomes of the connections to them.

    Every method is called from the reactor, never from within a call to `Peers`, except that stopping is silent: once
    `Peers.stop` has been called nothing is delivered any more. For one connection the order is `hello`, then
    `link_up` or any number of `receive`, then `peer_lost`. Connections of both directions come and go independently.
    """

    def hello(self, hello: Hello) -> None:
        """A peer, `hello.sender`, introduced itself on a connection of either direction.

        Raises:
            MessageRefused: such a peer cannot be talked to; the connection is refused with this text.
        """

    def admits(self, hello: Hello, ours: str | None) -> Address | None:
        """Return where a node is reached that is to be let in although it is no member; None: it is not.

        It names our cluster, `ours`; None: we have not heard yet which that is, and it names one. Called before the
        `hello` of a node that is let in. It is talked to from then on, until `Peers.set_members` names whom to talk to.
        """

    def refused(self, peer: int, code: str, message: str) -> None:
        """What answers at `peer`'s address refuses to talk to us: a claim, not proof; `message` is one printable line.

        Called at each attempt, so up to twenty times a second, for as long as the peer is dialed.
        """

    def receive(self, sender: int, messages: list[PeerMessage]) -> None:
        """`sender` sent these, in this order. Called once for each chunk of input that completes a message.

        Raises:
            MessageRefused: no honest member can have sent one of them; the connection is dropped.
        """

    def link_up(self, peer: int) -> None:
        """What is sent to `peer` from now on has a connection to travel on."""

    def peer_lost(self, peer: int) -> None:
        """An established connection from or to `peer` is lost: a hint, not a proof, that it died.

        Called once for each such connection, so a peer that dies is usually reported twice. A connection that `peer`
        replaces by a new one is lost too, and is reported before the new one's `hello`.
        """
