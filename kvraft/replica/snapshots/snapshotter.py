"""The replica's interface to snapshots: takes them, sends them to members that need one, and receives them."""

from collections.abc import Callable

from twisted.internet.defer import Deferred

from kvraft.raft import Ready
from kvraft.raft.progress import Progress
from kvraft.replica.snapshots.context import SnapshotContext
from kvraft.replica.snapshots.create import SnapshotCreator, SnapshotOptions
from kvraft.replica.snapshots.receive import Installer, SnapshotReceiver
from kvraft.replica.snapshots.send import SnapshotSender
from kvraft.store import Store


class Snapshotter:
    """Holds the creator, the receiver and the senders of snapshots.

    Args:
        sent: called with a member and the index that it has installed, or None when sending to it has failed.
    """

    def __init__(
        self,
        context: SnapshotContext,
        options: SnapshotOptions,
        *,
        make_id: Callable[[], str],
        installer: Installer,
        sent: Callable[[int, int | None], None],
    ) -> None:
        self._context = context
        self._options = options
        self._sent = sent
        self.creator = SnapshotCreator(context, make_id, options, self)
        self._receiver = SnapshotReceiver(context, installer)
        self._senders: dict[int, SnapshotSender] = {}
        """The transfers under way, by member."""

    def begin(self, store: Store) -> Deferred[None]:
        """Take a snapshot now; fires when it is finished or has failed."""
        return self.creator.begin(store)

    def carry_out(self, ready: Ready) -> None:
        """Carry out the snapshot effects of a Ready."""
        for peer in ready.snapshots_wanted:
            self._begin_to_send(peer)
        for sender, reply in ready.snapshot_replies:
            if sender in self._senders:
                self._senders[sender].replied(reply)
        for sender, piece in ready.snapshot_pieces:
            self._receiver.receive(sender, piece)
        if self._senders:
            node = self._context.node
            for peer in [each for each in self._senders if node.progress_of(each) is None]:
                self._senders.pop(peer).stop()

    def stop(self) -> None:
        """Begin nothing more; work under way ends at its next step."""
        self.creator.stop()
        self._receiver.stop()
        self._stop_senders()

    def _begin_to_send(self, peer: int) -> None:
        older = self._senders.pop(peer, None)
        if older is not None:
            older.stop()
        snapshot = self._context.snapshots.latest
        assert snapshot is not None, "the log begins after a snapshot"
        sender = SnapshotSender(self._context, peer, snapshot, self._ended, self.creator.replace)
        self._senders[peer] = sender
        sender.start()

    def _ended(self, peer: int, installed_index: int | None) -> None:
        del self._senders[peer]
        self._sent(peer, installed_index)

    @property
    def needed_behind(self) -> int | None:
        """See `LateMembers`."""
        senders = self._senders
        living = self._living.items()
        return min((senders[peer].index if peer in senders else each.match for peer, each in living), default=None)

    @property
    def is_one_receiving(self) -> bool:
        """See `LateMembers`."""
        return bool(self._senders) and not self._senders.keys().isdisjoint(self._living)

    def may_need(self, index: int) -> bool:
        """See `LateMembers`."""
        node = self._context.node
        if not node.is_leader:
            return node.leader is None
        others = [node.progress_of(peer) for peer in node.membership.members if peer != node.id]
        return any(other is None or other.match < index for other in others)

    @property
    def _living(self) -> dict[int, Progress]:
        """The progress of the members that have answered within `absent_after`; empty unless this node leads."""
        return self._context.node.heard_since(self._context.clock.seconds() - self._options.absent_after)

    def _stop_senders(self) -> None:
        for sender in self._senders.values():
            sender.stop()
        self._senders.clear()
