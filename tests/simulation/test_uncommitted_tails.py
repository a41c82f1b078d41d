"""A tail of an earlier leader that a message of the next one does not reach, in the simulator."""

from random import Random
from typing import Any

import pytest

from kvraft.raft import InvariantViolated, Node, node, replication
from kvraft.raft.messages import AppendEntries
from kvraft.simulation import Cluster
from kvraft.simulation.uncommitted_tails import send_short
from tests.simulation.clusters import healthy


@pytest.mark.parametrize("nodes", [1, 3, 5])
def test_a_cluster_that_is_well_stands_it(nodes: int) -> None:
    """The tail is replaced, and all have one state."""
    for seed in range(4):
        send_short(healthy(seed, nodes), Random(seed))


def test_a_tail_that_is_committed_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test breaks a rule on purpose: a follower takes the commit index for all that its log holds."""

    def commit_all(at: Node, sender: int, request: Any) -> None:
        replication.step_append_entries(at, sender, request)
        at.commit = max(at.commit, min(request.commit, at.log.last_index))

    monkeypatch.setitem(node._STEPS, AppendEntries, commit_all)

    with pytest.raises(InvariantViolated):
        send_short(Cluster(seed=1), Random(1))
