"""Takes messages of peers, and events of the connections to them."""

from collections.abc import Sequence

from twisted.internet.interfaces import IReactorTime

from kvraft.config import Address
from kvraft.events import Note, ignore
from kvraft.peers import Facts, Hello
from kvraft.peers.forwarded import Forwarded, ForwardedAnswer, PeerMessage, Published
from kvraft.raft import Message, Node
from kvraft.replica.admission import Admission
from kvraft.replica.forwarding import Forwarding
from kvraft.replica.publishing import Publishing
from kvraft.replica.rejoin import Rejoin
from kvraft.replica.state_checksums import StateChecksums
from kvraft.replica.turn import Turn


class Inbox:
    """Passes messages and events of peers to the node; see `kvraft.peers.PeerReceiver`."""

    def __init__(
        self,
        turn: Turn,
        node: Node,
        clock: IReactorTime,
        *,
        admission: Admission,
        checksums: StateChecksums,
        forwarding: Forwarding,
        publishing: Publishing,
        rejoin: Rejoin | None,
        note: Note = ignore,
    ) -> None:
        self._turn = turn
        self._node = node
        self._clock = clock
        self._admission = admission
        self._checksums = checksums
        self._forwarding = forwarding
        self._publishing = publishing
        self._rejoin = rejoin
        self._note = note
        self._linked: set[int] = set()
        """The peers that were recorded as connected. Both connections of a peer break together and make one event."""

    def receive(self, sender: int, arrived: Sequence[PeerMessage]) -> None:
        """Take what arrived from `sender`; raises MessageRefused when it must be disconnected."""
        turn, node = self._turn, self._node
        if turn.is_stopped:
            return
        messages = self._take_forwarded(sender, arrived)
        if not messages:
            return
        if self._rejoin is not None:
            messages = self._rejoin.admit(messages)
        # A leader's turn waits for what else arrives in this iteration. A follower's messages come from its leader,
        # which has batched them already.
        at_once = not turn.is_due and not node.is_leader
        turn.is_due |= at_once
        try:
            now = self._clock.seconds()
            if len(messages) == 1:  # as almost always
                turn.let(node.step, sender, messages[0], now)
            else:
                turn.let(self._step, sender, messages, now)
        finally:
            if at_once and not turn.is_stopped:
                turn.run()
            elif not turn.is_due and (node.has_ready() or node.states.are_in_doubt):
                turn.schedule()  # else it was the answer to a heartbeat, as mostly, and says nothing new

    def _take_forwarded(self, sender: int, arrived: Sequence[PeerMessage]) -> Sequence[Message]:
        """Take the messages that are not the core's, and return the rest, in order."""
        messages: list[Message] = []
        for each in arrived:
            if isinstance(each, Forwarded):
                self._forwarding.carry_out(sender, each)
            elif isinstance(each, ForwardedAnswer):
                self._forwarding.answered(sender, each)
            elif isinstance(each, Published):
                self._publishing.received(each)
            else:
                messages.append(each)
        return messages

    def hello(self, hello: Hello) -> None:
        """Take a peer's hello."""
        if not self._turn.is_stopped:
            self._turn.tell(self._admission.hello, hello)
            if self._rejoin is not None:
                self._turn.tell(self._rejoin.hello, hello)

    def admits(self, hello: Hello, ours: str | None) -> Address | None:
        """Return the address of a node that is accepted although it is no member here; None: it is refused."""
        return None if self._turn.is_stopped else self._admission.admits(hello, ours)

    def refused(self, peer: int, code: str, message: str) -> None:
        """Take `peer`'s refusal of this node; see `Admission.refused`."""
        if not self._turn.is_stopped:
            self._note("refused_by", peer=peer, code=code)
            self._admission.refused(peer, code)

    def facts(self, to: int) -> Facts:
        """Return the facts in the hello for node `to`."""
        facts = self._admission.facts(to)
        return facts if self._rejoin is None else self._rejoin.add_to(facts)

    def link_up(self, peer: int) -> None:
        """Take that a connection to `peer` is established."""
        if not self._turn.is_stopped:
            if peer not in self._linked:
                self._linked.add(peer)
                self._note("link_up", peer=peer)
            self._checksums.forget(peer)
            self._turn.tell(self._node.peer_connected, peer, self._clock.seconds())

    def peer_lost(self, peer: int) -> None:
        """Take the loss of a connection to or from `peer`."""
        if not self._turn.is_stopped:
            if peer in self._linked:
                self._linked.discard(peer)
                self._note("link_lost", peer=peer)
            self._forwarding.lost(peer)
            self._turn.tell(self._node.peer_lost, peer, self._clock.seconds())

    def _step(self, sender: int, messages: Sequence[Message], now: float) -> None:
        for message in messages:
            self._node.step(sender, message, now)
