"""What arrives together costs the disk together."""

from typing import Final

import pytest

from tests.e2e.clients import Connection
from tests.e2e.processes import Cluster

WRITES: Final = 1000
SYNCS_MAX: Final = 4
"""Most syncs on the leader for all of WRITES: the chunk may reach the node in a few pieces, each one a save."""
ALONE: Final = 20
TRIES: Final = 5
"""How often it is tried: on a busy machine the kernel may cut the chunk into more pieces."""


def syncs(cluster: Cluster, node: int) -> int:
    """How often a node has synced its journal."""
    return int(cluster.status(node)["disk"]["syncs"])


def syncs_of_a_chunk(cluster: Cluster, leader: int, name: str) -> int:
    """Send all writes in one chunk, and return how many syncs they took on the leader."""
    with Connection(cluster.address(leader)) as connection:
        before = syncs(cluster, leader)
        answers = connection.request(*(f"SET {name}-{number} value" for number in range(WRITES)))
        assert answers == [{"status": "OK"}] * WRITES
        return syncs(cluster, leader) - before


@pytest.fixture
def leader(shared_cluster: Cluster) -> int:
    """The leader of a cluster at rest."""
    leader = shared_cluster.await_leader()
    shared_cluster.await_equal(shared_cluster.ids)
    return leader


def test_a_thousand_writes_share_their_syncs(shared_cluster: Cluster, leader: int) -> None:
    """A thousand SETs in one chunk cost the leader at most four syncs."""
    assert min(syncs_of_a_chunk(shared_cluster, leader, f"try-{number}") for number in range(TRIES)) <= SYNCS_MAX


def test_writes_alone_share_nothing(shared_cluster: Cluster, leader: int) -> None:
    """The count is honest: of writes that wait for each other, each costs a majority a sync, the leader or not."""
    before = sum(syncs(shared_cluster, node) for node in shared_cluster.ids)
    with Connection(shared_cluster.address(leader)) as connection:
        for number in range(ALONE):
            assert connection.request(f"SET alone-{number} value") == [{"status": "OK"}]

    assert sum(syncs(shared_cluster, node) for node in shared_cluster.ids) - before >= 2 * ALONE


def test_reads_and_idleness_cost_no_sync(shared_cluster: Cluster, leader: int) -> None:
    """Reads touch no disk, and neither do heartbeats: what is counted above belongs to the writes alone."""
    before = syncs(shared_cluster, leader)
    with Connection(shared_cluster.address(leader)) as connection:
        for _ in range(50):
            connection.request(*["GET try-0-1"] * 20)

    assert syncs(shared_cluster, leader) == before
