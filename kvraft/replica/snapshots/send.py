"""Sends the latest snapshot to a member that needs one: first an offer, then pieces within a window."""

import errno
from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from kvraft.raft.messages import InstallSnapshot, InstallSnapshotReply
from kvraft.replica.snapshots.context import SnapshotContext
from kvraft.storage import Snapshot, SnapshotDamaged, SnapshotFailed, SnapshotGone

PIECE_BYTES: Final = 128 * 1024
"""Bytes of a snapshot in one message: it takes each node a fraction of a millisecond, so that other work is not
delayed."""
WINDOW_BYTES: Final = 8 * PIECE_BYTES
"""Most bytes that are sent and not confirmed yet."""
OFFER_AGAIN_S: Final = 1.0
"""After so long without a reply, seconds, the offer is repeated. A reply is lost if the member's own connection to this
node is established later than this node's to the member."""
SILENCE_MAX_S: Final = 10.0
"""After so long without a reply, seconds, the transfer begins anew, with the latest snapshot."""
RESEND_PAUSE_S: Final = 5.0
"""After a failure on this node the transfer begins anew after this pause, seconds, so that a failure that repeats at
once is not a busy loop."""


class SnapshotSender:
    """Sends one snapshot to one member, in one term.

    Args:
        done: called once with the member and the installed index, or None if the transfer has failed.
        damaged: called when the file turns out to have decayed on this node's disk.
    """

    _log = Logger(namespace="kvraft.replica")

    def __init__(
        self,
        context: SnapshotContext,
        peer: int,
        snapshot: Snapshot,
        done: Callable[[int, int | None], None],
        damaged: Callable[[SnapshotDamaged], None],
    ) -> None:
        self._term = context.node.term
        self._me = context.node.id
        self._peer = peer
        self._snapshots = context.snapshots
        self._snapshot = snapshot
        self._send = context.send
        self._clock = context.clock
        self._done = done
        self._damaged = damaged
        self._received = 0
        self._sent: int | None = None
        """The offset of the next piece; None until the offer is answered."""
        self._pumping = False
        self._over = False
        self._silence: IDelayedCall | None = None
        self._give_up_at = 0.0

    @property
    def index(self) -> int:
        """The last entry that the snapshot covers."""
        return self._snapshot.header.index

    def start(self) -> None:
        """Offer the snapshot; the reply says at which offset to begin."""
        self._log.info(
            "node {id} sends node {peer} the snapshot up to entry {index}, {size} bytes",
            id=self._me,
            peer=self._peer,
            index=self._snapshot.header.index,
            size=self._snapshot.size,
        )
        self._give_up_at = self._clock.seconds() + SILENCE_MAX_S
        self._offer()

    def stop(self) -> None:
        """Send nothing more, and report nothing."""
        self._over = True
        if self._silence is not None and self._silence.active():
            self._silence.cancel()

    def replied(self, reply: InstallSnapshotReply) -> None:
        """Take a reply, and go on at the offset that the member names."""
        if self._over or reply.snapshot != self._snapshot.header.id or self._silence is None:
            return
        if reply.received > self._snapshot.size:  # no correct member has more than the whole snapshot
            return
        if reply.installed:
            self._finish(self._snapshot.header.index)
            return
        self._give_up_at = self._clock.seconds() + SILENCE_MAX_S
        self._silence.reset(OFFER_AGAIN_S)
        if reply.received < self._received == self._snapshot.size:
            self._verify()
        if self._sent is None or reply.received < self._received:
            self._sent = reply.received
        self._received = reply.received
        self._pump()

    def _pump(self) -> None:
        if not self._pumping:
            self._pumping = True
            Deferred.fromCoroutine(self._send_window()).addErrback(self._failed)

    async def _send_window(self) -> None:
        try:
            while (
                not self._over
                and self._sent is not None
                and self._sent < self._snapshot.size
                and self._sent - self._received < WINDOW_BYTES
            ):
                offset = self._sent
                data = await self._snapshots.read(self._snapshot.header.id, offset, PIECE_BYTES)
                if self._sent == offset and not self._over:
                    self._sent += len(data)
                    self._send(self._peer, self._piece(offset, data))
        finally:
            self._pumping = False

    def _piece(self, offset: int, data: bytes) -> InstallSnapshot:
        header = self._snapshot.header
        return InstallSnapshot(self._term, header.id, header.index, header.term, self._snapshot.size, offset, data)

    def _failed(self, failure: Failure) -> None:
        if failure.check(SnapshotGone) is not None:
            self._finish(None)  # a newer snapshot has replaced it
        elif not self._over and self._silence is not None:
            self._give_up_at = self._clock.seconds()
            self._silence.reset(RESEND_PAUSE_S)
            if isinstance(failure.value, SnapshotFailed) and failure.value.errno == errno.EIO:
                self._damaged(SnapshotDamaged(self._snapshot.path, self._sent or 0, "the disk cannot read it"))
            self._log.warn(
                "node {id} cannot send its snapshot to node {peer}: {why}",
                id=self._me,
                peer=self._peer,
                why=failure.getErrorMessage(),
            )

    def _verify(self) -> None:
        """Verify the file: the member begins anew after it had all of it, so what it has received was not sound."""
        self._snapshots.verify(self._snapshot.header.id).addErrback(self._is_damaged).addErrback(self._failed)

    def _is_damaged(self, failure: Failure) -> None:
        failure.trap(SnapshotDamaged)
        assert isinstance(failure.value, SnapshotDamaged)
        if not self._over:
            self._damaged(failure.value)
            self._finish(None)

    def _offer(self) -> None:
        """Send an empty piece, to which the member replies how much it has; pieces follow its reply."""
        self._sent = None
        self._send(self._peer, self._piece(0, b""))
        self._silence = self._clock.callLater(OFFER_AGAIN_S, self._silent)

    def _silent(self) -> None:
        if self._clock.seconds() < self._give_up_at:
            self._offer()
        else:
            self._finish(None)

    def _finish(self, installed_index: int | None) -> None:
        if not self._over:
            self.stop()
            self._done(self._peer, installed_index)
