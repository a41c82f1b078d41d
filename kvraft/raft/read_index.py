"""Linearizable reads without the log: ReadIndex (thesis §6.4).

A read may be answered when the leader has (1) committed an entry of its own term, so that its commit index covers every
write that was ever acknowledged (row 5), (2) recorded that commit index, (3) been confirmed as leader by a quorum's
answers to a heartbeat that was sent *after* the read arrived (rows 6 to 8), and (4) applied the recorded index. All
reads that arrived since the last round share the next one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvraft.raft import quorum, replication
from kvraft.raft.ready import Read
from kvraft.raft.roles import Leader, ReadRound

if TYPE_CHECKING:
    from kvraft.raft.node import Node


def can_begin_round(node: Node, leader: Leader) -> bool:
    """Whether reads wait for a round and the commit index is known to be current."""
    return bool(leader.new_reads) and node.commit >= leader.term_start


def begin_round(node: Node, leader: Leader) -> None:
    """Send heartbeats with a new round number, by which a quorum confirms that this node still leads."""
    if not can_begin_round(node, leader):
        return
    leader.round += 1
    assert not leader.read_rounds or leader.read_rounds[-1].round < leader.round, "a round comes again (row 6)"
    reads = [Read(ticket, node.commit) for ticket in leader.new_reads]
    leader.read_rounds.append(ReadRound(leader.round, reads))
    leader.new_reads.clear()
    replication.broadcast_heartbeat(node, leader)
    confirm(node, leader)


def confirm(node: Node, leader: Leader) -> None:
    """Release the reads of every round that a quorum has answered."""
    confirmed = quorum.reached(
        node.membership.majorities,
        lambda voter: leader.round if voter == node.id else leader.progress[voter].confirmed_round,
    )
    assert confirmed <= leader.round, f"round {confirmed} is confirmed, and the last was {leader.round} (row 6)"
    while leader.read_rounds and leader.read_rounds[0].round <= confirmed:
        node.confirmed_reads += leader.read_rounds.popleft().reads
