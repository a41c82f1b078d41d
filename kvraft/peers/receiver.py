"""What the peers need from whoever runs the node: the seam through which messages and facts come in."""

from collections.abc import Mapping
from typing import Any, Protocol

from kvraft.raft.messages import Message

Facts = Mapping[str, Any]
"""JSON values that a node adds to its hello, by name."""


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

    def hello(self, peer: int, facts: Facts) -> None:
        """`peer` introduced itself on a connection of either direction, and said `facts` about itself.

        Two facts are always there, and are names of 1 to 64 letters, digits, dots, hyphens and underscores:
        `incarnation`, which stays the same for as long as the peer keeps its memory, and `run`, which names its
        process. The others are JSON of any shape that fits a hello: whoever understands a name checks its value.

        Raises:
            MessageRefused: such a peer cannot be talked to; the connection is refused with this text.
        """

    def admits(self, peer: int, facts: Facts, ours: str | None, known_as: str | None) -> bool:
        """Whether `peer` is let in although it is no member, and says `facts` about itself.

        It names our cluster, `ours`; None: we have not heard yet which that is, and it names one. `known_as` is the
        incarnation that we have by its configuration, None when that says nothing of it.

        Called ahead of its `hello`, also from within a call to `Peers`. Whoever admits a node may call
        `Peers.set_members` before it returns, so that answers to the node have an address to go to.
        """

    def refused(self, peer: int, code: str, message: str) -> None:
        """What answers at `peer`'s address refuses to talk to us: a claim, not proof; `message` is one printable line.

        Called at each attempt, so up to twenty times a second, for as long as the peer is dialed.
        """

    def receive(self, sender: int, messages: list[Message]) -> None:
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
