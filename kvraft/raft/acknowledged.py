"""The highest entry that each member has acknowledged: it detects a data directory that is an older copy.

A data directory restored from an older copy lacks entries that the member has acknowledged, and may lack a term in
which the member has voted. Its vote could elect a leader without those entries (see `identity`). The member cannot
detect this from its own disk, but the other nodes can: each leader counts the acknowledgements and lists them in its
heartbeats. So each node keeps in memory the highest acknowledgement of each member, and names it in the hello of every
connection to that member. The member compares it with its own log, and stops if it lacks something.

*Why a healthy member never stops by mistake.* Let it have acknowledged entry m to the leader of term T. Then its term
and its log up to m were durable, so every later state of that directory has them, except for what the rules of Raft
change:

* Its term never falls, so it is at least T.
* As long as its term is T, only T's leader changes its log. Where the two logs match they are never cut (§5.3), and a
  snapshot that takes the place of the log begins after m, or keeps what follows it (§7).
* In a later term another leader may cut uncommitted entries. Committed entries are in the log of every later leader
  (§5.4.3), so they are never cut.

So `lacks` compares the term; while the node is still in term T, the entry m; and in every term the last acknowledged
entry that was committed. The comparison uses the member's present state. A reported acknowledgement is always older
than that state, however long the report takes. The other end could not compare: an acknowledgement may arrive before
the message in which the member describes its log.

*What it does not detect.* The acknowledgements are lost when every node that held them in memory has restarted. A copy
may vote before the first such node connects to it. A copy that a leader has brought up to date before then lacks
nothing any more.
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
    """What the disk of a member with this incarnation must hold. The term of an entry is 0 where it is not known."""

    incarnation: str
    term: int
    """The term in which the member acknowledged `index`; its own term is at least this."""
    index: int
    """The last entry that the member acknowledged in `term`."""
    index_term: int
    committed: int
    """The last entry, of any term, that the member has acknowledged and that is committed."""
    committed_term: int


def known(node: Node, member: int) -> Acknowledged | None:
    """Return what `member` has acknowledged; None when no acknowledgement is known."""
    if isinstance(node.role, Leader) and (progress := node.role.progress.get(member)) is not None and progress.match:
        return _merge(node, member, node.term, progress.match, node.commit)
    return node.heard.acknowledged.get(member)


def keep(node: Node, leader: Leader) -> None:
    """Keep the acknowledgements of a leader that is about to step down."""
    for member, progress in leader.progress.items():
        if progress.match:
            note(node, member, node.term, progress.match, node.commit)


def told(node: Node, leader: Leader) -> tuple[tuple[int, int], ...]:
    """Return (member, last acknowledged entry) for a heartbeat; nothing in a cluster without bound incarnations."""
    if not node.membership.incarnations:
        return ()
    return tuple((member, progress.match) for member, progress in leader.progress.items() if progress.match)


def note(node: Node, member: int, term: int, index: int, commit: int) -> None:
    """Record that `member` has acknowledged `index` in `term`, while the commit index was `commit`."""
    merged = _merge(node, member, term, index, commit)
    if merged is not None:
        node.heard.acknowledged[member] = merged


def lacks(node: Node, told: Acknowledged) -> bool:
    """Whether this node lacks an entry that it has acknowledged, which shows that its data directory is an older copy.

    Args:
        node: this node.
        told: its acknowledgements as another member has recorded them.
    """
    if told.incarnation != node.incarnation:
        return False  # another incarnation acknowledged it
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
    """Return the term of the leader's entry at `index`; 0 if this node's log may differ from the leader's there."""
    if index > node.commit and not isinstance(node.role, Leader):
        return 0
    return node.log.term_at(index) or 0
