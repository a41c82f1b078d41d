"""The replica: the node, the journal, the peers, the store and the waiting clients, brought together in turns.

`Replica` is all that servers and peers see. `submissions` knows who waits for what, `proposals` which writes are under
way, `reads` the way of those that change nothing, `saving` is the way to the disk, `cluster_clock` the time in the log,
`status` what STATUS tells, `outbox` what it needs of the connections to the others. `taking`, `sending` and `receiving`
are the life of a snapshot. `beginning` is what a node reads when it starts, `rejoin` the way back for one that keeps
nothing on disk.
"""

from kvraft.replica.beginning import Beginning, from_disk, from_nothing
from kvraft.replica.options import ReplicaOptions
from kvraft.replica.outbox import Outbox
from kvraft.replica.rejoin import Rejoin
from kvraft.replica.replica import Replica
from kvraft.replica.taking import SnapshotOptions

__all__ = [
    "Beginning",
    "Outbox",
    "Rejoin",
    "Replica",
    "ReplicaOptions",
    "SnapshotOptions",
    "from_disk",
    "from_nothing",
]
