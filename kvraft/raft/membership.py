"""Who belongs to the cluster, and who decides (§6, thesis §4).

A membership has voters, learners, who receive the log but decide nothing (thesis §4.2.1), and, while a change is under
way, the outgoing voters, whose majority is needed as well. It changes only through entries of the log.
"""

from collections.abc import Iterable

import attrs

from kvraft.raft.quorum import Voters


def _ids(nodes: Iterable[int]) -> frozenset[int]:
    return frozenset(nodes)


@attrs.frozen
class Membership:
    """One configuration. Invariants: there is a voter; no learner is a voter."""

    voters: frozenset[int] = attrs.field(converter=_ids)
    outgoing: frozenset[int] = attrs.field(default=frozenset(), converter=_ids)
    learners: frozenset[int] = attrs.field(default=frozenset(), converter=_ids)

    def __attrs_post_init__(self) -> None:
        if not self.voters:
            raise ValueError("a cluster needs at least one voter")
        if self.learners & (self.voters | self.outgoing):
            raise ValueError("a member is either a voter or a learner")

    @property
    def majorities(self) -> tuple[Voters, ...]:
        """The sets of voters of each of which a majority must agree: two while a change is under way."""
        return (self.voters, self.outgoing) if self.outgoing else (self.voters,)

    @property
    def members(self) -> frozenset[int]:
        """Everyone who receives the log."""
        return self.voters | self.outgoing | self.learners

    def decides(self, node: int) -> bool:
        """Whether the vote and the acknowledgement of `node` count."""
        return node in self.voters or node in self.outgoing
