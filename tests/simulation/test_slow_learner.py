"""A learner that was slow for ten rounds is promoted by the same leader, and the simulator notices where it is not."""

import pytest

from kvraft.raft import InvariantViolated, changes
from kvraft.raft.changes import CATCH_UP_ROUNDS_MAX
from kvraft.raft.node import Node
from kvraft.raft.progress import Progress
from kvraft.simulation import slow_learner
from kvraft.simulation.cluster import Cluster


@pytest.mark.parametrize(("seed", "nodes"), [(1, 3), (2, 3), (3, 1), (4, 5)])
def test_a_learner_that_was_slow_for_ten_rounds_votes_when_it_is_quick(seed: int, nodes: int) -> None:
    """By the leader that saw it slow, and within seconds."""
    cluster = Cluster(seed=seed, nodes=nodes)

    assert slow_learner.promote(cluster)

    assert cluster.members[cluster.elect()].node.membership.voters == set(range(nodes + 1))


def test_a_leader_that_gives_a_slow_learner_up_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test breaks a rule on purpose: ten long rounds are the last, as in the thesis, and the learner waits on."""
    ends_round = changes._ends_round

    def ends_one_of_ten(node: Node, progress: Progress) -> bool:
        return progress.rounds <= CATCH_UP_ROUNDS_MAX and ends_round(node, progress)

    monkeypatch.setattr(changes, "_ends_round", ends_one_of_ten)

    with pytest.raises(InvariantViolated, match="lets a round of node 3 go on"):
        slow_learner.promote(Cluster(seed=1))
