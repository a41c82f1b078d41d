"""The replica: the node, the journal, the peers, the store and the waiting clients, brought together in turns.

`Replica` is all that servers and peers see. `submissions` knows who waits for what, `saving` is the way to the disk,
`cluster_clock` the time in the log, `rejoin` the way back for a node that keeps nothing on disk, `status` what STATUS
tells, `outbox` what it needs of the connections to the others.
"""

from kvraft.replica.outbox import Outbox
from kvraft.replica.rejoin import Rejoin
from kvraft.replica.replica import Replica, ReplicaOptions

__all__ = ["Outbox", "Rejoin", "Replica", "ReplicaOptions"]
