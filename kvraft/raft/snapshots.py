"""Snapshots that replace compacted log entries (§7): which are accepted, and what installing one changes.

The core keeps only the index and the term of a snapshot. The driver creates, stores, sends and loads its bytes, which
are many; the core decides which pieces are accepted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvraft.raft import election, identity, replication, transfer
from kvraft.raft.errors import CommittedContradicted, MessageRefused
from kvraft.raft.messages import InstallSnapshot, InstallSnapshotReply
from kvraft.raft.roles import Leader

if TYPE_CHECKING:
    from kvraft.raft.membership import Membership
    from kvraft.raft.node import Node


def step_install_snapshot(node: Node, sender: int, request: InstallSnapshot) -> None:
    """Take a piece from this term's leader (Figure 13); a snapshot up to this node's commit index is not needed."""
    if request.term < node.term:
        node.promise(sender, InstallSnapshotReply(node.term, request.snapshot, 0))
        return
    _refuse_impossible_piece(node, request)
    replication.follow(node, sender, request.term)
    if request.index <= node.commit:
        # A promise: entries that are committed on the others' disks may not be durable here yet, and the leader's match
        # index never goes back below what this reply claims.
        node.promise(sender, InstallSnapshotReply(node.term, request.snapshot, request.size, installed=True))
    else:
        node.snapshot_pieces.append((sender, request))


def step_install_snapshot_reply(node: Node, sender: int, reply: InstallSnapshotReply) -> None:
    """Pass on how much of the snapshot the member has received."""
    if reply.term > node.term:
        election.become_follower(node, reply.term, None)
    elif isinstance(node.role, Leader) and reply.term == node.term and sender in node.role.progress:
        node.role.progress[sender].heard(node.now)
        node.snapshot_replies.append((sender, reply))


def install(node: Node, index: int, term: int, membership: Membership) -> bool:
    """Replace the log up to `index` by a snapshot; return False if the commit index has reached `index` already."""
    if index <= node.commit:
        return False
    if node.log.term_at(index) == term:
        node.log.compact(index)  # the entries after it stay (Figure 13, step 6)
        node.memberships = [(index, membership), *(each for each in node.memberships if each[0] > index)]
    else:
        node.log.restart_after(index, term)
        node.memberships = [(index, membership)]
    assert index > node.applying, f"what a snapshot up to {index} holds was applied already"
    node.commit = node.applying = index
    assert node.membership_index <= node.log.last_index, "a configuration is left whose entry is gone (§6)"
    identity.confirm(node)
    # The snapshot is committed, so this term's leader has the same entries, even if an earlier leader has sent it.
    node.match_index = max(node.match_index, index)
    return True


def note_sent(node: Node, leader: Leader, peer: int, installed_index: int | None) -> None:
    """Send `peer` the entries after its installed snapshot, or probe it again if the transfer failed."""
    progress = leader.progress.get(peer)
    if progress is None:
        return
    if installed_index is not None:
        # The new match index cannot commit anything.
        assert installed_index <= node.commit, f"node {peer} has a snapshot of entry {installed_index} from this node"
        progress.match = max(progress.match, installed_index)
        transfer.order_when_caught_up(node, leader, peer)
    progress.become_probe()
    progress.next = max(progress.next, progress.match + 1)
    assert progress.next <= node.log.last_index + 1, f"entry {progress.next} is next, and the log ends before it"


def _refuse_impossible_piece(node: Node, request: InstallSnapshot) -> None:
    """Refuse a piece that no correct leader can send, before any state changes."""
    if request.index_term > request.term:
        raise MessageRefused(f"a snapshot of term {request.index_term}, later than the leader's {request.term}")
    if request.offset + len(request.data) > request.size:
        raise MessageRefused(f"{len(request.data)} bytes at {request.offset} of a snapshot of {request.size} bytes")
    if request.index <= node.commit and node.log.term_at(request.index) not in {None, request.index_term}:
        raise CommittedContradicted(
            f"a snapshot to entry {request.index} of term {request.index_term} contradicts the log"
        )
