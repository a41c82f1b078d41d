"""Which leaders must step down because of a slow disk, and which must not: checked from outside (row 26)."""

from collections.abc import Collection, Sequence

import attrs

from kvraft.raft import Node
from kvraft.raft.roles import Leader
from kvraft.simulation.member import Member

Majorities = Sequence[Collection[int]]


def is_another_ahead(node: Node, leader: Leader) -> bool:
    """Whether another voter has acknowledged more to this leader than the leader's own disk holds."""
    return any(
        progress.match > node.log.durable
        for peer, progress in leader.progress.items()
        if peer in node.membership.voters
    )


def could_another_lead(node: Node, leader: Leader, majorities: Majorities) -> bool:
    """Whether a voter is ahead of this leader's disk, and a majority without this leader has answered lately."""
    recent = node.now - node.options.election_timeout_max
    heard = {peer for peer, progress in leader.progress.items() if progress.last_contact >= recent}
    is_majority = all(2 * sum(voter in heard for voter in voters) > len(voters) for voters in majorities)
    return is_majority and is_another_ahead(node, leader)


@attrs.define
class Leadership:
    """The role of a process when it last led, and its term."""

    led: Leader | None = None
    term: int = 0

    def why_not_over(self, member: Member, node: Node, majorities: Majorities) -> str | None:
        """Return why a process that does not lead now should still be leading, or None.

        A leader may step down in its own term when it has lost its quorum, was removed, or has a full disk. It may
        also do so when its disk is slow and another member could lead.
        """
        leader, self.led = self.led, None
        if leader is None or node.term != self.term or node.id not in node.membership.voters:
            return None
        if member.journal is None or member.journal.full is not None:
            return None
        recent = node.now - node.options.election_timeout_max
        heard = {node.id} | {peer for peer, progress in leader.progress.items() if progress.last_contact >= recent}
        has_quorum = all(2 * sum(voter in heard for voter in voters) > len(voters) for voters in majorities)
        if not has_quorum or could_another_lead(node, leader, majorities):
            return None
        return (
            f"node {node.id} stops leading term {node.term}, and no other voter's disk is ahead of its own while a "
            "majority answers without it"
        )
