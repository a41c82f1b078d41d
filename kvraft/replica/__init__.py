"""The replica: the node, the journal, the peers, the store and the waiting clients, brought together in turns.

`replica` is the turn, and puts the other parts together. Two of them are seen from outside: `intake` takes what servers
ask, `inbox` what peers tell; for them and others that give it work `turn` says what a turn is. The way of a write leads
from `submissions`, which know who waits for what, through `group_commit` into the log, where `proposals` know it while
it is under way, and by `persistence` to the disk; `apply` takes what is committed to the store, which `state` holds,
and answers. `watches` tells those who follow changes, which `watch_index` finds. `reads` is the way of those that
change nothing, `redirects` that of those whom another node must answer.

`first_proposals` is what a new leader writes first, `cluster_clock` the time in the log, `administration` what an
operator asks, `transfer_on_stop` how a leader that is stopped passes leadership on. `admission` follows the members and
decides which nodes are connected to. `snapshots` is the life of a snapshot, `state_checksums` the comparison of the
members' states. `status` is what STATUS tells, `peer_transport` what the replica needs of the connections to others.
`initial_state` is what a node reads when it starts, `startup_replay` applies the log that it read then, and `rejoin` is
the way back for a node that keeps nothing on disk.

What belongs to one leadership, and who ends it when that ends:

==========================  ==========================================================================================
`GroupCommit.waiting`       refused by `end_leadership`, which the turn calls when the node leads no more
`Proposals._batches`        taken when applied, covered by a snapshot, or overwritten (`Redirects.refuse_overwritten`)
 `Proposals.is_delaying`       `Proposals.end_leadership`; `_proposed_at` means nothing without batches under way
`Reads._new`, `_confirmed`  the next turn refuses the first; the others are confirmed, so any later state answers them
`ClusterClock`              `begin_term` begins anew in each term that this node leads
`Redirects._parked`         `settle` at each transition, and when `hand_over` ends; so does `is_transferring_on_stop`
`Administration._waits`     each says itself when it has failed, by term and log; all have a deadline
`Features._proposed`        names its term: it counts in no other
`StateChecksums`                 what was found is of `_term`
`Watches`                   of the node and not of a leadership: they tell what is applied
`Snapshotter._senders`      `carry_out` stops them when the node leads no more or they have left; each is of one term
`SnapshotCreator`, `Saver`    of the node and not of a leadership: what they do is right under any leader
`raft.roles.Leader`         holds what else a leader knows, and goes with it
==========================  ==========================================================================================
"""

from kvraft.replica.admission import HAS_AN_OLDER_COPY
from kvraft.replica.initial_state import InitialState, from_disk, from_nothing
from kvraft.replica.options import ReplicaOptions
from kvraft.replica.peer_transport import PeerTransport
from kvraft.replica.rejoin import Rejoin
from kvraft.replica.replica import Replica
from kvraft.replica.snapshots.create import SnapshotOptions

__all__ = [
    "HAS_AN_OLDER_COPY",
    "InitialState",
    "PeerTransport",
    "Rejoin",
    "Replica",
    "ReplicaOptions",
    "SnapshotOptions",
    "from_disk",
    "from_nothing",
]
