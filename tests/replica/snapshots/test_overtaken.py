"""A snapshot that the log of its receiver has grown past while it was loaded (row 18)."""

from twisted.internet.defer import Deferred

from kvraft.commands import TakeSnapshot
from kvraft.raft.messages import InstallSnapshot
from tests.replica.cluster import SOMEBODY, write
from tests.replica.disk_cluster import DiskCluster


def test_a_snapshot_that_was_overtaken_leaves_the_log_after_it() -> None:
    """While it was loaded the log has grown past it, and no snapshot covers what came later: others may need that.

    The test stops the receiver between two steps: the look at the log, and the load of the snapshot.
    """
    cluster = DiskCluster()
    cluster.settle()
    behind = cluster.members[cluster.followers()[0]]
    cluster.do(write("a"))
    done = behind.replica.intake.administer(SOMEBODY, TakeSnapshot())
    cluster.run_until(lambda: done.called)
    snapshot = cluster.snapshots[behind.id].latest
    assert snapshot is not None
    for _ in range(5):
        cluster.do(write("a"))
    cluster.settle()
    assert behind.node.log.durable > snapshot.header.index
    piece = InstallSnapshot(
        behind.node.term, snapshot.header.id, snapshot.header.index, snapshot.header.term, snapshot.size, 0
    )

    installed = Deferred.fromCoroutine(behind.receiver._install(cluster.elect(), piece, snapshot))
    cluster.run_until(lambda: installed.called)

    assert behind.node.log.snapshot_index <= snapshot.header.index
    cluster.check_compaction()
    cluster.check()
