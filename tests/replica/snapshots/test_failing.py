"""What fails while a snapshot is taken harms nothing, what fails in the journal is fatal; members without a disk."""

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from twisted.internet.defer import fail

from kvraft.raft.messages import InstallSnapshot, InstallSnapshotReply
from kvraft.replica import ReplicaOptions
from kvraft.simulation.disk import proceed
from kvraft.storage import SnapshotHeader
from kvraft.storage.errors import JournalFailed
from tests.replica.cluster import HUNG_S, Cluster, write
from tests.replica.disk_cluster import DIRECTORY, TINY, DiskCluster

DRAFT: Final = ".draft"
"""What the name of a file ends with that is not a whole snapshot yet."""


@pytest.fixture
def cluster() -> Iterator[DiskCluster]:
    """Three members with tiny limits that have taken no snapshot yet."""
    cluster = DiskCluster()
    cluster.settle()
    yield cluster
    cluster.check_compaction()
    cluster.check()


@pytest.mark.parametrize("step", ["create", "pwrite", "fdatasync", "rename"])
def test_a_snapshot_that_fails_is_taken_later(cluster: DiskCluster, step: str) -> None:
    """A disk that refuses a snapshot costs nothing but a longer log; it is asked again after a pause."""
    leader = cluster.elect()
    disk, tries = cluster.disks[leader], []

    def refuse(operation: str, path: Path) -> None:
        if operation == step and path.name.startswith("snapshot") and path.suffix == DRAFT:
            tries.append(path)
            raise OSError(errno.ENOSPC, "no space")

    disk.before = refuse
    while not tries:
        cluster.write_many(1)
    cluster.run(1.0)
    assert len(tries) == 1
    assert cluster.members[leader].node.log.snapshot_index == 0
    assert cluster.members[leader].fatal == []

    disk.before = proceed
    cluster.run(11.0)  # longer than the pause; no client writes

    assert cluster.snapshots[leader].latest is not None
    assert cluster.members[leader].node.log.snapshot_index > 0
    assert len(cluster.states()) == 1


def test_a_journal_that_fails_to_be_shortened_is_fatal(cluster: DiskCluster) -> None:
    """The node stops at once: nothing may be written after a write that failed."""
    victim = cluster.followers()[0]
    error = JournalFailed("write to", DIRECTORY / "log", DIRECTORY, OSError(5, "input/output error"))
    cluster.journals[victim].compact = lambda *_: fail(error)  # type: ignore[method-assign]
    cluster.write_many(60)
    cluster.run(1.0)

    assert len(cluster.members[victim].fatal) == 1
    cluster.restart(victim)
    cluster.settle()
    assert len(cluster.states()) == 1


def test_the_log_is_never_shortened_beyond_what_is_durable(cluster: DiskCluster) -> None:
    """A member whose own disk is late applies what the others have stored, and keeps in its log what it has not."""
    slow = cluster.followers()[0]
    cluster.write_many(10)
    cluster.journals[slow].delay = 60.0
    begun = cluster.members[slow].node.log.durable
    for number in range(60):
        cluster.do(write(f"key{number}", "x" * 60))
    log = cluster.members[slow].node.log
    cluster.run_until(lambda: cluster.snapshots[slow].latest is not None)
    cluster.run(1.0)

    latest = cluster.snapshots[slow].latest
    assert latest is not None
    assert latest.header.index > log.durable, "the snapshot has overtaken the log's own disk"
    assert log.snapshot_index <= begun
    cluster.journals[slow].delay = 0.0
    cluster.run(130.0)
    cluster.settle()
    assert len(cluster.states()) == 1


def test_killed_with_a_snapshot_that_has_overtaken_the_log(cluster: DiskCluster) -> None:
    """A member that dies before the entries are durable that its snapshot covers begins after the snapshot."""
    slow = cluster.followers()[0]
    cluster.write_many(10)
    cluster.journals[slow].delay = HUNG_S
    for number in range(60):
        cluster.do(write(f"key{number}", "x" * 60))
    cluster.run_until(lambda: cluster.snapshots[slow].latest is not None)
    latest = cluster.snapshots[slow].latest
    assert latest is not None
    assert latest.header.index > cluster.members[slow].node.log.durable

    cluster.restart(slow)

    assert cluster.members[slow].store.applied_index == latest.header.index
    cluster.settle()
    assert len(cluster.states()) == 1


def test_an_installed_snapshot_is_confirmed_only_when_the_log_is_durable(cluster: DiskCluster) -> None:
    """What is committed by the others' disks and not yet on this one is not confirmed to the leader: no crash may
    take back what the leader will never send again.
    """
    leader, slow = cluster.elect(), cluster.followers()[0]
    cluster.write_many(10)
    cluster.journals[slow].delay = 1.0
    cluster.write_many(5)
    cluster.run(0.3)
    node = cluster.members[slow].node
    assert node.log.durable < node.commit
    commit, durable = node.commit, node.log.durable
    for index in (commit, durable):
        cluster.members[slow].receiver.receive(leader, _piece(node.term, index))
    cluster.run(0.0)
    assert (node.commit, node.log.durable) == (commit, durable)
    cluster.journals[slow].delay = 0.0
    cluster.run(5.0)

    replies = [message for _, message in cluster.members[slow].sent if isinstance(message, InstallSnapshotReply)]
    assert [reply.installed for reply in replies] == [True]


def test_a_piece_is_answered_only_when_its_term_is_durable(cluster: DiskCluster) -> None:
    """The answer is said in the term of the leader that sent the piece: no crash may take this node back before it."""
    leader, slow = cluster.elect(), cluster.followers()[0]
    cluster.write_many(10)
    cluster.journals[slow].delay = 1.0
    member = cluster.members[slow]
    term = member.node.term + 1
    del member.sent[:]

    member.replica.inbox.receive(leader, [_piece(term, member.node.log.last_index + 50)])
    cluster.run(0.5)
    assert member.node.durable_hard_state.term < term
    assert not any(isinstance(message, InstallSnapshotReply) for _, message in member.sent)

    cluster.run(3.0)
    assert (leader, InstallSnapshotReply(term, "0" * 32, 0)) in member.sent
    cluster.journals[slow].delay = 0.0
    cluster.run(5.0)


def _piece(term: int, index: int) -> InstallSnapshot:
    return InstallSnapshot(term, "0" * 32, index, term, 1000, 0)


def test_a_stopped_node_gives_its_snapshot_up(cluster: DiskCluster) -> None:
    """A node that is asked to stop in the middle of a snapshot leaves nothing of it on disk."""
    member = cluster.followers()[0]
    cluster.snapshots[member].jobs.delay = 0.5
    while not cluster.members[member].taker.is_running:
        cluster.write_many(1)
    cluster.members[member].replica.stop()
    cluster.run(3.0)

    assert cluster.snapshots[member].latest is None
    assert not [name for name in cluster.file_names(member) if "snapshot" in name]


def test_a_member_without_a_disk_comes_back_by_a_snapshot() -> None:
    """One that keeps nothing installs a snapshot, catches up after it and votes again (durability "memory")."""
    cluster = Cluster(forgets=True, options=ReplicaOptions(snapshots=TINY))
    cluster.settle()
    for number in range(80):
        cluster.do(write(f"key{number % 10}", "x" * 40))
    member = cluster.followers()[0]

    cluster.restart(member)
    cluster.do(write("more"))
    cluster.settle()

    assert cluster.members[member].node.log.snapshot_index > 0
    assert cluster.members[member].node.voting
    assert len(cluster.states()) == 1
    cluster.check()


def test_the_membership_travels_with_the_snapshot(cluster: DiskCluster) -> None:
    """The configuration that a snapshot holds is that of its last entry."""
    cluster.write_many(60)
    cluster.run(1.0)
    for member in cluster.running:
        latest = cluster.snapshots[member.id].latest
        assert latest is not None
        assert isinstance(latest.header, SnapshotHeader)
        assert latest.header.state["membership"] == member.node.membership.encode().decode()
