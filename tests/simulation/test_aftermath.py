"""What an operator may do to a cluster that is well: each scenario holds for every size of a cluster."""

from collections.abc import Callable
from random import Random

import pytest

from kvraft.simulation.aftermath import SCENARIOS
from kvraft.simulation.cluster import Cluster


@pytest.mark.parametrize("nodes", [1, 2, 3, 5])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_cluster_that_is_well_stands_it(scenario: Callable[[Cluster, Random], None], nodes: int) -> None:
    """A move into a dead end is refused, a cluster that has moved has a leader, and a copy takes no part."""
    for seed in range(2):
        cluster = Cluster(seed, nodes)
        cluster.elect()
        cluster.run_until(cluster.has_settled)
        scenario(cluster, Random(seed))
