"""All that a replica does with snapshots: it takes them, sends them to members that need one, and receives them."""

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from kvraft.raft import Entry, Message, Node, Ready
from kvraft.raft.roles import Leader
from kvraft.replica.receiving import Installer, SnapshotReceiver
from kvraft.replica.sending import SnapshotSender
from kvraft.replica.taking import SnapshotOptions, SnapshotTaker
from kvraft.storage import SnapshotStorage, Storage
from kvraft.store import Store


class Snapshotter:
    """Keeps the parts together.

    Args:
        send: sends one message to one member.
        sent: called with a member and the index that it has installed, or None when sending to it has failed.
        failed: called when the node must not go on.
    """

    def __init__(
        self,
        *,
        node: Node,
        storage: Storage,
        snapshots: SnapshotStorage,
        clock: IReactorTime,
        make_id: Callable[[], str],
        options: SnapshotOptions,
        installer: Installer,
        send: Callable[[int, Message], None],
        sent: Callable[[int, int | None], None],
        failed: Callable[[Failure], None],
    ) -> None:
        self._node = node
        self._snapshots = snapshots
        self._clock = clock
        self._send = send
        self._sent = sent
        self._taker = SnapshotTaker(node, storage, snapshots, clock, make_id, options, failed)
        self._receiver = SnapshotReceiver(node, snapshots, send, installer, clock, failed)
        self._senders: dict[int, SnapshotSender] = {}
        """Snapshots on their way, by member."""

    def applied(self, entry: Entry) -> None:
        """Take note of an entry that was applied."""
        self._taker.applied(entry)

    def begin(self, store: Store) -> Deferred[None]:
        """Take a snapshot now; fires when it is there, or has failed."""
        return self._taker.begin(store)

    def consider(self, store: Store) -> None:
        """Begin to take a snapshot if it is time for one."""
        self._taker.consider(store)

    def carry_out(self, ready: Ready) -> None:
        """Do what the node wants done with snapshots."""
        for peer in ready.snapshots_wanted:
            self._begin_to_send(peer)
        for sender, reply in ready.snapshot_replies:
            if sender in self._senders:
                self._senders[sender].replied(reply)
        for sender, piece in ready.snapshot_pieces:
            self._receiver.receive(sender, piece)
        if self._senders and not isinstance(self._node.role, Leader):
            self._stop_senders()

    def stop(self) -> None:
        """Begin nothing more; what is under way ends at its next step."""
        self._taker.stop()
        self._receiver.stop()
        self._stop_senders()

    def _begin_to_send(self, peer: int) -> None:
        older = self._senders.pop(peer, None)
        if older is not None:
            older.stop()
        snapshot = self._snapshots.latest
        assert snapshot is not None, "the log begins behind a snapshot"
        sender = SnapshotSender(self._node, peer, self._snapshots, snapshot, self._send, self._clock, self._ended)
        self._senders[peer] = sender
        sender.start()

    def _ended(self, peer: int, installed_index: int | None) -> None:
        del self._senders[peer]
        self._sent(peer, installed_index)

    def _stop_senders(self) -> None:
        for sender in self._senders.values():
            sender.stop()
        self._senders.clear()
