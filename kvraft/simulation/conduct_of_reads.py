"""Which answers confirm a leader's reads: checked from outside (thesis §6.4, rows 6 to 8)."""

from math import inf

import attrs

from kvraft.raft import Membership, Node
from kvraft.raft.roles import Leader
from kvraft.simulation.conduct import agree, demand, majorities


@attrs.define
class ReadRounds:
    """The rounds of heartbeats of one process, as of the previous event."""

    leader: Leader | None = None
    """The role of the leader whose rounds they are."""
    oldest: int = 1
    """The rounds before this one have been confirmed."""
    latest: int = 0
    """The round that had begun last."""
    membership: Membership | None = None
    """The configuration of the node after the previous event."""
    commit: int = 0
    """The commit index of the node after the previous event."""

    def after_each(self, node: Node, leader: Leader) -> None:
        """Check that a majority has answered each round that counts as confirmed, and that it can be.

        In a joint configuration that is a majority of the old voters and a majority of the new ones. A round that only
        some members are asked for has a time at which all are asked: one of them may have died.

        Raises:
            InvariantViolated: too few have answered, or were asked.
        """
        if leader is not self.leader:
            self.leader, self.oldest, self.latest = leader, 1, 0
        if leader.round > self.latest:
            self.latest = leader.round
            if leader.read_rounds:
                needed = min((read.index for read in leader.read_rounds[-1].reads), default=self.commit)
                demand(
                    needed >= self.commit,
                    f"node {node.id} answers reads at entry {needed}, and has committed entry {self.commit} (row 5)",
                )
            if leader.read_rounds and leader.ask_all_at == inf:
                left_out = [peer for peer, each in leader.progress.items() if each.asked_round < leader.round]
                demand(
                    not left_out,
                    f"node {node.id} begins round {leader.round} without nodes {left_out}, and will not ask them",
                )
        oldest = leader.read_rounds[0].round if leader.read_rounds else leader.round + 1
        if oldest > self.oldest:
            self.oldest = oldest
            answered = {peer for peer, progress in leader.progress.items() if progress.confirmed_round >= oldest - 1}
            answered.add(node.id)
            counted = [each for each in (self.membership, node.membership) if each is not None]
            if not any(agree(majorities(each), answered) for each in counted):
                demand(
                    False,
                    f"node {node.id} counts round {oldest - 1} as confirmed, and of "
                    f"{' and '.join(str(sorted(each)) for each in majorities(node.membership))} only "
                    f"{sorted(answered)} have answered it (thesis §6.4, row 6)",
                )
        self.membership, self.commit = node.membership, node.commit
