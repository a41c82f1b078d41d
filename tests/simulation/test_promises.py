"""What messages promise is compared with the disk of their sender."""

import pytest

from kvraft.raft import InvariantViolated
from kvraft.raft.messages import InstallSnapshot, InstallSnapshotReply
from kvraft.simulation import Cluster

ID = "0123456789abcdef0123456789abcdef"


def test_a_snapshot_called_installed_that_covers_more_than_the_disk_has_is_noticed() -> None:
    """Its leader sends it no more, and a crash would lose the rest (row 1)."""
    cluster = Cluster(seed=1)
    leader = cluster.elect()
    cluster.run_until(cluster.has_settled, what="one state on all members")
    follower = cluster.members[max(cluster.members.keys() - {leader})]
    term, durable = follower.node.term, follower.node.log.durable
    installed = InstallSnapshotReply(term, ID, 10, installed=True)

    cluster.checks.promised(cluster.members[leader], follower.id, InstallSnapshot(term, ID, durable, term, 10, 0, b""))
    cluster.checks.promised(follower, leader, installed)

    cluster.checks.promised(
        cluster.members[leader], follower.id, InstallSnapshot(term, ID, durable + 1, term, 10, 0, b"")
    )
    with pytest.raises(InvariantViolated, match=f"up to entry {durable + 1} installed, and its disk ends at {durable}"):
        cluster.checks.promised(follower, leader, installed)
