"""A member's identity: its id and its incarnation. It keeps a node whose disk was lost from breaking its promises.

Raft counts on a node because its disk keeps what it promised (Figure 2). A disk that was lost or emptied, under an old
id, makes another node: its vote could elect a leader that lacks what the old one acknowledged (row 1; row 19 for ids
that come back). So each data directory has an *incarnation*, drawn when it is made, and the log *binds* each id to one:
the leader appends a configuration with the incarnations that connected members have named and that are not bound yet.
A binding is never changed; a lost node is replaced by one with a new id.

**The rule: a node votes only if its log binds its id to its own incarnation, or it took part in the birth.** A node
that begins with nothing has no vote (`Node.voting`). It may follow, store and acknowledge, as those are true statements
about what it holds; its vote is what could do harm.

*Why a wiped node can lose nothing.* Let e be committed, by a quorum C with the wiped member X in it, and let Q be the
quorum of a later election. While X has no vote, Q consists of other members. Of 2f+1 voters C has f others and Q has
f+1, of 2f: they share a node that holds e, and the proof of §5.4.3 holds unchanged; X counts as dead. The same is
true for k nodes that are wiped at once. If X was bound before, it never votes again: leaders have the committed binding
and bind no id twice. If it was not, a leader may bind its new incarnation by an entry b. That leader has every e that
was ever committed with X's help (leader completeness, as shown before), before b in its log. X votes only when it holds
b, so it holds them too. It has no vote in the term of that moment, in which its old incarnation may have voted.

*Births.* At the birth of a cluster no id is bound, and some nodes must vote. A node with an empty log that has not
voted may vote if it is one of a majority of voters whose hellos, since its process began, have said that their logs are
empty, and no hello has said the opposite. The first leader binds all known incarnations in its first two entries, which
are sent and stored together: a log that holds anything names the members of the birth. A wiped node that receives the
hello of one member with a log does not take part in a birth.

*Founders.* A node that got its vote by a birth is a *founder* from then on (`Node.founder`). The mark is part of the
node's next save, so it is durable before the node's first promise, and it is never removed. After a restart a founder
has its vote, in any term, and with any logs on the other nodes. Without the mark a cluster could be dead from its
birth: the first leader stores its entries but reaches no other node, a later term passes, and the others restart with
empty logs and no vote in that term, while one log holds entries.

*Why a founder's restart can lose nothing.* The mark is on the same disk as term, vote and log, and every save includes
it. A founder that restarts has the mark, and with it everything that it has promised since it got its vote. So its
restart is no different from a pause, during which a node keeps its vote, and the proof of §5.4.3 allows pauses. What
was not durable was not promised. A wiped disk has lost the mark as well, and its node is treated as one that never had
it. A log that binds the id to another incarnation overrides the mark: the cluster has bound the id, and not to this
node.

*Why a birth completes.* The first leader was elected by a majority, and each of these voters had made its vote durable,
with the mark. So that majority can elect a leader in any later term, even if the first entries are lost, provided that
its disks are kept; and a leader binds every other member that connects.

*What is not guaranteed.* Until the first leader's binding is committed, and for a voter that has never connected to the
cluster, a wipe is not detected. Two nodes with empty logs, one wiped and one never started since the birth, cannot
distinguish that from a birth while they are a majority and reach no other member. What they then agree on has another
cluster id, and the others refuse them. A majority whose disks are lost together has lost data: no rule can help. Logs
of an earlier kvraft bind no id; their nodes vote as they did, until every member has named its incarnation and the
leader has bound them all. Without TLS an incarnation is only a claim: this protects against accidents.

*Older copies.* A data directory that was put back from a copy has its incarnation and not all that it acknowledged. Its
vote could elect a leader that lacks a confirmed entry, like that of a wiped node. It could be sent the entries anew and
would hold them again, but until then, and for entries that no leader counts any more, it votes as if it had never
confirmed them. So each hello names what the sender has recorded of the receiver's acknowledgements (`acknowledged`).
The node compares that with its own log; if it lacks something, it stops, with a mark in its directory. It never votes
again and is replaced, so it counts as dead, like a wiped node. A leader whose probe at a member's match index is
rejected `DENIALS_MAX` times in a row drops the connection, so that the next hello names the acknowledgements again. A
leader that contradicts a node's committed entry is the opposite proof: confirmed entries were lost elsewhere
(`CommittedContradicted`). That node stops too, and its directory keeps what the others have lost.

Nodes without a disk have no incarnation here (`Node.incarnation` is None) and come back by other rules.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import attrs

from kvraft.raft import changes, quorum
from kvraft.raft.acknowledged import Acknowledged
from kvraft.raft.errors import ProposalRefused
from kvraft.raft.roles import Leader

if TYPE_CHECKING:
    from kvraft.raft.membership import Membership
    from kvraft.raft.node import Node


@attrs.define
class Heard:
    """What the other members' hellos have said since this process began."""

    incarnations: dict[int, str | None] = attrs.field(factory=dict)
    """By member: its incarnation; None if its hello named none."""
    newborn: set[int] = attrs.field(factory=set)
    """Members whose hellos said that their logs are empty."""
    nonempty: set[int] = attrs.field(factory=set)
    """Members whose hellos said that their logs are not empty."""
    acknowledged: dict[int, Acknowledged] = attrs.field(factory=dict)
    """By member: its highest acknowledgement to this node or to another leader since."""


def begin(node: Node) -> None:
    """Decide, from what its disk held when the process began, whether the node may vote."""
    if node.incarnation is None:
        return
    if _is_newborn(node) and _is_birth(node):
        node.founder = True
    node.voting = node.voting and _has_vote(node)


def _has_vote(node: Node) -> bool:
    bindings = node.membership.incarnations
    if node.id in bindings:
        return bindings[node.id] == node.incarnation
    if node.founder or node.vote is not None:  # it could vote before, and its disk has kept that
        return True
    return node.log.last_index > 0 and not bindings  # the log of an earlier kvraft


def is_stranger(node: Node) -> bool:
    """Whether the log binds this node's id to another incarnation: then it must not take part."""
    return node.incarnation is not None and is_other(node.membership, node.id, node.incarnation)


def is_other(membership: Membership, member: int, incarnation: str) -> bool:
    """Whether `member` is bound to another incarnation."""
    return membership.incarnations.get(member, incarnation) != incarnation


def hear(node: Node, peer: int, incarnation: str | None, *, is_empty: bool | None) -> None:
    """Take the incarnation from `peer`'s hello, and whether its log is empty; None from an earlier kvraft."""
    if node.incarnation is None:
        return
    if incarnation is None or is_empty is None:
        node.heard.incarnations[peer] = None
        return
    before = node.heard.incarnations.get(peer)
    node.heard.incarnations[peer] = incarnation
    (node.heard.newborn if is_empty else node.heard.nonempty).add(peer)
    if before not in {None, incarnation}:
        node.heard.acknowledged.pop(peer, None)
        node.peer_forgot(peer, node.now)
    if not node.voting and _is_newborn(node) and _is_birth(node):
        node.founder = True
        node.regain_vote()


def confirm(node: Node) -> None:
    """Give the node its vote if its log binds its id to its incarnation; called after each configuration change."""
    if not node.voting and node.membership.incarnations.get(node.id, "") == node.incarnation:
        node.regain_vote()


def bind_first(node: Node, leader: Leader) -> None:
    """Bind all known incarnations, directly after the first entry of the cluster's first leader."""
    new = _unbound(node)
    if new and node.log.last_index == 1 and None not in node.heard.incarnations.values():
        changes.append(node, leader, node.membership.bound(new))


def bind(node: Node, leader: Leader) -> None:
    """Bind the members that have named their incarnation and are not bound yet; called at every heartbeat."""
    membership = node.membership
    new = _unbound(node)
    if not new:
        return
    if not membership.incarnations and not new.keys() >= membership.members:
        return  # a member of an earlier kvraft could not read the configuration
    with suppress(ProposalRefused):  # another change is under way: a later heartbeat tries again
        changes.propose(node, leader, membership.bound(new), force=True)


def may_be_promoted(node: Node, learner: int) -> bool:
    """Whether the learner's id is bound, or no member's is: otherwise it would become a voter that cannot vote."""
    bindings = node.membership.incarnations
    return not bindings or learner in bindings


def _unbound(node: Node) -> dict[int, str]:
    if node.incarnation is None:
        return {}
    membership, heard = node.membership, {**node.heard.incarnations, node.id: node.incarnation}
    return {
        member: incarnation
        for member, incarnation in sorted(heard.items())
        if incarnation is not None and member in membership.members and member not in membership.incarnations
    }


def _is_newborn(node: Node) -> bool:
    """Whether the node's log is empty and it has not voted."""
    return node.log.last_index == 0 and node.vote is None


def _is_birth(node: Node) -> bool:
    """Whether this node is one of a majority of voters with empty logs, and no member has reported entries."""
    if node.heard.nonempty or not node.membership.decides(node.id):
        return False
    empty = node.heard.newborn | {node.id}
    return all(len(empty & set(voters)) >= quorum.majority(len(voters)) for voters in node.membership.majorities)
