"""Membership changes (§6, thesis §4): by joint consensus, learners first, and one at a time.

A change that would leave no living majority is refused, unless it is forced.

A change of voters goes through a *joint* configuration, in which every decision needs a majority of the old voters and
one of the new. When that is committed, the leader appends the new configuration alone. A change of learners affects no
quorum, so it needs one entry only. Each node uses the latest configuration in its log, committed or not (§6).

A new member begins as a learner. It catches up in rounds (thesis §4.2.1): a round replicates the entries that the log
held when the round began. After a round shorter than an election timeout the learner can vote without delaying commits,
and the leader promotes it. Unlike the thesis, the leader never gives up: after `CATCH_UP_ROUNDS_MAX` long rounds the
learner counts as slow, which MEMBERS shows, and the rounds go on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from kvraft.raft import election, identity, quorum, read_index, replication, transfer
from kvraft.raft.errors import ProposalRefused, TryAgain
from kvraft.raft.membership import Membership
from kvraft.raft.progress import Progress, State
from kvraft.raft.roles import Leader
from kvraft.raft.types import Entry, EntryKind

if TYPE_CHECKING:
    from kvraft.raft.node import Node

CATCH_UP_ROUNDS_MAX = 10
"""Long rounds in a row after which a learner counts as slow."""


def propose(node: Node, leader: Leader, target: Membership, *, force: bool, unreachable: Collection[int] = ()) -> int:
    """Begin to change to `target`, which is not joint; return the index of the first entry of the change.

    `unreachable` are members that do not answer at their address in `target`.

    Raises:
        ProposalRefused: another change is or may be under way, or the change is not forced and would leave no quorum
            of live members, or it would make a voter a learner.
    """
    if target.learners & node.membership.voters:
        raise ProposalRefused("a voter cannot become a learner; remove it first, and add it again")
    if node.commit < leader.term_start:
        # Otherwise two leaders in a row could each begin a change without the other's entry in their logs (row 14).
        raise TryAgain("this leader has not committed an entry of its term yet; ask again in a moment")
    if is_under_way(node):
        raise TryAgain("another membership change is under way; ask again when it is done")
    if target.outgoing:
        raise ValueError("the joint configuration is this module's business")
    if leader.transfer is not None:
        raise TryAgain("leadership is being handed over; ask again in a moment")
    for voter in sorted(target.voters - node.membership.voters):
        if not identity.may_be_promoted(node, voter):
            raise ProposalRefused(
                f"node {voter} would be a voter without a vote, since its data directory is not known yet; add it as a "
                "learner, and it becomes a voter by itself"
            )
    if not force:
        _refuse_dead_end(node, leader, target, unreachable)
    if target.voters == node.membership.voters:
        return append(node, leader, target)
    return append(node, leader, target.joint_from(node.membership))


def is_under_way(node: Node) -> bool:
    """Whether a change has begun and is not committed.

    A configuration that only binds incarnations does not count: its members and quorums are those of the one before, so
    another change may follow before it is committed.
    """
    if node.membership.outgoing:
        return True
    settled = node.membership_at(node.commit)
    unsettled = (membership for index, membership in node.memberships if index > node.commit)
    return any(membership.differs_in_members(settled) for membership in unsettled)


def adopt(node: Node, entries: Iterable[Entry]) -> None:
    """Use the configurations among entries that were just appended (§6)."""
    for entry in entries:
        if entry.kind == EntryKind.MEMBERSHIP:
            assert entry.index > node.membership_index, f"entry {entry.index} comes after {node.membership_index}"
            node.memberships.append((entry.index, Membership.decode(entry.payload)))
            identity.confirm(node)


def forget_from(node: Node, index: int) -> None:
    """Return to the latest configuration before `index`, where a conflict has cut the log."""
    assert index > node.memberships[0][0], "the first configuration is committed, and is never cut off"
    while node.memberships[-1][0] >= index:
        node.memberships.pop()


def settle(node: Node, leader: Leader) -> None:
    """Continue a change whose entry has just been committed: leave the joint configuration, drop removed members."""
    if node.commit < node.membership_index:
        return
    membership = node.membership
    if membership.outgoing:
        append(node, leader, membership.without_outgoing())
        read_index.confirm(node, leader)  # a round may have waited only for members that do not count any more
        return
    gone = leader.progress.keys() - membership.members
    if gone:
        # The last message to a removed member has a commit index that covers its removal.
        for peer in gone:
            replication.send_last_words(node, leader, peer)
            del leader.progress[peer]
    if node.id not in membership.voters:
        transfer.order_successor(node, leader)
        election.become_follower(node, node.term, None)


def promote_caught_up(node: Node, leader: Leader) -> None:
    """Promote a learner that has caught up; called at every heartbeat."""
    if node.membership.outgoing:  # no change can begin until the joint configuration is left
        return
    for learner in sorted(node.membership.promoting & _alive(node, leader)):
        if identity.may_be_promoted(node, learner) and _ends_round(node, leader.progress[learner]):
            # If the change would leave no live quorum, or another one is under way, a later round tries again.
            with suppress(ProposalRefused):
                propose(node, leader, node.membership.promoted(learner), force=False)
                return


def waits_for(node: Node, learner: int) -> str | None:
    """Return why a learner is not promoted yet, for people; None if it does not wait, or this node does not lead."""
    if not isinstance(node.role, Leader) or learner not in node.membership.promoting & node.role.progress.keys():
        return None
    progress = node.role.progress[learner]
    if learner not in _alive(node, node.role):
        return "it does not answer"
    if not identity.may_be_promoted(node, learner):
        return "its data directory is not known yet"
    if progress.state is State.SNAPSHOT:
        return "it receives a snapshot"
    if progress.rounds > CATCH_UP_ROUNDS_MAX:
        limit_ms = round(node.options.election_timeout_max * 1000)
        return f"it is slow: {progress.rounds - 1} rounds of catching up have each taken more than {limit_ms} ms"
    if progress.match < node.commit:
        return f"it catches up: it holds {progress.match} of {node.commit} entries"
    return "it is promoted as soon as no other change is under way and enough voters answer"


def _ends_round(node: Node, progress: Progress) -> bool:
    """Whether the learner has just finished a round that was short enough."""
    if progress.match < progress.round_end:
        return False
    is_short = progress.round_end > 0 and node.now - progress.round_began <= node.options.election_timeout_max
    if not is_short:
        progress.rounds += 1
    progress.round_began, progress.round_end = node.now, node.log.last_index
    return is_short


def append(node: Node, leader: Leader, membership: Membership) -> int:
    """Append a configuration, use it at once, and begin to send to new members."""
    before = node.membership
    assert not (before.outgoing and membership.outgoing), "a joint configuration follows a joint one (§6)"
    assert not membership.members & before.removed, "an id that was removed comes back (row 19)"
    for member, bound in before.incarnations.items():
        assert membership.incarnations.get(member, bound) == bound, f"node {member} is bound once more"
    replication.append(node, leader, EntryKind.MEMBERSHIP, membership.encode())
    node.memberships.append((node.log.last_index, membership))
    for member in sorted(membership.members - leader.progress.keys() - {node.id}):
        leader.progress[member] = Progress(node.log.last_index + 1, last_contact=node.now)
    return node.log.last_index


def _alive(node: Node, leader: Leader) -> set[int]:
    """Return the members that have answered within an election timeout, and this leader."""
    return {node.id, *leader.heard_since(node.now - node.options.election_timeout_max)}


def _refuse_dead_end(node: Node, leader: Leader, target: Membership, unreachable: Collection[int]) -> None:
    """Refuse a change after which no majority of the voters would be live and reachable at its address."""
    alive = _alive(node, leader) - set(unreachable)
    if len(target.voters & alive) >= quorum.majority(len(target.voters)):
        return
    before = node.membership.addresses
    moves = {each for each in target.voters & set(unreachable) if target.addresses.get(each) != before.get(each)}
    if moves:
        places = ", ".join(f"node {each} has not answered at {target.addresses.get(each)}" for each in sorted(moves))
        raise ProposalRefused(
            f"{places}, and without it too few of the {len(target.voters)} voters answer: "
            "the cluster would stop; start it there first, and it asks to be moved by itself, or force the change"
        )
    silent = ", ".join(str(voter) for voter in sorted(target.voters - alive))
    raise ProposalRefused(
        f"of the {len(target.voters)} voters that would remain, too many do not answer (node {silent}): the "
        "cluster would stop; bring them back first, or force the change"
    )
