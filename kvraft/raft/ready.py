"""The output of the core: the effects of all inputs since the last Ready.

As in etcd's Ready, promises are separate: `replies` wait until the disk has stored what they state, while `messages`
may leave at once.
"""

from collections.abc import Sequence

import attrs
import msgspec

from kvraft.raft.messages import InstallSnapshot, InstallSnapshotReply, Message
from kvraft.raft.types import Entry, HardState, SoftState


@attrs.frozen
class Read:
    """A read that may be answered once the state machine has applied `index` (thesis §6.4)."""

    ticket: object
    index: int


class Ready(msgspec.Struct, frozen=True):
    """One turn's effects.

    The driver's part of the contract, in this order:

    1. send `messages`;
    2. make `hard_state` and `entries` durable together, with one write and one sync; saves are made in the order in
       which their Readys were taken, several Readys may share one save, and entries whose indexes are already in the
       journal replace those and everything after them;
    3. when that, and every save before it, is durable send `replies` and call `Node.advance` with this Ready, also
       when this Ready itself has nothing to save;
    4. apply `committed`, in order, each exactly once; this need not wait for 2;
    5. answer `reads` when the state machine has applied their index; refuse `aborted_reads`.

    Messages of one Ready to one member leave in order. Any message may be lost.
    """

    messages: Sequence[tuple[int, Message]] = ()
    hard_state: HardState | None = None
    entries: Sequence[Entry] = ()
    replies: Sequence[tuple[int, Message]] = ()
    committed: Sequence[Entry] = ()
    reads: Sequence[Read] = ()
    aborted_reads: Sequence[object] = ()
    """Tickets of reads that were never confirmed because this node stopped leading: they were not answered."""
    snapshots_wanted: Sequence[int] = ()
    """Members that need entries which are compacted away: send them the latest snapshot, by `InstallSnapshot` messages
    in this term, and call `Node.snapshot_sent` at the end, whether it succeeded or not."""
    snapshot_replies: Sequence[tuple[int, InstallSnapshotReply]] = ()
    """(member, reply) of the members that receive a snapshot."""
    snapshot_pieces: Sequence[tuple[int, InstallSnapshot]] = ()
    """Pieces of a snapshot from the leader: store them, reply how much is stored, and call `Node.install_snapshot` when
    the whole snapshot is durable, verified and loaded."""
    soft_state: SoftState | None = None
    """Role, term and known leader, when one of them changed."""

    @property
    def needs_save(self) -> bool:
        """Whether something of this turn must become durable."""
        return self.hard_state is not None or bool(self.entries)
