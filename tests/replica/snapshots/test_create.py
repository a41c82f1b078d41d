"""Replicas take snapshots, shorten their logs, and bring members back whose entries are gone (§7; row 18)."""

from collections.abc import Iterator

import pytest

from kvraft.raft.messages import AppendEntries, InstallSnapshot
from kvraft.store import chunks
from tests.replica.cluster import read
from tests.replica.disk_cluster import TINY, DiskCluster


@pytest.fixture
def cluster() -> Iterator[DiskCluster]:
    """Three members with disks and tiny limits; at the end no member has failed, and the logs match."""
    cluster = DiskCluster()
    cluster.settle()
    yield cluster
    cluster.check_compaction()
    cluster.check()


def test_a_log_that_has_grown_is_shortened_behind_a_snapshot(cluster: DiskCluster) -> None:
    """Every member takes snapshots by itself, and keeps of its log what late followers may need, on disk too."""
    cluster.write_many(100)
    cluster.run(1.0)

    for member in cluster.running:
        latest = cluster.snapshots[member.id].latest
        assert latest is not None
        log = member.node.log
        assert 0 < log.snapshot_index <= latest.header.index <= member.store.applied_index
        assert TINY.log_bytes_kept <= log.size < TINY.log_bytes_max + latest.size + TINY.log_bytes_kept
        assert cluster.journal_begins(member.id) == log.snapshot_index
    assert len(cluster.states()) == 1


def test_no_snapshot_before_it_is_time(cluster: DiskCluster) -> None:
    """While the log is shorter than the limit nothing is taken and nothing dropped."""
    cluster.write_many(5)
    cluster.run(1.0)

    assert all(cluster.snapshots[member.id].latest is None for member in cluster.running)
    assert all(member.node.log.snapshot_index == 0 for member in cluster.running)


def test_a_restarted_member_begins_with_its_snapshot_and_the_tail(cluster: DiskCluster) -> None:
    """What was applied before a crash is there again, from the snapshot and the entries after it."""
    cluster.write_many(100)
    cluster.run(1.0)
    before = cluster.states()

    for member in range(3):
        cluster.kill(member)
    for member in range(3):
        cluster.start(member)
    begun = {member.id: member.store.applied_index for member in cluster.running}
    cluster.settle()

    assert all(index > 0 for index in begun.values())
    ((digest, checksum, _),) = before
    assert {state[:2] for state in cluster.states()} == {(digest, checksum)}


def test_a_member_that_was_cut_off_receives_a_snapshot(cluster: DiskCluster) -> None:
    """A follower whose entries are gone from the leader's log catches up by a snapshot and the entries after it."""
    leader = cluster.elect()
    late = cluster.followers()[0]
    cluster.isolate(late, noticed=True)
    cluster.write_many(100)
    applied = cluster.members[late].store.applied_index
    assert cluster.members[leader].node.log.snapshot_index > applied

    cluster.heal()
    cluster.settle()

    assert any(isinstance(message, InstallSnapshot) for to, message in cluster.members[leader].sent if to == late)
    assert cluster.members[late].node.log.snapshot_index > applied
    assert len(cluster.states()) == 1


def test_a_member_that_was_late_a_little_receives_entries(cluster: DiskCluster) -> None:
    """What is kept of the log spares a follower that missed a few entries the snapshot."""
    leader = cluster.elect()
    late = cluster.followers()[0]
    cluster.write_many(40)
    cluster.run(1.0)
    log = cluster.members[leader].node.log
    cluster.isolate(late, noticed=True)
    while log.snapshot_index < cluster.members[late].node.log.last_index - 2:
        begin = log.snapshot_index
        cluster.write_many(1)
        cluster.run(0.01)
        if log.snapshot_index != begin:
            break
    assert log.snapshot_index <= cluster.members[late].node.log.last_index
    cluster.members[leader].sent.clear()

    cluster.heal()
    cluster.settle()

    sent = [message for to, message in cluster.members[leader].sent if to == late]
    assert not any(isinstance(message, InstallSnapshot) for message in sent)
    assert any(isinstance(message, AppendEntries) and message.entries for message in sent)


def test_two_installs_in_a_row(cluster: DiskCluster) -> None:
    """A follower that lags again at once installs the next snapshot over the first (row 18)."""
    cluster.elect()
    late = cluster.followers()[0]
    installed: list[int] = []
    for _ in range(2):
        cluster.isolate(late, noticed=True)
        cluster.write_many(80)
        cluster.heal()
        cluster.run_until(lambda: cluster.members[late].node.log.snapshot_index > max(installed, default=0))
        installed.append(cluster.members[late].node.log.snapshot_index)
    cluster.settle()

    assert installed[1] > installed[0] > 0
    assert len(cluster.states()) == 1


def test_a_member_that_was_never_there_receives_everything() -> None:
    """A member that first runs when the log has been shortened comes to the same state, and can be read from."""
    cluster = DiskCluster()
    cluster.kill(2)
    cluster.write_many(60)
    cluster.start(2)
    cluster.settle()

    assert cluster.members[2].node.log.snapshot_index > 0
    assert len(cluster.states()) == 1
    cluster.kill(cluster.elect())
    assert cluster.do(read("key3")) != [None]
    cluster.check()


def test_writes_that_overtake_a_snapshot_are_not_in_it(cluster: DiskCluster) -> None:
    """What is applied while a snapshot is taken belongs to the log after it, also for a member that installs it."""
    leader = cluster.elect()
    jobs = cluster.snapshots[leader].jobs
    cluster.write_many(10, size=40)
    jobs.delay = 0.2  # every slice takes long
    while not cluster.members[leader].taker.is_running:
        cluster.write_many(1)
    index = cluster.members[leader].store.applied_index
    cluster.write_many(10, keys=1)
    cluster.run_until(lambda: cluster.snapshots[leader].latest is not None)

    latest = cluster.snapshots[leader].latest
    assert latest is not None
    assert latest.header.index <= index < cluster.members[leader].store.applied_index
    state = latest.header.state["store"]
    assert isinstance(state, dict)
    assert state["applied_index"] == latest.header.index
    jobs.delay = 0.0
    cluster.restart(leader)
    assert cluster.members[leader].store.applied_index == latest.header.index
    cluster.settle()
    assert len(cluster.states()) == 1


def test_a_snapshot_keeps_up_with_the_writes(cluster: DiskCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow its disk is, it has written as much as was applied since it began, so that the log stays short."""
    monkeypatch.setattr(chunks, "CHUNK_ITEMS_FULL", 1)
    leader = cluster.elect()
    member = cluster.members[leader]
    cluster.write_many(100, keys=100)
    cluster.run(1.0)
    cluster.snapshots[leader].jobs.delay = 0.05
    begun, finished = member.node.log.last_index, member.taker.begin(member.store)
    while not finished.called:
        cluster.write_many(1)
    written = sum(len(member.node.log[index].record) for index in range(begun + 1, member.node.log.last_index + 1))
    latest = cluster.snapshots[leader].latest
    assert latest is not None
    assert 0.5 * latest.size < written < latest.size + TINY.log_bytes_max
    cluster.snapshots[leader].jobs.delay = 0.0


def test_a_snapshot_ahead_of_the_writes_pauses(cluster: DiskCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its steps, each of one chunk, take a third of the time."""
    monkeypatch.setattr(chunks, "CHUNK_ITEMS_FULL", 1)
    leader = cluster.elect()
    member = cluster.members[leader]
    cluster.write_many(30, size=1000, keys=10)
    cluster.run(1.0)
    jobs, delay = cluster.snapshots[leader].jobs, 0.02
    jobs.delay = delay
    began = cluster.clock.seconds()
    finished = member.taker.begin(member.store)
    while not finished.called:
        cluster.write_many(1, size=1, keys=1)
    assert 8 * delay * 3 <= cluster.clock.seconds() - began <= 15 * delay * 3
    jobs.delay = 0.0
