"""The limits of one replica."""

import attrs

from kvraft.replica.taking import SnapshotOptions


@attrs.frozen
class ReplicaOptions:
    """Limits of one replica: times in seconds, sizes in bytes."""

    request_timeout: float = 5.0
    waiting_bytes_max: int = 64 * 1024 * 1024
    """Writes that may wait to be proposed."""
    disk_stall_max: float = 1.0
    """A leader whose save takes longer stops leading (BUGS row 26)."""
    snapshots: SnapshotOptions = attrs.field(factory=SnapshotOptions)
