"""Leadership transfer (thesis §3.10): stop taking proposals, let the target catch up, order it to stand at once.

The transfer belongs to the leader's role, so it cannot survive a step-down (row 23), and it is given up after an
election timeout, so that a dead target does not stop the cluster. A target that was ordered to stand and is silent from
then on may be alive and saving its vote for itself on a slow disk. What the leader took now would make its log longer
than the target's, and the election fail; so that one gets more time, as long as its connection stands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvraft.raft import election, quorum
from kvraft.raft.errors import ProposalRefused
from kvraft.raft.messages import TimeoutNow
from kvraft.raft.roles import Follower, Leader, Transfer

TRANSFER_S_MAX = 2.0
"""Longest time of a transfer, seconds."""
SILENT_HEARTBEATS = 1.5
"""A member that has not answered for so many heartbeat intervals is silent."""

if TYPE_CHECKING:
    from kvraft.raft.node import Node


def begin(node: Node, leader: Leader, target: int) -> None:
    """Begin to hand over to `target`; raises ProposalRefused when that cannot be."""
    if target == node.id:
        raise ProposalRefused(f"node {target} leads already")
    if target not in node.membership.voters:
        raise ProposalRefused(f"node {target} is no voter and cannot lead")
    if leader.transfer is not None:
        raise ProposalRefused(f"leadership is being handed to node {leader.transfer.target}")
    leader.transfer = Transfer(target, node.now + node.options.election_timeout_max, node.now + TRANSFER_S_MAX)
    order_when_caught_up(node, leader, target)


def best_target(node: Node, leader: Leader) -> int | None:
    """Return the voter with the longest log among those heard from lately."""
    recent = node.now - node.options.election_timeout_min
    candidates = [
        (progress.match, -peer)
        for peer, progress in leader.progress.items()
        if peer in node.membership.voters and progress.last_contact >= recent
    ]
    return -max(candidates)[1] if candidates else None


def watch_disks(node: Node, leader: Leader) -> None:
    """Note since when another voter's disk is ahead of where this leader's own stands; called at every heartbeat."""
    durable = node.log.durable
    if not any(leader.progress[voter].match > durable for voter in _other_voters(node, leader)):
        leader.overtaken_at = None
    elif leader.overtaken_at != durable:
        leader.overtaken_at, leader.overtaken_since = durable, node.now


def can_another_do_better(node: Node, leader: Leader) -> bool:
    """Whether to resign over this node's disk would help: another voter's is ahead of it for an election timeout.

    That voter, and a majority without this node, must have been heard from lately, or nobody could be elected. Where
    all disks are equally slow nobody is ahead for so long, and a cluster of two has no majority without its leader.
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
    """Send TimeoutNow when the target has the whole log, once."""
    transfer = leader.transfer
    if transfer is None or transfer.target != peer or transfer.ordered:
        return
    match = leader.progress[peer].match
    assert match <= node.log.last_index, f"node {peer} matches up to {match}, and the log ends at {node.log.last_index}"
    if match == node.log.last_index:
        transfer.ordered = True
        if _is_silent(node, leader, peer):
            transfer.last_deadline = transfer.deadline
        node.send(peer, TimeoutNow(node.term))


def order_successor(node: Node, leader: Leader) -> None:
    """Let the voter with the longest log stand at once: this leader has removed itself (thesis §4.2.2).

    Where no voter was heard from lately, one stands by itself when its election timeout is over.
    """
    successor = best_target(node, leader)
    if successor is not None:
        node.send(successor, TimeoutNow(node.term))


def give_up_when_late(node: Node, leader: Leader) -> None:
    """Take proposals again when the target did not take over in time."""
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
    """Give a target no more time than others get: its connection broke, so its silence says nothing."""
    if leader.transfer is not None and leader.transfer.target == peer:
        leader.transfer.last_deadline = leader.transfer.deadline


def step_timeout_now(node: Node, sender: int, order: TimeoutNow) -> None:
    """Stand for election at once: the leader of this term asks for it."""
    if order.term > node.term:
        election.become_follower(node, order.term, None)
    is_from_leader = isinstance(node.role, Follower) and node.role.leader in (None, sender)
    if order.term == node.term and is_from_leader and node.voting and node.membership.decides(node.id):
        election.campaign(node, transfer=True)
