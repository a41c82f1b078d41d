"""The limits of one replica."""

import attrs

from kvraft.commands import HistoryBounds, SessionBounds
from kvraft.commands.bounds import TransactionBounds
from kvraft.commands.leases import LEASES_MAX
from kvraft.commands.locks import LOCKS_MAX
from kvraft.replica.snapshots.create import SnapshotOptions


@attrs.frozen
class ReplicaOptions:
    """Limits of one replica: times in seconds, sizes in bytes."""

    request_timeout: float = 5.0
    waiting_bytes_max: int = 64 * 1024 * 1024
    """Writes that may wait to be proposed."""
    disk_stall_max: float = 1.0
    """A leader whose save takes longer stops leading if another member can do better (row 26)."""
    quota: tuple[int, int] = (0, 0)
    """Most bytes and most keys that the store may hold, 0 for no bound. The leader writes its own value of this and of
    the next four into the log."""
    history: HistoryBounds = attrs.field(factory=HistoryBounds)
    """Bounds of the history that the store keeps."""
    leases_max: int = LEASES_MAX
    """Most leases."""
    locks_max: int = LOCKS_MAX
    """Most locks that may be held."""
    sessions: SessionBounds = attrs.field(factory=SessionBounds)
    """Bounds of the number of clients' sessions, and of their size."""
    forwards: bool = False
    """Whether this node, while it does not lead, forwards requests to the leader."""
    watches_max: int = 10_000
    """Most watches that clients may have on this node."""
    transactions: TransactionBounds = attrs.field(factory=TransactionBounds)
    """What one transaction may hold that this node takes."""
    snapshots: SnapshotOptions = attrs.field(factory=SnapshotOptions)
