"""Leader election (§5.2, §5.4.1) with PreVote (thesis §9.6) and leader stickiness (§6, thesis §4.2.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvraft.raft import acknowledged, identity, quorum, replication
from kvraft.raft.facts import FactKind, Why
from kvraft.raft.messages import PreVote, PreVoteReply, RequestVote, RequestVoteReply
from kvraft.raft.progress import Progress
from kvraft.raft.quorum import Outcome
from kvraft.raft.roles import AnyRole, Candidate, Follower, Leader, PreCandidate
from kvraft.raft.types import EntryKind

ELECTION_WAIT_GROWTH = 2
"""Factor by which the wait for an outcome grows with each election in a row that elects no leader."""
VOTERS_SAVES = 3
"""A candidate waits for the voters' saves at least so many times as long as its own save took."""
ELECTION_WAIT_FACTOR_MAX = 16
"""Longest wait for the outcome of an election, in election timeouts."""
SLOT_AFTER_LOSS = (0.0, 0.25)
"""The part of its slot, from and to, in which a follower draws the moment of its first attempt when the connection to
its leader has broken. The rest lets the election end before the next slot begins."""
SLOT_AFTER_SILENCE = (0.03, 0.1)
"""The same when the leader is silent. The part does not begin with the slot: the leader's last heartbeat may have
reached the other voters a moment later, and they refuse a pre-vote until the shortest timeout has passed for them too.
"""
ASK_AGAIN_AFTER = 0.2
"""A follower whose leader is silent repeats its first pre-vote requests after this part of its slot, still before the
next slot begins. A voter whose clock is slower, or whose last heartbeat came later, has not answered the first ones."""

if TYPE_CHECKING:
    from kvraft.raft.node import Node


def become_follower(node: Node, term: int, leader: int | None, why: Why = Why.RESIGNED) -> None:
    """Become a follower in `term`: the node's own term, or a higher one just received in a message (§5.1).

    `why` is the reason why a leader steps down in its own term.
    """
    assert term >= node.term, f"the term goes back from {node.term} to {term} (§5.1)"
    assert leader is None or term > node.term or not isinstance(node.role, Leader), "a term has two leaders (§5.2)"
    if isinstance(node.role, Leader):
        acknowledged.keep(node, node.role)
        node.facts.note(
            node.now, FactKind.STEPPED_DOWN, node.term, leader, Why.HIGHER_TERM if term > node.term else why
        )
    if term > node.term:
        node.term = term
        node.vote = None
        node.match_index = 0
    match node.role:
        case Leader(new_reads=tickets, read_rounds=rounds):
            # These reads were never confirmed: a later leader may have committed writes since (row 8).
            node.aborted_reads += [read.ticket for waiting in rounds for read in waiting.reads]
            node.aborted_reads += tickets
            deadline = node.now + node.random_timeout()
        case role:
            # Only a leader's message or a granted vote resets the timer; a higher term alone does not (§5.2).
            deadline = role.deadline
    follower = Follower(deadline)
    _take_role(node, follower)
    if leader is not None:
        hear_from_leader(node, follower, leader)


def _take_role(node: Node, role: AnyRole) -> None:
    """Change the role (Figure 4). After construction no other line sets it."""
    node.role, node.is_leader = role, isinstance(role, Leader)


def hear_from_leader(node: Node, follower: Follower, leader: int) -> None:
    """Reset the election timer: a message of this term's leader has arrived (§5.2)."""
    assert follower.leader in (None, leader), f"term {node.term} has two leaders: {follower.leader}, {leader} (§5.2)"
    assert leader != node.id, "a node does not follow itself"
    follower.leader = leader
    follower.last_contact = node.now
    node.elections_in_vain = 0
    follower.deadline = node.now + _timeout_of_follower(node, follower)


def pre_campaign(node: Node) -> None:
    """Ask the other voters whether an election could be won, without a new term: PreVote (thesis §9.6)."""
    deadline = node.now + node.random_timeout()
    if _is_saving_its_vote(node):
        node.role.deadline = deadline
        return
    if not node.voting or not _may_stand(node):
        become_follower(node, node.term, None)
        node.role.deadline = deadline
        return
    if isinstance(node.role, Follower) and node.role.leader is not None:
        _, length = node.role.slot
        deadline = node.now + ASK_AGAIN_AFTER * length
    node.facts.note(node.now, FactKind.ASKED, node.term, *_ground(node.role))
    pre_candidate = PreCandidate(deadline, {node.id: True})
    _take_role(node, pre_candidate)
    request = PreVote(node.term + 1, node.log.last_index, node.log.last_term)
    for voter in _other_voters(node):
        node.send(voter, request)
    _count_pre_votes(node, pre_candidate)


def campaign(node: Node, *, transfer: bool = False) -> None:
    """Start an election (§5.2): new term, a vote for itself, RequestVote to every other voter.

    RequestVote is a promise: it is sent after the term, the vote and the log that it describes are durable. Otherwise
    a candidate could crash, campaign again in the same term with a shorter log, and count the votes that were granted
    to the longer one.
    """
    assert node.voting, "a node that may have lost its vote does not stand"
    assert not isinstance(node.role, Leader), f"the leader of term {node.term} stands against itself"
    node.term += 1
    node.vote = node.id
    node.match_index = 0
    node.facts.note(node.now, FactKind.STOOD, node.term, why=Why.TRANSFER if transfer else Why.PRE_VOTES)
    _take_role(node, Candidate(node.now + _election_wait(node, transfer=transfer), node.now, transfer))
    for voter in _other_voters(node):
        _request_vote(node, voter, transfer=transfer)


def _request_vote(node: Node, voter: int, *, transfer: bool) -> None:
    node.promise(voter, RequestVote(node.term, node.log.last_index, node.log.last_term, transfer))


def repeat(node: Node, peer: int) -> None:
    """Repeat the vote request or the vote that may have been lost before `peer` reconnected (§5.1: RPCs are retried).

    On slow disks an election waits long, and the deciding vote may be that of a voter that was down when the request
    was sent, or that had no connection for its reply yet.
    """
    match node.role:
        case PreCandidate(votes=votes) if peer not in votes and peer in _other_voters(node):
            node.send(peer, PreVote(node.term + 1, node.log.last_index, node.log.last_term))
        case Candidate(votes=votes) if node.id in votes and peer not in votes and peer in _other_voters(node):
            _request_vote(node, peer, transfer=node.role.transfer)  # the first one is sent once the own vote is durable
        case Follower(leader=None) if node.vote == peer and not _is_saving_its_vote(node):
            node.promise(peer, RequestVoteReply(node.term, granted=True))


def count_own_vote(node: Node) -> None:
    """Count a candidate's vote for itself once it is durable: before that, a crash could let it vote twice (row 2)."""
    durable = node.durable_hard_state
    if isinstance(node.role, Candidate) and (durable.term, durable.vote) == (node.term, node.id):
        node.role.votes[node.id] = True
        # Now the voters save their votes, which takes about as long.
        took = node.now - node.role.began
        node.role.deadline = max(node.role.deadline, node.now + VOTERS_SAVES * took)
        _count_votes(node, node.role)


def become_leader(node: Node) -> None:
    """Become leader: reset the progress of every other member and append the term's empty entry (§5.3, §8)."""
    assert isinstance(node.role, Candidate), f"a {type(node.role).__name__} wins an election"
    assert node.vote == node.id, f"a leader has voted for {node.vote} (§5.2)"
    assert node.durable_hard_state.term == node.term, "no node is elected in a term that is not on its disk"
    assert node.log.last_term < node.term, f"term {node.term} has an entry before it has a leader"
    others = node.membership.members - {node.id}
    next_index = node.log.last_index + 1
    leader = Leader(
        deadline=node.now,
        term_start=next_index,
        progress={other: Progress(next_index, last_contact=node.now) for other in sorted(others)},
    )
    _take_role(node, leader)
    node.elections_in_vain = 0
    replication.append(node, leader, EntryKind.EMPTY, b"")
    identity.bind_first(node, leader)
    replication.lead_on(node, leader)


def delay_after_loss(node: Node, lost: int) -> float:
    """Return when to request pre-votes after the connection to `lost`, the leader, has broken, seconds from now.

    All followers see a leader's death at the same moment. So the time is divided among the voters (`_slot`), and each
    draws a moment of the first quarter of its own slot. In most cases the first is elected before the next one begins.
    To draw from the whole time is as safe and slower: the first of two draws comes later, and the second may come just
    after it, which splits the votes.
    """
    begin, length = _slot(node, lost, node.options.peer_lost_delay_min, node.options.peer_lost_delay_max)
    return begin + length * node.random.uniform(*SLOT_AFTER_LOSS)


def _timeout_of_follower(node: Node, follower: Follower) -> float:
    """Draw how long this follower waits for a message of its leader, seconds (§5.2).

    A leader that falls silent does so to all followers at once, too, so each draws from its own slot of the election
    timeout. With one range for all, two of three members would often ask within the few milliseconds that an election
    takes, and split the votes. The shortest of these timeouts is hardly longer than without slots.
    """
    membership = node.membership
    if follower.slot_in is not membership:
        assert follower.leader is not None, "a follower without a leader has no slot"
        options = node.options
        follower.slot = _slot(node, follower.leader, options.election_timeout_min, options.election_timeout_max)
        follower.slot_in = membership
    begin, length = follower.slot
    return begin + length * node.random.uniform(*SLOT_AFTER_SILENCE)


def _slot(node: Node, leader: int, earliest: float, latest: float) -> tuple[float, float]:
    """Return the beginning and the length of this node's share of the time in which voters succeed `leader`, seconds.

    The time is divided evenly among the voters, in the order of their ids from `leader` on. Only the first attempt has
    an order; whatever comes of it, later ones wait for random timeouts, since ranks alone leave cases without a leader
    (§5.2).
    """
    order = sorted({*_other_voters(node), node.id} - {leader}, key=lambda voter: (voter < leader, voter))
    length = (latest - earliest) / len(order)
    return earliest + length * order.index(node.id), length


def step_pre_vote(node: Node, sender: int, request: PreVote) -> None:
    """Answer whether this node would vote for `sender` in a later term; neither its term nor its vote changes."""
    if _is_bound_to_leader(node) or _is_saving_its_vote(node):
        why = Why.HAS_LEADER if _is_bound_to_leader(node) else Why.SAVING_A_VOTE
        node.facts.note(node.now, FactKind.REFUSED_PRE_VOTE, request.term, sender, why)
        return
    up_to_date = node.log.is_up_to_date(request.last_index, request.last_term)
    if node.voting and request.term > node.term and up_to_date:
        node.send(sender, PreVoteReply(request.term, granted=True))
        node.facts.note(node.now, FactKind.GRANTED_PRE_VOTE, request.term, sender)
        # Delay this node's own election: when a leader dies all followers notice at once, and two candidates at the
        # same time split the votes and wait for another whole election timeout.
        step_back = node.options.peer_lost_delay_max + node.random.uniform(0, node.options.peer_lost_delay_max)
        node.role.deadline = max(node.role.deadline, node.now + step_back)
    else:
        node.send(sender, PreVoteReply(node.term, granted=False))
        why = Why.NO_VOTE if not node.voting else Why.OLD_TERM if request.term <= node.term else Why.SHORTER_LOG
        node.facts.note(node.now, FactKind.REFUSED_PRE_VOTE, request.term, sender, why)


def step_pre_vote_reply(node: Node, sender: int, reply: PreVoteReply) -> None:
    """Count the answer; a refusal may also carry a later term."""
    if isinstance(node.role, PreCandidate):
        kind = FactKind.GOT_PRE_VOTE if reply.granted else FactKind.MISSED_PRE_VOTE
        node.facts.note(node.now, kind, node.term + 1, sender)
    if not reply.granted and reply.term > node.term:
        become_follower(node, reply.term, None)
    elif isinstance(node.role, PreCandidate) and (not reply.granted or reply.term == node.term + 1):
        node.role.votes[sender] = reply.granted
        _count_pre_votes(node, node.role)


def step_request_vote(node: Node, sender: int, request: RequestVote) -> None:
    """Vote for `sender` in this term if its log is at least as up to date as this node's (Figure 2, §5.4.1)."""
    if _is_bound_to_leader(node) and not request.transfer:
        # Its term is not adopted either: otherwise a removed or partitioned node could depose a healthy leader (thesis
        # §4.2.3).
        node.facts.note(node.now, FactKind.REFUSED_VOTE, request.term, sender, Why.HAS_LEADER)
        return
    if request.term > node.term:
        become_follower(node, request.term, None)
    up_to_date = node.log.is_up_to_date(request.last_index, request.last_term)
    if node.voting and request.term == node.term and node.vote in (None, sender) and up_to_date:
        if not isinstance(node.role, Follower):
            assert isinstance(node.role, PreCandidate), "a candidate and a leader have voted for themselves"
            become_follower(node, node.term, None)
        node.vote = sender
        node.role.deadline = node.now + _election_wait(node, transfer=request.transfer)
        node.promise(sender, RequestVoteReply(node.term, granted=True))
        node.facts.note(node.now, FactKind.GRANTED_VOTE, request.term, sender)
    else:
        node.send(sender, RequestVoteReply(node.term, granted=False))
        node.facts.note(
            node.now,
            FactKind.REFUSED_VOTE,
            request.term,
            sender,
            _why_refused(node, request.term, up_to_date=up_to_date),
        )


def step_request_vote_reply(node: Node, sender: int, reply: RequestVoteReply) -> None:
    """Count a vote of this term."""
    if reply.term > node.term:
        become_follower(node, reply.term, None)
    elif isinstance(node.role, Candidate) and reply.term == node.term:
        kind = FactKind.GOT_VOTE if reply.granted else FactKind.MISSED_VOTE
        node.facts.note(node.now, kind, node.term, sender)
        node.role.votes[sender] = reply.granted
        _count_votes(node, node.role)


def _why_refused(node: Node, term: int, *, up_to_date: bool) -> Why:
    if term < node.term:
        return Why.OLD_TERM
    if not node.voting:
        return Why.NO_VOTE
    return Why.VOTED_FOR_ANOTHER if up_to_date else Why.SHORTER_LOG


def _ground(role: AnyRole) -> tuple[int | None, Why]:
    """Return the peer and the reason for the fact that this node requests pre-votes."""
    match role:
        case Follower(leader=None, lost=lost) if lost is not None:
            return lost, Why.CONNECTION_LOST
        case Follower(leader=leader):
            return leader, Why.SILENCE
        case _:
            return None, Why.NO_RESULT


def _count_pre_votes(node: Node, role: PreCandidate) -> None:
    if quorum.election(node.membership.majorities, role.votes) is Outcome.WON:
        campaign(node)


def _count_votes(node: Node, role: Candidate) -> None:
    match quorum.election(node.membership.majorities, role.votes):
        case Outcome.WON:
            become_leader(node)
        case Outcome.LOST:
            become_follower(node, node.term, None)


def _may_stand(node: Node) -> bool:
    """Whether this node may campaign: it is a voter, or was one before a change that is not known to be committed.

    A node whose log holds the entry that removes it may have to lead: the remaining voters may lack that entry, and
    nodes with a longer log would not vote for them (thesis §4.2.2). Its own vote does not count then.
    """
    if node.membership.decides(node.id):
        return True
    return node.commit < node.membership_index and node.memberships[-2][1].decides(node.id)


def _election_wait(node: Node, *, transfer: bool) -> float:
    """Return how long to wait for the outcome of an election in which this node has just voted, seconds.

    An election takes two saves one after the other, the candidate's and then the voters'. If they take longer than an
    election timeout, a wait of that length ends every election before its votes arrive, and each failed election queues
    one more save in front of the next. So, unlike the paper, a node whose vote is not durable yet takes part in no
    other election (`_is_saving_its_vote`), and a candidate whose own save took long waits in proportion for the voters
    (`VOTERS_SAVES`). If the voters' disks are slower than the candidate's, only a later election can wait longer: the
    wait grows with each election in a row that elects no leader, up to `ELECTION_WAIT_FACTOR_MAX` timeouts. With fast
    disks the first election ends within its first wait.

    A candidate that the leader has ordered to campaign gets the longest wait at once. No other node campaigns
    meanwhile, so a shorter wait would only leave the cluster without a leader. If the candidate dies, its broken
    connection ends the wait.
    """
    factor = ELECTION_WAIT_FACTOR_MAX
    if not transfer:
        factor = min(ELECTION_WAIT_GROWTH**node.elections_in_vain, ELECTION_WAIT_FACTOR_MAX)
    node.elections_in_vain += 1
    return factor * node.random_timeout()


def _other_voters(node: Node) -> list[int]:
    return sorted(set().union(*node.membership.majorities) - {node.id})


def _is_saving_its_vote(node: Node) -> bool:
    """Whether this node has voted in this term, for itself or another, and the vote is not durable yet.

    Until then it takes part in no further election: that would only end the one under way, and this node's vote in the
    new one would be durable even later.
    """
    durable = node.durable_hard_state
    return node.vote is not None and (durable.term, durable.vote) != (node.term, node.vote)


def _is_bound_to_leader(node: Node) -> bool:
    """Whether this node leads or has a current leader, and so takes part in no election (§6, thesis §4.2.3)."""
    match node.role:
        case Leader():
            return True
        case Follower(leader=leader, last_contact=last_contact):
            return leader is not None and node.now - last_contact < node.options.election_timeout_min
        case _:
            return False
