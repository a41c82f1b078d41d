"""One node's connections to all of its peers, and the methods by which the replica uses them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from random import Random
from typing import Any

import attrs
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IDelayedCall, IProtocol
from twisted.logger import Logger

from kvraft.net.endpoint import Dial, MemberEndpoint, endpoint_to
from kvraft.net.names import Names
from kvraft.peers.acceptor import Inbounds
from kvraft.peers.addresses import Addresses, Place, same, written
from kvraft.peers.forwarded import PeerMessage
from kvraft.peers.frames import encode
from kvraft.peers.hello import Facts, Hello
from kvraft.peers.identity import Identity
from kvraft.peers.keepalive import INTERVAL_S
from kvraft.peers.link import LAST_WORDS_S, Link
from kvraft.peers.log_once import LogOncePerCause
from kvraft.peers.outbox import OUTBOX_BYTES_MAX
from kvraft.peers.presence import Presence
from kvraft.peers.receiver import Address, PeerReceiver


@attrs.frozen
class PeerStatus:
    """How one peer is connected, for people and metrics."""

    connected: bool
    """Whether the outbound link to the peer is established."""
    inbound: bool
    """Whether an accepted connection from the peer exists."""
    outbox_bytes: int
    """Bytes that wait for the peer, without those handed to the transport already."""
    overflows: int
    """How often the link was aborted because too many bytes waited."""
    last_refusal: str | None
    """Why the latest attempt to connect failed; None while the link is established."""
    run: str | None = None
    """The run id of the process that answers at the peer's address; None while none does."""
    reached_at: str | None = None
    """The address at which the peer has answered; None while the link is not established."""
    runs_twice: bool = False
    """Whether a second process with the peer's identity was refused lately."""


def _no_facts(_to: int) -> Facts:
    return Facts()


class Peers:
    """Sends this node's messages and receives those of its peers.

    Args:
        reactor: Keeps the time; with the default `dial` it also connects by TCP.
        me: This node's id.
        incarnation: Identifies this node's data directory: drawn with it, and kept for as long as it exists.
        addresses: Every member's address, by id, until `set_members` replaces them. This node's own is ignored.
        receiver: Takes the messages and events of all connections.
        random: Draws the pauses between attempts to connect.
        cluster_id: The cluster's id as of the log, or None.
        run: Identifies this process; drawn from `random` if None.
        facts: Returns what the owner adds to the hello for a peer; called for each hello.
        outbox_bytes_max: Most bytes that may wait for one peer, after those handed to the transport.
        dial: Makes the endpoint of a numeric address.
        names: Resolves host names.
        listed: The members' addresses in config.json, which are tried as well.
        reached_at: The address at which this node is reached, announced in each hello; None: it announces none.
        leader: Returns the leader's id, None when no leader is known; see `addresses`.
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
        run: str | None = None,
        facts: Callable[[int], Facts] = _no_facts,
        outbox_bytes_max: int | None = None,
        dial: Dial = endpoint_to,
        names: Names | None = None,
        listed: Mapping[int, Address] | None = None,
        reached_at: Address | None = None,
        leader: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._reactor = reactor
        self._receiver = receiver
        self._random = random
        self._outbox_bytes_max = OUTBOX_BYTES_MAX if outbox_bytes_max is None else outbox_bytes_max
        self._dial = dial
        self._names = names or Names()
        self._log = Logger(namespace="kvraft.peers")
        self._presence = Presence(self._log, reactor)
        self._once = LogOncePerCause(self._log)
        run = run or f"{random.getrandbits(128):032x}"
        self._listed = listed or {}
        self._leader = leader
        self._identity = Identity(me, incarnation, run, (), cluster_id, facts, reached_at)
        self._inbounds = Inbounds(
            self._identity, receiver, reactor, self._log, self._presence, self._run_of, self._note_place, self._let_in
        )
        self._addresses: dict[int, Addresses] = {}
        """Of each member but this node: the keys of `_links`."""
        self._links: dict[int, Link] = {}
        self._leaving: dict[int, Link] = {}
        """Links to removed members, until they are closed."""
        self._is_started = False
        self._is_stopped = False
        self._keeping_alive: IDelayedCall | None = None
        self.set_members(addresses)

    @property
    def cluster_id(self) -> str | None:
        """The id of this node's cluster: from the log or, until the log holds one, provisionally from a peer."""
        return self._identity.cluster_id

    def start(self) -> None:
        """Begin to dial every peer."""
        self._is_started = True
        self._keeping_alive = self._reactor.callLater(INTERVAL_S, self._keep_alive)
        for link in self._links.values():
            link.start()

    def set_members(
        self,
        addresses: Mapping[int, Address],
        removed: Collection[int] = (),
        incarnations: Mapping[int, str] | None = None,
    ) -> None:
        """Connect to these members from now on, and to no other node.

        A new member is dialed, and a member whose address has changed is dialed at the new one; the other links stay.
        A removed member cannot connect any more, and is not dialed again. An established link to it carries messages
        for another `LAST_WORDS_S`, so that the member can receive the commit index that covers its removal, and is then
        closed. The end of each connection is reported like any other loss. After `stop` nothing happens.

        Args:
            addresses: Every member's address, by id. This node's own entry is ignored.
            removed: Ids of former members. Their hellos are refused with REMOVED, those of other nodes that are no
                members with UNKNOWN_NODE. An id that is also in `addresses` is a member.
            incarnations: The incarnation that each member must have. A member with another one is refused with
                OTHER_INCARNATION, and its connections are dropped.
        """
        if self._is_stopped:
            return
        others = {peer: address for peer, address in addresses.items() if peer != self._identity.me}
        self._identity.set_members(others, removed, incarnations)
        self._inbounds.drop_departed(others)
        self._inbounds.drop_others()
        for peer in self._links.keys() - others.keys():
            self._let_go(peer)
        for peer, address in others.items():
            if peer not in self._links:
                self._take_in(peer, address)
            elif same(self.reached_at(peer), address):
                self._addresses[peer].known = address
            elif not same(self._addresses[peer].known, address):
                self._addresses[peer] = self._addresses[peer].moved(address)
                self._links[peer].redial(self._addresses[peer])
        for link in self._links.values():
            link.drop_other()

    def stop(self) -> Deferred[None]:
        """Close every connection; the Deferred fires when all are closed. Nothing is delivered after this call."""
        self._is_stopped = True
        if self._keeping_alive is not None and self._keeping_alive.active():
            self._keeping_alive.cancel()
        links = [*self._links.values(), *self._leaving.values()]
        waits = [self._inbounds.stop(), *(link.stop() for link in links)]
        return gatherResults(waits, consumeErrors=True).addCallback(lambda _: None)

    def send(self, outgoing: Sequence[tuple[int, PeerMessage]]) -> None:
        """Send each message to its peer, in order, with one write for each peer.

        A message object that goes to several peers is encoded once. Messages to a peer without an established link are
        dropped: Raft allows that any message is lost.

        Raises:
            WireError: a message is too long for a frame; nothing of this call was sent.
        """
        frames: dict[int, bytes] = {}  # by the message's id(), which holds for as long as `outgoing` does
        writes: dict[Link, list[bytes]] = {}
        for peer, message in outgoing:
            link = self._links.get(peer) or self._leaving.get(peer)
            if link is None or link.outbox is None:
                continue
            frame = frames.get(id(message))
            if frame is None:
                frame = frames[id(message)] = encode(message)
            writes.setdefault(link, []).append(frame)
        for link, parts in writes.items():
            link.write(parts[0] if len(parts) == 1 else b"".join(parts))

    def build_acceptor(self) -> IProtocol:
        """Return the protocol for one inbound connection whose first byte shows that it is a peer's."""
        return self._inbounds.build()

    def learn_cluster(self, cluster_id: str) -> None:
        """Take the cluster id of the log, and drop the connections to nodes whose hello names another."""
        self._identity.cluster_id = cluster_id
        self._inbounds.drop_strangers(cluster_id)
        for link in self._links.values():
            link.drop_stranger(cluster_id)

    def connected(self, peer: int) -> bool:
        """Whether the outbound link to `peer` is established."""
        link = self._links.get(peer)
        return link is not None and link.connected

    def reached_at(self, node: int) -> Address | None:
        """Return the address at which a member answers, or this node's own; None when it is unknown."""
        if node == self._identity.me:
            return self._identity.reached_at
        return self._addresses[node].dialed if self.connected(node) else None

    def says_at(self, node: int) -> Address | None:
        """Return the address that the process which answers as a member announces in its hello; None when unknown."""
        addresses, run = self._addresses.get(node), self._run_of(node)
        return addresses.told if addresses is not None and run is not None and addresses.told_by == run else None

    def status(self) -> dict[int, PeerStatus]:
        """Return how every peer that is a member is connected."""
        return {
            peer: PeerStatus(
                connected=link.connected,
                inbound=self._inbounds.connected(peer),
                outbox_bytes=link.outbox.waiting if link.outbox is not None else 0,
                overflows=link.overflows,
                last_refusal=link.last_refusal,
                run=link.run,
                reached_at=written(self.reached_at(peer)),
                runs_twice=self._inbounds.runs_twice(peer),
            )
            for peer, link in self._links.items()
        }

    def _keep_alive(self) -> None:
        """See `keepalive`."""
        self._keeping_alive = self._reactor.callLater(INTERVAL_S, self._keep_alive)
        self._inbounds.keep_alive()
        for link in self._links.values():
            link.keep_alive()
        self._presence.look()

    def _run_of(self, peer: int) -> str | None:
        """Return the run id of the process that answers at a peer's address; None while none does."""
        link = self._links.get(peer)
        return link.run if link is not None else None

    def _endpoint(self, address: Address) -> MemberEndpoint:
        return MemberEndpoint(self._reactor, address.host, address.port, self._names, self._dial)

    def _take_in(self, peer: int, address: Address) -> None:
        """Dial a new member.

        If a link to it from before its removal is still closing, dial after that has ended, so that its loss is
        reported before the new link is.
        """
        addresses = self._addresses[peer] = Addresses(
            address,
            self._listed.get(peer),
            dial=self._endpoint,
            may_ask=lambda: self._leader() in {None, peer},
        )
        link = self._links[peer] = Link(
            peer,
            addresses,
            self._identity,
            self._receiver,
            self._reactor,
            random=self._random,
            log=self._log,
            presence=self._presence,
            outbox_bytes_max=self._outbox_bytes_max,
            welcomed=self._note_answer,
        )
        predecessor = self._leaving.get(peer)
        if predecessor is not None:
            predecessor.leave(0.0).addCallback(lambda _: self._start(link))
        elif self._is_started:
            link.start()

    def _let_in(self, peer: int, address: Address) -> None:
        """Accept and dial a node that is no member in this node's configuration, until the next `set_members`."""
        self._identity.let_in(peer, address)
        self._take_in(peer, address)

    def _note_answer(self, hello: Hello) -> None:
        """Take note that a peer answers where it was dialed."""
        peer = hello.sender
        addresses = self._addresses.get(peer)
        if addresses is not None:
            addresses.answered()
            if not same(addresses.dialed, addresses.known):
                self._log.warn(
                    "node {peer} answers at {place} and not at {known}, where the log has it",
                    peer=peer,
                    place=written(addresses.dialed),
                    known=written(addresses.known),
                )
        self._note_own_place(hello)
        self._inbounds.drop_second_run(peer, hello.run)

    def _note_place(self, hello: Hello) -> None:
        """Take note of the address that a peer announces, and of the one at which it dials this node."""
        self._note_own_place(hello)
        addresses = self._addresses.get(hello.sender)
        if addresses is None or hello.reached_at is None:
            return
        told = Place(*hello.reached_at)
        if not same(told, addresses.told) and not same(told, addresses.known):
            self._log.warn(
                "node {peer} says that it is reached at {place}, and the log has it at {known}",
                peer=hello.sender,
                place=written(told),
                known=written(addresses.known),
            )
        addresses.told, addresses.told_by = told, hello.run

    def _note_own_place(self, hello: Hello) -> None:
        """Log a warning if a peer dials this node at an address that is not its own: once for each such address."""
        here = self._identity.reached_at
        if here is None or hello.to_address is None or same(here, Place(*hello.to_address)):
            return
        self._once.warn(
            (None, "own place", hello.to_address),
            "this node is reached at {here}, and the others look for it at {there}, as node {peer} says: unless it is "
            "just moving, restart it, or send MEMBER MOVE {me} {here} to the leader",
            here=written(here),
            there=written(Place(*hello.to_address)),
            peer=hello.sender,
            me=self._identity.me,
        )

    def _start(self, link: Link) -> None:
        """Start a link that had to wait, unless the member was removed meanwhile; a stopped link ends at once."""
        if self._links.get(link.peer) is link:
            link.start()

    def _let_go(self, peer: int) -> None:
        """Close the link to a removed member after `LAST_WORDS_S`."""
        link = self._links.pop(peer)
        del self._addresses[peer]
        if not link.started:  # it waits for its predecessor's end, or for `start`
            return
        self._leaving[peer] = link
        link.leave(LAST_WORDS_S).addCallback(lambda _: self._leaving.pop(peer))
