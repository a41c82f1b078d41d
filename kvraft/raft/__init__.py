"""Raft as kvraft does it: a pure core that is told what happened and says what to do.

The *paper* is Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm (Extended Version)", 2014;
the *thesis* is Ongaro, "Consensus: Bridging Theory and Practice", 2014. A bare "§5.4.1" is the paper's.

**The problem.** A few machines shall act as one that does not fail. If each applies the same commands in the same
order to a deterministic state machine, all come to the same state; so the machines need only agree on one *log* of
commands. Raft keeps that log the same on all of them while a majority is alive, and never lets an entry that was once
*committed* change or vanish.

**Terms and leaders.** Time is cut into *terms*, and each term has at most one leader (§5.2). A node that hears nothing
from a leader for a random time of 250 to 500 ms first asks whether it could win (*PreVote*, thesis §9.6); only if a
majority says yes does it raise its term and ask for votes. A node gives one vote a term, makes it durable before it
says so, and gives it only to a node whose log is at least as up to date as its own (§5.4.1). A node that hears from a
living leader takes part in no election (leader stickiness, thesis §4.2.3), so a node that was cut off cannot disturb
the others when it returns. A leader that has not heard from a majority for an election timeout steps down
(*CheckQuorum*, thesis §6.2), so that its clients do not wait for ever. See `election`.

**Replication.** Clients' batches become entries of the leader's log, and the leader sends them to everyone with
AppendEntries, many in flight at once. Each message names the entry before its first one; a follower whose log does not
have that entry refuses, with a hint that lets both sides skip whole terms, and the leader looks further back; where
the logs differ the follower's gives way (§5.3). An entry of the leader's own term that a majority has *on disk* is
committed, and with it all before it (§5.4.2). The leader's disk counts like any other, when its sync is done. A new
leader appends an empty entry at once, so that this rule can take hold (§8). See `replication` and `progress`.

**Reads** do not go through the log. The leader notes its commit index, lets a majority confirm by a numbered heartbeat
that it still leads, waits until the state machine has come so far, and answers: linearizable, and no disk is touched
(*ReadIndex*, thesis §6.4). One round serves all reads that came in meanwhile. See `read_index`.

**Handing over.** A leader can pass leadership to another member whose log is complete (thesis §3.10); it does so when
it is stopped. A leader that dies without a word breaks its connections: a follower that sees this (`Node.peer_lost`)
asks for pre-votes within some 50 ms instead of waiting out its timeout. That is only a hint, and PreVote and
stickiness keep it harmless when just one link broke. See `transfer`.

**The shape.** `Node` takes inputs (a message, a proposal, a read, a lost connection, "it is now t") and returns one
`Ready` with everything that is to be done; it performs nothing, reads no clock, and takes its randomness as an
argument, so the same inputs give the same outputs, in production and in simulation. Promises are a type of their own in
it: what may be said only when something is durable is not among the messages that may leave at once.

**Snapshots.** The log cannot grow for ever. The driver takes a snapshot of the state machine now and then and lets the
log begin after it, less a margin; a member that needs entries which are gone receives the snapshot instead, piece by
piece (§7). The core knows of a snapshot only where it ends, and which pieces may be believed. See `snapshots`.

**Membership** changes through entries of the log, and each node goes by the latest one it holds (§6). Voters change by
*joint consensus*: for a while every decision needs a majority of the old voters and one of the new. A new member begins
as a *learner*, who receives the log and decides nothing, and is promoted by the leader when it has caught up (thesis
§4.2.1). A change that would leave no majority of living members is refused. See `changes`.

**Identity.** A member is an id and an incarnation, to which the log binds the id. A node that comes back without
its data has no vote, so it cannot break the promises that it has lost. See `identity`.

**What it does not do yet, and what that costs.** Leases for reads are left out on purpose: they
are faster by one round trip and rest on the clocks of all members, which ReadIndex does not.
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
