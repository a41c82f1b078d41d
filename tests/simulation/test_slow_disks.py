"""Clusters whose disks are all slow: a leader is elected all the same."""

import pytest

from kvraft.simulation import Cluster


@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.parametrize("save_s", [0.15, 0.25, 0.4])
def test_a_leader_is_elected_while_every_save_takes_longer_than_half_an_election_timeout(
    seed: int, save_s: float
) -> None:
    """A candidate's save and a voter's save follow each other, and together they take longer than a timeout."""
    cluster = Cluster(seed=seed)
    first = cluster.elect()
    cluster.kill(first)
    for member in cluster.members.values():
        member.faults.delay_s = save_s, save_s

    cluster.run_until(lambda: cluster.leader not in (None, first), at_most=20.0, what="a leader on slow disks")
