"""The replica: the node, the journal, the peers, the store and the waiting clients, brought together in turns.

`replica` is the turn, and puts the other parts together. Two of them are seen from outside: `intake` takes what servers
ask, `inbox` what peers tell; for them and others that give it work `turn` says what a turn is. The way of a write leads
from `submissions`, which know who waits for what, through `group_commit` into the log, where `proposals` know it while
it is under way, and by `saving` to the disk; `applying` takes what is committed to the store, which `state` holds, and
answers. `watching` tells those who follow changes, which `watch_index` finds. `reads` is the way of those that change
nothing, `redirects` that of those whom another node must answer.

`office` is what a new leader writes first, `cluster_clock` the time in the log, `administration` what an operator asks.
`belonging` follows the members and decides who is talked to. `taking`, `sending`, `receiving` and `installing` are the
life of a snapshot. `status` is what STATUS tells, `outbox` what the replica needs of the connections to the others.
`beginning` is what a node reads when it starts, `rejoin` the way back for one that keeps nothing on disk.

What belongs to one leadership, and who ends it when that ends:

==========================  ==========================================================================================
`GroupCommit.waiting`       refused by `end_leadership`, which the turn calls when the node leads no more
`Proposals._batches`        taken when applied, covered by a snapshot, or overwritten (`Redirects.refuse_overwritten`)
`Proposals.holds`           `Proposals.end_leadership`; `_proposed_at` means nothing without batches under way
`Reads._new`, `_confirmed`  the next turn refuses the first; the others are confirmed, so any later state answers them
`ClusterClock`              `take_office` begins anew in each term that this node leads
`Redirects._parked`         `settle` at each transition, and at the end of `hand_over`; `is_handing_over` at that end
`Administration._waits`     each says itself when it has failed, by term and log; all have a deadline
`Features._proposed`        names its term: it counts in no other
`Agreement`                 what was found is of `_term`
`Watches`                   of the node and not of a leadership: they tell what is applied
`Snapshotter._senders`      `carry_out` stops them when the node leads no more or they have left; each is of one term
`SnapshotTaker`, `Saver`    of the node and not of a leadership: what they do is right under any leader
`raft.roles.Leader`         holds what else a leader knows, and goes with it
==========================  ==========================================================================================
"""

from kvraft.replica.beginning import Beginning, from_disk, from_nothing
from kvraft.replica.belonging import HAS_AN_OLDER_COPY
from kvraft.replica.options import ReplicaOptions
from kvraft.replica.outbox import Outbox
from kvraft.replica.rejoin import Rejoin
from kvraft.replica.replica import Replica
from kvraft.replica.taking import SnapshotOptions

__all__ = [
    "HAS_AN_OLDER_COPY",
    "Beginning",
    "Outbox",
    "Rejoin",
    "Replica",
    "ReplicaOptions",
    "SnapshotOptions",
    "from_disk",
    "from_nothing",
]
