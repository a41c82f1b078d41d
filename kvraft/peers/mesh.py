"""One node's connections to all of its peers, and the methods by which the replica uses them."""

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

import attrs
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IProtocol, IStreamClientEndpoint
from twisted.logger import Logger

from kvraft.peers.acceptor import Inbounds
from kvraft.peers.hello import Identity
from kvraft.peers.link import Link, endpoint_to
from kvraft.peers.outbox import OUTBOX_BYTES_MAX
from kvraft.peers.receiver import Address, Facts, PeerReceiver
from kvraft.raft.messages import Message
from kvraft.wire import encode


@attrs.frozen
class PeerStatus:
    """How one peer is connected, for people and metrics."""

    connected: bool
    """Whether what is sent to the peer has a connection to travel on."""
    inbound: bool
    """Whether the peer has one to us."""
    outbox_bytes: int
    """Bytes that wait for the peer, without those that its transport has already."""
    overflows: int
    """How often the link was given up because too much waited."""
    last_refusal: str | None
    """Why the peer cannot be talked to; None while it can."""


def _no_facts() -> Facts:
    return {}


class Peers:
    """Sends this node's messages and receives those of its peers.

    Args:
        reactor: Keeps the time; with the default `dial` it also connects by TCP.
        me: This node's id.
        incarnation: Names this run of this process; random.
        addresses: Where every member listens, by id. This node's own entry is ignored.
        receiver: Takes what comes in.
        random: Draws the pauses between attempts to connect.
        cluster_id: The cluster's id as the log knows it, or None.
        facts: What the owner adds to every hello; called for each.
        outbox_bytes_max: Most bytes that may wait behind the write that is under way, for one peer.
        dial: Makes the endpoint of an address.
    """

    def __init__(
        self,
        reactor: Any,
        me: int,
        incarnation: str,
        addresses: Mapping[int, Address],
        receiver: PeerReceiver,
        random: Random,
        cluster_id: str | None,
        *,
        facts: Callable[[], Facts] = _no_facts,
        outbox_bytes_max: int = OUTBOX_BYTES_MAX,
        dial: Callable[[Any, Address], IStreamClientEndpoint] = endpoint_to,
    ) -> None:
        log = Logger(namespace="kvraft.peers")
        others = {peer: address for peer, address in addresses.items() if peer != me}
        self._identity = Identity(me, incarnation, others, cluster_id, facts)
        self._inbounds = Inbounds(self._identity, receiver, reactor, log)
        self._links = {
            peer: Link(
                peer,
                dial(reactor, address),
                self._identity,
                receiver,
                reactor,
                random=random,
                log=log,
                outbox_bytes_max=outbox_bytes_max,
            )
            for peer, address in others.items()
        }

    @property
    def cluster_id(self) -> str | None:
        """The cluster that this node takes itself to belong to: told by the log, or provisionally by a peer."""
        return self._identity.cluster_id

    def start(self) -> None:
        """Begin to dial every peer."""
        for link in self._links.values():
            link.start()

    def stop(self) -> Deferred[None]:
        """Close every connection; the Deferred fires when nothing is left. Nothing is delivered from now on."""
        waits = [self._inbounds.stop(), *(link.stop() for link in self._links.values())]
        return gatherResults(waits, consumeErrors=True).addCallback(lambda _: None)

    def send(self, outgoing: Sequence[tuple[int, Message]]) -> None:
        """Send each message to its peer, in order, with one write for each peer.

        A message object that goes to several peers is encoded once. What goes to a peer without an established link
        is dropped: any message may be lost.

        Raises:
            WireError: a message is too long for a frame; nothing of this call was sent.
        """
        frames: dict[int, bytes] = {}  # by the message's id(), which holds for as long as `outgoing` does
        writes: dict[int, list[bytes]] = {}
        for peer, message in outgoing:
            link = self._links.get(peer)
            if link is None or not link.connected:
                continue
            frame = frames.get(id(message))
            if frame is None:
                frame = frames[id(message)] = encode(message)
            writes.setdefault(peer, []).append(frame)
        for peer, parts in writes.items():
            self._links[peer].write(parts[0] if len(parts) == 1 else b"".join(parts))

    def build_acceptor(self) -> IProtocol:
        """Return the protocol for one inbound connection whose first byte says that it is a peer's."""
        return self._inbounds.build()

    def learn_cluster(self, cluster_id: str) -> None:
        """Take the id that the log has agreed on, and drop the connections to nodes that named another."""
        self._identity.cluster_id = cluster_id
        self._inbounds.drop_strangers(cluster_id)
        for link in self._links.values():
            link.drop_stranger(cluster_id)

    def connected(self, peer: int) -> bool:
        """Whether what is sent to `peer` has an established link to travel on."""
        link = self._links.get(peer)
        return link is not None and link.connected

    def status(self) -> dict[int, PeerStatus]:
        """Return how every peer is connected."""
        return {
            peer: PeerStatus(
                connected=link.connected,
                inbound=self._inbounds.connected(peer),
                outbox_bytes=link.outbox.waiting if link.outbox is not None else 0,
                overflows=link.overflows,
                last_refusal=link.last_refusal,
            )
            for peer, link in self._links.items()
        }
