"""The replica: runs the node, the journal, the peers, the store and the waiting clients, in turns.

`replica` runs the turn and assembles the other modules. Two of them take work from outside: `intake` takes requests
from servers, `inbox` messages and events from peers; `turn` defines what they need of the turn. A write goes from
`submissions`, where its client waits, through `group_commit` into the log, where `proposals` holds it while it is under
way, and by `persistence` to the disk. `apply` applies committed entries to the store in `state`, and answers. `watches`
sends changes to the clients that follow them, which `watch_index` finds. `reads` carries out requests that change
nothing, and `redirects` refuses those that another node must answer. `forwarding` passes requests on to the leader,
`local_reads` lets a follower answer reads, and `lock_waits` holds clients that wait for a lock.

`first_proposals` holds the first writes of a new leader, `cluster_clock` the time in the log, `expiry` the removal of
what is past its deadline. `administration` carries out administrative commands, and `transfer_on_stop` transfers the
leadership of a leader that is stopped. `admission` follows the members and decides to which nodes this one connects.
`snapshots` creates, sends, receives and installs snapshots, and `state_checksums` compares the members' states.
`status` makes the answer of STATUS, and `peer_transport` is what the replica needs of the connections. `initial_state`
reads the data directory at the start, `startup_replay` applies the log that it read, and `rejoin` lets a node without a
disk take part again.

What belongs to one term of leadership, and what resets it:

==========================  ==========================================================================================
`GroupCommit.waiting`       refused by `end_leadership`, which the turn calls when the node stops leading
`Proposals._batches`        taken when applied, covered by a snapshot, or overwritten (`Redirects.refuse_overwritten`)
`Proposals.is_delaying`     reset by `Proposals.end_leadership`; `_proposed_at` has no effect without batches under way
`Reads.new`, `confirmed`    the next turn refuses the first; the others are confirmed, so any later state answers them
`ClusterClock`              reset by `begin_term` in each term that this node leads
`Redirects._parked`         refused by `settle` at each transition, and at the end of a transfer on stop
`Administration.waits`      each finds by term and log when it has failed; all have a deadline
`Features._proposed`        includes its term and counts in no other
`StateChecksums`            the findings belong to `_term`
`LockWaits`                 answered by `end_leadership`
`Watches`                   belong to the node: they send what is applied, under any leader
`Snapshotter._senders`      stopped by `carry_out` when the node stops leading or the member is removed
`SnapshotCreator`, `Saver`  belong to the node: their work is valid under any leader
`raft.roles.Leader`         holds the rest of a leader's state, and is dropped with the role
==========================  ==========================================================================================
"""

from kvraft.replica.admission import HAS_AN_OLDER_COPY
from kvraft.replica.initial_state import InitialState, from_disk, from_nothing, in_a_thread
from kvraft.replica.options import ReplicaOptions
from kvraft.replica.peer_transport import PeerTransport
from kvraft.replica.rejoin import Rejoin
from kvraft.replica.replica import CallSoon, Replica
from kvraft.replica.snapshots.create import SnapshotOptions

__all__ = [
    "HAS_AN_OLDER_COPY",
    "CallSoon",
    "InitialState",
    "PeerTransport",
    "Rejoin",
    "Replica",
    "ReplicaOptions",
    "SnapshotOptions",
    "from_disk",
    "from_nothing",
    "in_a_thread",
]
