"""A leader whose newest snapshot decays while it runs: it takes a new one, so that members that need one get one."""

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvraft.commands import TakeSnapshot
from kvraft.raft.messages import InstallSnapshot
from kvraft.storage import Snapshot
from tests.replica.cluster import SOMEBODY
from tests.replica.disk_cluster import DiskCluster


@pytest.fixture
def cluster() -> Iterator[DiskCluster]:
    """Three members, of which one is down and needs a snapshot."""
    cluster = DiskCluster()
    cluster.settle()
    cluster.kill(late(cluster))
    cluster.write_many(80)
    cluster.run(1.0)
    yield cluster
    cluster.settle()
    assert len(cluster.states()) == 1
    cluster.check_compaction()
    cluster.check()


def late(cluster: DiskCluster) -> int:
    """The member that is down."""
    leader = cluster.elect()
    return next(member for member in cluster.members if member != leader)


def spoil_latest(cluster: DiskCluster) -> Snapshot:
    """Flip a bit in the middle of the leader's latest snapshot, and return that."""
    leader = cluster.elect()
    latest = cluster.snapshots[leader].latest
    assert latest is not None
    cluster.disks[leader].flip(latest.path, 8 * (latest.size // 2))
    return latest


def test_a_leader_takes_a_new_snapshot_when_its_latest_has_decayed(cluster: DiskCluster) -> None:
    """The member rejects what it received, and begins anew: that shows the leader to look at its own file."""
    leader, member = cluster.elect(), late(cluster)
    spoilt = spoil_latest(cluster)
    assert cluster.members[leader].store.applied_index > spoilt.header.index

    cluster.restart(member)
    cluster.run(20.0)

    latest = cluster.snapshots[leader].latest
    assert latest is not None
    assert latest.header.index > spoilt.header.index
    assert cluster.members[member].store.applied_index >= latest.header.index


def test_a_new_snapshot_waits_for_one_more_entry(cluster: DiskCluster) -> None:
    """Two snapshots of one state would have the same index; a write of a client is enough."""
    leader, member = cluster.elect(), late(cluster)
    cluster.members[leader].replica.intake.administer(SOMEBODY, TakeSnapshot())
    cluster.run(1.0)
    spoilt = spoil_latest(cluster)
    assert cluster.members[leader].store.applied_index == spoilt.header.index
    cluster.restart(member)
    cluster.run(20.0)
    assert cluster.snapshots[leader].latest == spoilt

    cluster.write_many(1)
    cluster.run(20.0)

    assert cluster.snapshots[leader].latest != spoilt
    assert cluster.members[member].store.applied_index > spoilt.header.index


def test_a_leader_takes_a_new_snapshot_when_its_latest_cannot_be_read(cluster: DiskCluster) -> None:
    """A sector that the disk cannot read any more is the other way in which a file decays."""
    leader, member = cluster.elect(), late(cluster)
    spoilt = cluster.snapshots[leader].latest
    assert spoilt is not None

    def refuse(operation: str, path: Path) -> None:
        if operation == "read" and path == spoilt.path:
            raise OSError(errno.EIO, "input/output error")

    cluster.disks[leader].before = refuse
    cluster.restart(member)
    cluster.run(20.0)

    assert cluster.snapshots[leader].latest != spoilt
    assert cluster.members[member].store.applied_index > spoilt.header.index


def test_a_leader_takes_a_new_snapshot_when_its_latest_was_cut_short(cluster: DiskCluster) -> None:
    """It does not send empty pieces without end, each of which looks like an offer to the member."""
    leader, member = cluster.elect(), late(cluster)
    spoilt = cluster.snapshots[leader].latest
    assert spoilt is not None
    inode = cluster.disks[leader].inodes[spoilt.path]
    for content in (inode.current, inode.durable):
        del content[spoilt.size // 2 :]

    cluster.restart(member)
    cluster.run(20.0)

    offers = [message for _, message in cluster.members[leader].sent if isinstance(message, InstallSnapshot)]
    assert len(offers) < 20
    assert cluster.snapshots[leader].latest != spoilt
    assert cluster.members[member].store.applied_index > spoilt.header.index


def test_a_member_that_begins_anew_for_another_reason_costs_no_new_snapshot(cluster: DiskCluster) -> None:
    """The leader's file is verified then, and is sound."""
    leader, member = cluster.elect(), late(cluster)
    latest = cluster.snapshots[leader].latest
    cluster.restart(member)
    refused: list[Path] = []

    def refuse(operation: str, path: Path) -> None:
        if operation == "rename" and path.name.startswith("incoming-") and not refused:
            refused.append(path)
            raise OSError(errno.EIO, "input/output error")

    cluster.disks[member].before = refuse
    cluster.run(20.0)

    assert refused
    assert cluster.snapshots[leader].latest == latest
