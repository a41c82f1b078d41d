"""Log replication (§5.3), commitment (§5.4.2), heartbeats, and CheckQuorum (thesis §6.2)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from kvraft.raft import acknowledged, changes, election, identity, quorum, read_index, transfer
from kvraft.raft.errors import CommittedContradicted, MemberForgot, MessageRefused
from kvraft.raft.facts import Why
from kvraft.raft.membership import Membership, UnknownMembership
from kvraft.raft.messages import AppendEntries, AppendEntriesReply, Heartbeat, HeartbeatReply, Message
from kvraft.raft.progress import State
from kvraft.raft.roles import Follower, Leader
from kvraft.raft.types import RECORD_HEADER, Entry, EntryKind

if TYPE_CHECKING:
    from kvraft.raft.node import Node
    from kvraft.raft.progress import Progress

# The leader's side.


def append(node: Node, leader: Leader, kind: int, payload: bytes) -> None:
    """Append a new entry to the leader's own log (§5.3); `send_entries` carries it to the others."""
    assert leader is node.role, "only the leader of this term appends (§5.3)"
    entry = Entry.create(node.term, node.log.last_index + 1, kind, payload)
    node.log.append(entry)
    leader.uncommitted_bytes += len(entry.record)


def lead_on(node: Node, leader: Leader) -> None:
    """Do what is due at each heartbeat interval: CheckQuorum, end a stuck transfer, and send the heartbeats."""
    read_index.ask_all_when_late(node, leader)
    if node.now < leader.deadline:
        return
    leader.deadline = node.now + node.options.heartbeat_interval
    if _lost_its_quorum(node, leader):
        election.become_follower(node, node.term, None, Why.NO_QUORUM)
        return
    transfer.give_up_when_late(node, leader)
    transfer.watch_disks(node, leader)
    changes.promote_caught_up(node, leader)
    identity.bind(node, leader)
    broadcast_heartbeat(node, leader, acknowledged.told(node, leader))


def broadcast_heartbeat(node: Node, leader: Leader, matches: tuple[tuple[int, int], ...] = ()) -> None:
    """Send a heartbeat to every member (§5.2); a quorum that answers its round confirms the reads of that round."""
    send_heartbeats(node, leader, leader.progress, matches)


def send_heartbeats(
    node: Node, leader: Leader, members: Iterable[int], matches: tuple[tuple[int, int], ...] = ()
) -> None:
    """Send a heartbeat to some members."""
    heartbeat = Heartbeat(node.term, node.commit, leader.round, matches=matches)
    for peer in members:
        leader.progress[peer].asked_round = leader.round
        if peer in node.states.differing:
            node.send(peer, Heartbeat(node.term, node.commit, leader.round, differs=node.states.differing[peer]))
        else:
            node.send(peer, heartbeat)


def send_last_words(node: Node, leader: Leader, peer: int) -> None:
    """Send a removed member the commit index that covers its removal; it is the last message to that member."""
    progress = leader.progress[peer]
    if node.log.term_at(progress.next - 1) is not None:
        node.send(peer, _entries_from(node, progress.next))


def has_work(node: Node, leader: Leader) -> bool:
    """Whether `send_entries` or a new read round would send anything."""
    if leader.new_reads and read_index.can_begin_round(node, leader):
        return True
    last_index = node.log.last_index
    # Asked several times a turn, and mostly false: a member that has everything costs no call.
    for progress in leader.progress.values():
        if (progress.next <= last_index or progress.state is State.PROBE) and _has_room(node, progress):
            return True
    return False


def send_entries(node: Node, leader: Leader) -> None:
    """Send every member the entries that it lacks, within its window; members with equal `next` share one message.

    A probe may be empty: a restarted member may hold every entry, but it must not apply a heartbeat's commit index
    until an AppendEntries of this term's leader has shown that its log matches.
    """
    shared: dict[int, tuple[AppendEntries, int]] = {}
    """By the index of the first entry: a message, and the bytes of its entries."""
    log = node.log
    for peer, progress in leader.progress.items():
        if progress.next <= log.snapshot_index and progress.state is not State.SNAPSHOT:
            progress.become_snapshot()
            node.snapshots_wanted.append(peer)
        while (progress.next <= log.last_index or progress.state is State.PROBE) and _has_room(node, progress):
            if progress.next not in shared:
                message = _entries_from(node, progress.next)
                shared[progress.next] = message, sum([len(entry.record) for entry in message.entries])
            message, size = shared[progress.next]
            progress.sent(message.prev_index + len(message.entries), size, node.now)
            node.send(peer, message)


def advance_commit(node: Node, leader: Leader, reached: int) -> None:
    """Commit up to the highest entry that a quorum has stored, if it is of this term (§5.4.2).

    Entries of earlier terms are committed only together with one of this term. The leader counts like any other voter,
    with what is durable on its own disk (row 3). `reached` is what a member has just stored: no more can be committed.
    """
    if reached <= node.commit:
        return
    stored = {peer: progress.match for peer, progress in leader.progress.items()}
    stored[node.id] = node.log.durable
    index = quorum.reached(node.membership.majorities, stored.__getitem__)
    if index > node.commit and node.log.term_at(index) == node.term:
        assert index >= leader.term_start, f"entry {index} is older than this term, which begins at {leader.term_start}"
        for entry in node.log.slice(max(node.commit + 1, leader.term_start), index):
            leader.uncommitted_bytes -= len(entry.record)
        assert leader.uncommitted_bytes >= 0, f"{leader.uncommitted_bytes} bytes wait to be committed"
        node.commit = index
        changes.settle(node, leader)


def step_append_entries_reply(node: Node, sender: int, reply: AppendEntriesReply) -> None:
    """Update a member's progress: how far its log matches, or where to probe next."""
    if reply.term > node.term:
        election.become_follower(node, reply.term, None)
        return
    if not isinstance(node.role, Leader) or reply.term < node.term or sender not in node.role.progress:
        return
    leader, progress = node.role, node.role.progress[sender]
    if reply.success and reply.index > node.log.last_index:
        raise MessageRefused(f"acknowledges entry {reply.index}, but the log ends at {node.log.last_index}")
    progress.heard(node.now)
    if not reply.success:
        if node.incarnation is not None and progress.denied(reply.prev_index, reply.index):
            lost = progress.match
            acknowledged.keep(node, leader)
            node.peer_forgot(sender, node.now)
            raise MemberForgot(f"it has lost entries up to {lost}, which it had acknowledged, and holds {reply.index}")
        agreement = reply.index
        if agreement >= node.log.snapshot_index:  # otherwise only a snapshot can bring it up to date
            agreement, _ = node.log.last_agreement(reply.index, reply.hint_term)
        progress.rejected(reply.prev_index, agreement)
        return
    if progress.acknowledged(reply.index, node.now):
        advance_commit(node, leader, reply.index)
        transfer.order_when_caught_up(node, leader, sender)
    if progress.state is State.PROBE and reply.index >= progress.next - 1:
        progress.become_replicate()


def step_heartbeat_reply(node: Node, sender: int, reply: HeartbeatReply) -> None:
    """Record that a member is alive and confirms the read round; probe it again if a message seems lost."""
    # As in `step_append_entries_reply`, which is called for each acknowledgement: a call for these checks would cost.
    if reply.term > node.term:
        election.become_follower(node, reply.term, None)
        return
    if not isinstance(node.role, Leader) or reply.term < node.term or sender not in node.role.progress:
        return
    leader, progress = node.role, node.role.progress[sender]
    if reply.round > leader.round:
        raise MessageRefused(f"confirms heartbeat round {reply.round}, but the last one was {leader.round}")
    progress.heard(node.now)
    if reply.applied:
        node.states.reports[sender] = reply.applied, reply.checksum
    if reply.round > progress.confirmed_round:
        progress.confirmed_round = reply.round
        read_index.confirm(node, leader)
    if _seems_lost(node, progress):
        progress.become_probe()


def _has_room(node: Node, progress: Progress) -> bool:
    return not progress.is_paused(node.options.inflight_messages_max, node.options.inflight_bytes_max)


def _entries_from(node: Node, first: int) -> AppendEntries:
    prev_term = node.log.term_at(first - 1)
    assert prev_term is not None, "a leader keeps the entry before every one it may have to send"
    entries = node.log.slice(first, node.log.last_index, node.options.append_bytes_max, node.options.append_entries_max)
    return AppendEntries(node.term, first - 1, prev_term, node.commit, entries)


def _lost_its_quorum(node: Node, leader: Leader) -> bool:
    """CheckQuorum: whether no quorum has answered for an election timeout (thesis §6.2)."""
    heard = quorum.reached(
        node.membership.majorities,
        lambda voter: node.now if voter == node.id else leader.progress[voter].last_contact,
    )
    return node.now - heard > node.options.election_timeout_max


def _seems_lost(node: Node, progress: Progress) -> bool:
    """Whether the oldest unanswered message counts as lost: it is too old although the member answers heartbeats."""
    if progress.state is State.SNAPSHOT:
        return False
    if progress.state is State.PROBE:
        return progress.probing and node.now - progress.oldest_sent > 2 * node.options.heartbeat_interval
    return bool(progress.inflight) and node.now - progress.oldest_sent > 2 * node.options.election_timeout_max


# The follower's side.


def step_append_entries(node: Node, sender: int, request: AppendEntries) -> None:
    """Store a leader's entries after those that match (AppendEntries, receiver's steps 1 to 5)."""
    if request.term < node.term:
        reply = AppendEntriesReply(node.term, success=False, prev_index=request.prev_index, index=0)
        _tell_term(node, sender, reply)
        return
    _refuse_impossible_entries(node, request)
    follow(node, sender, request.term)
    log = node.log
    if not log.matches(request.prev_index, request.prev_term):
        index, hint_term = log.last_agreement(request.prev_index, request.prev_term)
        node.send(
            sender,
            AppendEntriesReply(
                node.term, success=False, prev_index=request.prev_index, index=index, hint_term=hint_term
            ),
        )
        return
    conflict = log.find_conflict(request.entries)
    if conflict is not None:
        if conflict.index <= log.last_index:
            assert conflict.index > node.commit, f"entry {conflict.index} is committed and replaced (§5.4.3)"
            log.truncate_from(conflict.index)
            changes.forget_from(node, conflict.index)
        new = request.entries[conflict.index - request.prev_index - 1 :]
        for entry in new:
            log.append(entry)
        changes.adopt(node, new)
    # Committed entries are in the log of every later leader (leader completeness, §5.4).
    last_new = max(request.prev_index + len(request.entries), log.snapshot_index)
    assert last_new <= log.last_index, f"the log matches up to {last_new}, and ends at {log.last_index}"
    node.match_index = max(node.match_index, last_new)
    node.commit = max(node.commit, min(request.commit, last_new))
    # One acknowledgement for each Ready is enough: it covers every entry that matches.
    reply = AppendEntriesReply(node.term, success=True, prev_index=request.prev_index, index=node.match_index)
    node.ack = (sender, reply)


def step_heartbeat(node: Node, sender: int, request: Heartbeat) -> None:
    """Reset the election timer, advance the commit index, and confirm the round."""
    if request.term < node.term:
        # Rounds are numbered anew in each term. The reply carries this node's term, so it must not carry the round of
        # an older one: a sender that leads this term by now would count it for its own round (row 6).
        _tell_term(node, sender, HeartbeatReply(node.term, 0))
        return
    follow(node, sender, request.term)
    node.commit = max(node.commit, min(request.commit, node.match_index))
    assert node.commit <= node.log.last_index, f"entry {node.commit} is committed, and the log ends before it"
    if request.differs:
        node.states.differs_at = request.differs
    for member, index in request.matches:
        if member != node.id:
            acknowledged.note(node, member, request.term, index, request.commit)
    # Read rounds send many heartbeats in one interval: the state's checksum is reported in only one or two of them.
    if node.now - node.states.told_at >= node.options.heartbeat_interval / 2:
        node.states.told_at = node.now
        reply = HeartbeatReply(node.term, request.round, *node.states.mine)
    else:
        reply = HeartbeatReply(node.term, request.round)
    _tell_term(node, sender, reply)


def _tell_term(node: Node, leader: int, reply: Message) -> None:
    """Answer a leader once this node's term is durable.

    A node that confirms a leader's term must not return to an earlier one after a crash. A node that makes a leader
    step down by a later term is mostly the candidate that this leader has ordered to campaign; it requests no votes
    until its own is durable.
    """
    if node.durable_hard_state.term == node.term:
        node.send(leader, reply)
    else:
        node.promise(leader, reply)


def follow(node: Node, leader: int, term: int) -> None:
    """Follow `leader` in `term` (§5.2).

    Raises:
        MessageRefused: another leader of that term is known.
    """
    match node.role:
        case Leader() if term == node.term:
            raise MessageRefused(f"node {leader} claims to lead term {term}, which this node leads")
        case Follower(leader=known) if term == node.term and known not in (None, leader):
            raise MessageRefused(f"node {leader} claims to lead term {term}, which node {known} leads")
        case Follower() as follower if term == node.term:
            election.hear_from_leader(node, follower, leader)
        case _:
            election.become_follower(node, term, leader)


def _refuse_impossible_entries(node: Node, request: AppendEntries) -> None:
    """Refuse entries that no correct leader can send, before any state changes."""
    log, term = node.log, request.prev_term
    if term > request.term:
        raise MessageRefused(f"entry {request.prev_index} is of term {term}, later than the leader's {request.term}")
    for index, entry in enumerate(request.entries, request.prev_index + 1):
        if entry.index != index:
            raise MessageRefused(f"entry {entry.index} stands where entry {index} belongs")
        if not term <= entry.term <= request.term:
            raise MessageRefused(f"entry {index} of term {entry.term} cannot follow one of term {term}")
        if index <= node.commit and log.term_at(index) not in (None, entry.term):
            raise CommittedContradicted(f"entry {index} of term {entry.term} contradicts a committed entry")
        if entry.kind not in _KINDS or len(entry.record) < RECORD_HEADER.size:
            raise MessageRefused(f"entry {index} is of the unknown kind {entry.kind}")
        if entry.kind == EntryKind.MEMBERSHIP:
            _refuse_unreadable_membership(entry)
        term = entry.term


def _refuse_unreadable_membership(entry: Entry) -> None:
    try:
        Membership.decode(entry.payload)
    except UnknownMembership:
        raise  # a later kvraft wrote it: the leader is right, and this node must be upgraded
    except ValueError as error:
        raise MessageRefused(f"entry {entry.index} holds no membership: {error}") from error


_KINDS = frozenset(EntryKind)
