"""What each member has acknowledged, as far as this node knows, so that a member can be held to it.

A data directory that was put back from an older copy lacks entries that the member has acknowledged, and a term in
which it may have voted. Its vote could elect a leader without those entries (see `identity`). The member itself cannot
know it, but others can: each leader has counted its acknowledgements, and names them in its heartbeats to all. So each
node keeps, for as long as its process runs, the highest acknowledgement of each member, and tells the member at the
beginning of every connection. The member compares that with its own log, and ends when it lacks something.

*Why a healthy member is never accused.* Let it have acknowledged entry m to the leader of term T. Then its term and
its log up to m were durable, so they are in every later state of that directory, except for what the rules of Raft
change:

* Its term never falls, so it is at least T.
* As long as its term is T, only T's leader changes its log. Where the two logs match they are never cut (§5.3), and a
  snapshot that takes the place of the log begins after m, or keeps what follows it (§7).
* In a later term another leader may cut what was not committed. What was committed is in the log of every later leader
  (§5.4.3), so it is never cut.

So `lacks` looks at the term, at m in term T, and in every term at what the leader had committed of it by then. The
member judges by its present state. An acknowledgement of which it is told lies in its past, however long the telling
takes; to judge at the other end, by what the member says of itself, would be wrong where acknowledgements have
overtaken its words.

*What it does not notice.* Nobody knows it any more when all who knew have been restarted since. A copy may vote in the
moment before the first of them tells it. A copy that was brought up to date before that lacks nothing any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kvraft.raft.roles import Leader

if TYPE_CHECKING:
    from kvraft.raft.log import Log
    from kvraft.raft.node import Node


@attrs.frozen
class Acknowledged:
    """What a member with this incarnation must find on its disk. Terms of entries are 0 where they are not known."""

    incarnation: str
    term: int
    """In which it acknowledged `index`; its own term is at least this."""
    index: int
    """The last entry that it acknowledged in `term`."""
    index_term: int
    committed: int
    """The last entry known to be acknowledged by it, in any term, and committed."""
    committed_term: int


def known(node: Node, member: int) -> Acknowledged | None:
    """Return what `member` has acknowledged; None where nothing is known."""
    if isinstance(node.role, Leader) and (progress := node.role.progress.get(member)) is not None and progress.match:
        return _merge(node, member, node.term, progress.match, node.commit)
    return node.heard.acknowledged.get(member)


def keep(node: Node, leader: Leader) -> None:
    """Keep what was acknowledged to this leader beyond its leadership; called before that ends."""
    for member, progress in leader.progress.items():
        if progress.match:
            note(node, member, node.term, progress.match, node.commit)


def told(node: Node, leader: Leader) -> tuple[tuple[int, int], ...]:
    """Return (member, last acknowledged entry) for a heartbeat; nothing in a cluster that binds nobody."""
    if not node.membership.incarnations:
        return ()
    return tuple((member, progress.match) for member, progress in leader.progress.items() if progress.match)


def note(node: Node, member: int, term: int, index: int, commit: int) -> None:
    """Note that `member` has acknowledged `index` in `term`, when everything up to `commit` was committed."""
    merged = _merge(node, member, term, index, commit)
    if merged is not None:
        node.heard.acknowledged[member] = merged


def lacks(node: Node, told: Acknowledged) -> bool:
    """Whether this node lacks what it is told to have acknowledged: its data directory is an older copy."""
    if told.incarnation != node.incarnation:
        return False  # it was the promise of another incarnation
    if node.term < told.term or _is_missing(node.log, told.committed, told.committed_term):
        return True
    return node.term == told.term and _is_missing(node.log, told.index, told.index_term)


def _is_missing(log: Log, index: int, term: int) -> bool:
    return index > log.last_index or (term > 0 and not log.matches(index, term))


def _merge(node: Node, member: int, term: int, index: int, commit: int) -> Acknowledged | None:
    incarnation = node.membership.incarnations.get(member)
    if incarnation is None:
        return None
    committed = min(index, commit)
    new = Acknowledged(
        incarnation, term, index, _term_at(node, index), committed, _term_at(node, committed) if committed else 0
    )
    before = node.heard.acknowledged.get(member)
    if before is None or before.incarnation != incarnation:
        return new
    if before.committed > committed:
        new = attrs.evolve(new, committed=before.committed, committed_term=before.committed_term)
    if (before.term, before.index) > (term, index):
        new = attrs.evolve(new, term=before.term, index=before.index, index_term=before.index_term)
    return new


def _term_at(node: Node, index: int) -> int:
    """Return the term of an entry of the leader's log; 0 where this node may have another one there, or none."""
    if index > node.commit and not isinstance(node.role, Leader):
        return 0
    return node.log.term_at(index) or 0
