"""Linearizable reads without the log: ReadIndex (thesis §6.4).

A read may be answered when the leader has (1) committed an entry of its own term, so that its commit index covers every
write that was ever acknowledged (row 5), (2) recorded that commit index, (3) been confirmed as leader by a quorum's
answers to a heartbeat that was sent *after* the read arrived (rows 6 to 8), and (4) applied the recorded index. All
reads that arrived since the last round share the next one.

A round of a few reads asks every member, and the quickest answer counts. A round of many reads asks only as many
members as make a quorum with the leader, if they owe it no answer: each message costs both sides more than a read does,
and while many clients read the next round, which asks others, comes soon. If it does not, everyone is asked after
`RaftOptions.read_patience`.
"""

from __future__ import annotations

import math
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
    asked = _quorum_without_debts(node, leader) if leader.reads_are_many else None
    leader.reads_are_many = False
    if asked is None:
        replication.broadcast_heartbeat(node, leader)
    else:
        replication.send_heartbeats(node, leader, asked)
        leader.ask_all_at = min(leader.ask_all_at, node.now + node.options.read_patience)
    confirm(node, leader)


def _quorum_without_debts(node: Node, leader: Leader) -> list[int] | None:
    """Return voters that make a quorum with this node and owe no answer to a heartbeat; None: there are too few.

    Those that have answered most recently come first. In a joint configuration the answer is None, since a round needs
    two majorities then.
    """
    majorities = node.membership.majorities
    if len(majorities) != 1 or node.id not in majorities[0]:
        return None
    progress = leader.progress
    others = [
        voter
        for voter in majorities[0]
        if voter != node.id and progress[voter].confirmed_round == progress[voter].asked_round
    ]
    needed = quorum.majority(len(majorities[0])) - 1
    if len(others) < needed:
        return None
    others.sort(key=lambda voter: -progress[voter].last_contact)
    return others[:needed]


def ask_all_when_late(node: Node, leader: Leader) -> None:
    """Send a heartbeat to all members if a round that only some were asked for has not been confirmed in time."""
    if node.now >= leader.ask_all_at:
        leader.ask_all_at = math.inf
        replication.broadcast_heartbeat(node, leader)


def confirm(node: Node, leader: Leader) -> None:
    """Release the reads of every round that a quorum has answered."""
    confirmed = quorum.reached(
        node.membership.majorities,
        lambda voter: leader.round if voter == node.id else leader.progress[voter].confirmed_round,
    )
    assert confirmed <= leader.round, f"round {confirmed} is confirmed, and the last was {leader.round} (row 6)"
    while leader.read_rounds and leader.read_rounds[0].round <= confirmed:
        node.confirmed_reads += leader.read_rounds.popleft().reads
    if not leader.read_rounds:
        leader.ask_all_at = math.inf
