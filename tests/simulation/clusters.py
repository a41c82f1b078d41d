"""Clusters to which nothing has happened yet."""

from kvraft.simulation import Cluster


def healthy(seed: int, nodes: int = 3) -> Cluster:
    """Return a cluster that has a leader, and whose members have applied its whole log."""
    cluster = Cluster(seed, nodes)
    cluster.elect()
    cluster.run_until(cluster.has_settled, what="one state on all members")
    return cluster
