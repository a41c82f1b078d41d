"""The limits of one replica."""

import attrs

from kvraft.commands import HistoryBounds, SessionBounds
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
    """Most bytes and most keys that the store may hold, 0 for no bound: what this node writes into the log when it
    leads."""
    history: HistoryBounds = attrs.field(factory=HistoryBounds)
    """How much of the past the store keeps: likewise."""
    leases_max: int = LEASES_MAX
    """Most leases that there may be: likewise."""
    locks_max: int = LOCKS_MAX
    """Most locks that may be held: likewise."""
    sessions: SessionBounds = attrs.field(factory=SessionBounds)
    """How many sessions clients may have, and what they may take: likewise."""
    forwards: bool = False
    """Whether this node passes on to the leader what it is asked while it follows."""
    watches_max: int = 10_000
    """Most watches that clients may have on this node."""
    snapshots: SnapshotOptions = attrs.field(factory=SnapshotOptions)
