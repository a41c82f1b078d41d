"""By whom a leader has its reads confirmed; looked at from outside (thesis §6.4, rows 6 to 8)."""

import attrs

from kvraft.raft import Membership, Node
from kvraft.raft.roles import Leader
from kvraft.simulation.conduct import agree, demand, majorities


@attrs.define
class ReadRounds:
    """The rounds of heartbeats of one process, as they were last seen."""

    leader: Leader | None = None
    """The leadership whose rounds they are."""
    oldest: int = 1
    """The rounds before this one have been confirmed."""
    membership: Membership | None = None
    """By which it went."""

    def after_each(self, node: Node, leader: Leader) -> None:
        """Check that a majority has answered what counts as confirmed, in a joint configuration a majority of each.

        Raises:
            InvariantViolated: too few have.
        """
        if leader is not self.leader:
            self.leader, self.oldest = leader, 1
        oldest = leader.read_rounds[0].round if leader.read_rounds else leader.round + 1
        if oldest > self.oldest:
            self.oldest = oldest
            answered = {peer for peer, progress in leader.progress.items() if progress.confirmed_round >= oldest - 1}
            answered.add(node.id)
            counted = [each for each in (self.membership, node.membership) if each is not None]
            demand(
                any(agree(majorities(each), answered) for each in counted),
                f"node {node.id} takes round {oldest - 1} for confirmed, and of "
                f"{' and '.join(str(sorted(each)) for each in majorities(node.membership))} only {sorted(answered)} "
                "have answered it (thesis §6.4, row 6)",
            )
        self.membership = node.membership
