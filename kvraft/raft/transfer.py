"""Leadership transfer (thesis §3.10): refuse proposals, let the target catch up, order it to campaign at once.

The transfer is part of the leader's role, so it ends when the leader steps down (row 23). It is abandoned after an
election timeout, so that a dead target does not stop the cluster. A target that was ordered to campaign and has not
answered since may be alive and saving its vote for itself on a slow disk. A proposal accepted now would make the
leader's log longer than the target's, and the election would fail. So such a target gets more time, as long as its
connection stands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvraft.raft import election, quorum
from kvraft.raft.errors import ProposalRefused
from kvraft.raft.messages import TimeoutNow
from kvraft.raft.progress import State
from kvraft.raft.roles import Follower, Leader, Transfer

TRANSFER_S_MAX = 2.0
"""Longest time of a transfer, seconds."""
SILENT_HEARTBEATS = 1.5
"""A member that has not answered for so many heartbeat intervals is silent."""

if TYPE_CHECKING:
    from kvraft.raft.node import Node


def begin(node: Node, leader: Leader, target: int) -> None:
    """Begin to transfer leadership to `target`.

    Raises:
        ProposalRefused: the target cannot lead, or another transfer is under way.
    """
    if target == node.id:
        raise ProposalRefused(f"node {target} leads already")
    if target not in node.membership.voters:
        raise ProposalRefused(f"node {target} is no voter and cannot lead")
    if leader.transfer is not None:
        raise ProposalRefused(f"leadership is being handed to node {leader.transfer.target}")
    leader.transfer = Transfer(target, node.now + node.options.election_timeout_max, node.now + TRANSFER_S_MAX)
    order_when_caught_up(node, leader, target)


def best_target(node: Node, leader: Leader) -> int | None:
    """Return the voter with the longest log among those that have answered recently; None if none has."""
    recent = node.now - node.options.election_timeout_min
    candidates = [
        (progress.match, -peer)
        for peer, progress in leader.progress.items()
        if peer in node.membership.voters and progress.last_contact >= recent
    ]
    return -max(candidates)[1] if candidates else None


def watch_disks(node: Node, leader: Leader) -> None:
    """Record since when another voter's durable log is longer than this leader's; called at every heartbeat."""
    durable = node.log.durable
    if not any(leader.progress[voter].match > durable for voter in _other_voters(node, leader)):
        leader.overtaken_at = None
    elif leader.overtaken_at != durable:
        leader.overtaken_at, leader.overtaken_since = durable, node.now


def can_another_do_better(node: Node, leader: Leader) -> bool:
    """Whether a step-down of this leader would help: another voter's durable log is longer for an election timeout.

    That voter, and a majority without this node, must have answered recently; otherwise no election could succeed. If
    all disks are equally slow, no voter is ahead for so long. A cluster of two has no majority without its leader.
    """
    if leader.overtaken_at != node.log.durable:
        return False
    if node.now - leader.overtaken_since < node.options.election_timeout_max:
        return False
    recent = node.now - node.options.election_timeout_max
    is_ahead = any(
        leader.progress[voter].match > node.log.durable and leader.progress[voter].last_contact >= recent
        for voter in _other_voters(node, leader)
    )
    heard = quorum.reached(
        node.membership.majorities,
        lambda voter: float("-inf") if voter == node.id else leader.progress[voter].last_contact,
    )
    return is_ahead and heard >= recent


def _other_voters(node: Node, leader: Leader) -> frozenset[int]:
    return node.membership.voters & leader.progress.keys()


def order_when_caught_up(node: Node, leader: Leader, peer: int) -> None:
    """Send TimeoutNow, once, if `peer` is the transfer's target and has the whole log.

    The target gets no extra time if it was silent already, or if its connection has broken since its last reply, so
    that it is only probed: it may not be alive.
    """
    transfer = leader.transfer
    if transfer is None or transfer.target != peer or transfer.ordered:
        return
    progress = leader.progress[peer]
    match = progress.match
    assert match <= node.log.last_index, f"node {peer} matches up to {match}, and the log ends at {node.log.last_index}"
    if match == node.log.last_index:
        transfer.ordered = True
        if _is_silent(node, leader, peer) or progress.state is State.PROBE:
            transfer.last_deadline = transfer.deadline
        node.send(peer, TimeoutNow(node.term))


def order_successor(node: Node, leader: Leader) -> None:
    """Order the voter with the longest log to campaign at once: this leader has removed itself (thesis §4.2.2).

    If no voter has answered recently, one campaigns after its own election timeout.
    """
    successor = best_target(node, leader)
    if successor is not None:
        node.send(successor, TimeoutNow(node.term))


def give_up_when_late(node: Node, leader: Leader) -> None:
    """Abandon the transfer, and so accept proposals again, if the target did not take over in time."""
    transfer = leader.transfer
    if transfer is None or node.now < transfer.deadline:
        return
    may_stand = transfer.ordered and _is_silent(node, leader, transfer.target)
    if not may_stand or node.now >= transfer.last_deadline:
        leader.transfer = None


def _is_silent(node: Node, leader: Leader, peer: int) -> bool:
    silence = node.now - leader.progress[peer].last_contact
    return silence > SILENT_HEARTBEATS * node.options.heartbeat_interval


def note_lost(leader: Leader, peer: int) -> None:
    """Withdraw the extra time of a target whose connection broke: it may not be alive and saving its vote."""
    if leader.transfer is not None and leader.transfer.target == peer:
        leader.transfer.last_deadline = leader.transfer.deadline


def step_timeout_now(node: Node, sender: int, order: TimeoutNow) -> None:
    """Campaign at once: the leader of this term has ordered it."""
    if order.term > node.term:
        election.become_follower(node, order.term, None)
    is_from_leader = isinstance(node.role, Follower) and node.role.leader in (None, sender)
    if order.term == node.term and is_from_leader and node.voting and node.membership.decides(node.id):
        election.campaign(node, transfer=True)
