"""Raft in kvraft: a pure core that takes events and returns what is to be done.

The *paper* is Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm (Extended Version)", 2014;
the *thesis* is Ongaro, "Consensus: Bridging Theory and Practice", 2014. A bare "§5.4.1" is the paper's; "(row 12)" is a
row of docs/known_failures.md.

**The problem.** Several machines must act as one that does not fail. If each applies the same commands in the same
order to a deterministic state machine, all reach the same state; so the machines need only agree on one *log* of
commands. Raft keeps that log the same on all of them while a majority is alive, and never changes or loses an entry
once it is *committed*.

**Terms and leaders.** Time is divided into *terms*, and each term has at most one leader (§5.2). A node that receives
nothing from a leader for a random time of 250 to 500 ms first asks whether it could win (*PreVote*, thesis §9.6). Only
if a majority would vote for it does it increment its term and request votes. A node votes once in a term, makes the
vote durable before it answers, and votes only for a node whose log is at least as up to date as its own (§5.4.1). A
node with a live leader takes part in no election (leader stickiness, thesis §4.2.3), so a node that was cut off cannot
disturb the others when it returns. A leader that has had no answer from a majority for an election timeout steps down
(*CheckQuorum*, thesis §6.2), so that its clients do not wait for ever. See `election`.

**Replication.** Clients' batches become entries of the leader's log, and the leader sends them to all members with
AppendEntries, many in flight at once. Each message names the entry before its first one. A follower whose log lacks
that entry rejects the message, with a hint that lets both sides skip whole terms, and the leader probes further back.
Where the logs differ, the follower deletes its own entries (§5.3). An entry of the leader's own term that a majority
has *on disk* is committed, together with all before it (§5.4.2). The leader's disk counts like any other, once its sync
is done. A new leader appends an empty entry at once, so that entries of earlier terms can be committed (§8). See
`replication` and `progress`.

**Reads** do not go through the log. The leader records its commit index, has a majority confirm by a numbered heartbeat
that it still leads, waits until the state machine has applied that index, and answers: linearizable, without a disk
write (*ReadIndex*, thesis §6.4). One round serves all reads that arrived meanwhile. See `read_index`.

**Leadership transfer.** A leader can transfer leadership to another member whose log is complete (thesis §3.10); it
does so when it is stopped. When a leader dies, its connections break. A follower that notices this (`Node.peer_lost`)
starts PreVote within 50 ms, one voter after the other, without waiting for its timeout. A broken connection is only a
hint; PreVote and stickiness keep it harmless when just one link broke. See `transfer`.

**The interface.** `Node` takes inputs (a message, a proposal, a read, a lost connection, the time) and returns one
`Ready` with everything that is to be done. It does no I/O, reads no clock, and takes its randomness as an argument, so
the same inputs give the same outputs, in production and in simulation. The *driver* gives the inputs and carries out
each Ready: `kvraft.replica` in production. A *promise* is what a node must not forget, so that it may leave only when
it is durable: a vote, or the acknowledgement of entries. `Ready` keeps promises apart from messages that may leave at
once.

**Snapshots.** The log cannot grow for ever. From time to time the driver takes a snapshot of the state machine and
compacts the log up to it, less a margin. A member that needs compacted entries receives the snapshot instead, in pieces
(§7). The core keeps only the index and term of a snapshot, and decides which pieces are accepted. See `snapshots`.

**Membership** changes through entries of the log, and each node uses the latest configuration in its log (§6). Voters
change by *joint consensus*: while the change is under way every decision needs a majority of the old voters and one of
the new. A new member begins as a *learner*, which receives the log and counts for no quorum, and the leader promotes it
when it has caught up (thesis §4.2.1). A change that would leave no majority of live members is refused. See `changes`.

**Identity.** A member is an id and an incarnation, to which the log binds the id. A node that restarts without its data
has no vote, so it cannot break the promises that it has lost. See `identity`.

**What it does not do, and what that costs.** Leases for reads are left out on purpose: they save one round trip, but
depend on the clocks of all members, which ReadIndex does not.
"""

from kvraft.raft.errors import (
    CommittedContradicted,
    CorruptRecord,
    InvariantViolated,
    MemberForgot,
    MessageRefused,
    NotLeader,
    ProposalRefused,
    RaftError,
    TryAgain,
)
from kvraft.raft.membership import Membership
from kvraft.raft.messages import Message
from kvraft.raft.node import Node
from kvraft.raft.options import RaftOptions
from kvraft.raft.ready import Read, Ready
from kvraft.raft.types import Entry, EntryKind, HardState, Role, SoftState

__all__ = [
    "CommittedContradicted",
    "CorruptRecord",
    "Entry",
    "EntryKind",
    "HardState",
    "InvariantViolated",
    "MemberForgot",
    "Membership",
    "Message",
    "MessageRefused",
    "Node",
    "NotLeader",
    "ProposalRefused",
    "RaftError",
    "RaftOptions",
    "Read",
    "Ready",
    "Role",
    "SoftState",
    "TryAgain",
]
