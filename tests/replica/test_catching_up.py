"""A member is brought up to date beside a service that goes on: the log stays for it, and nothing is done at once."""

from collections.abc import Iterator, Sequence, Sized
from typing import Final

import attrs
import pytest
from twisted.internet.defer import Deferred

from kvraft.raft.messages import InstallSnapshot
from kvraft.raft.progress import State
from kvraft.replica import SnapshotOptions
from kvraft.replica.pacing import forget
from kvraft.replica.snapshots import create, receive, send
from kvraft.storage import Snapshot
from kvraft.store import chunks as chunking
from tests.replica.cluster import write
from tests.replica.disk_cluster import TINY, DiskCluster

PATIENT: Final = attrs.evolve(TINY, log_bytes_for_late=60_000)
"""A newer snapshot is taken when 30,000 bytes were written while one is sent."""
HEARD_S: Final = 0.05
"""In this time a member whose links are healed answers for the first time, seconds."""
SOON: Final = 0.3
"""Longer than it takes to count a member as absent here, seconds."""


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let snapshots travel, and be read and loaded, in many small pieces."""
    monkeypatch.setattr(send, "PIECE_BYTES", 512)
    monkeypatch.setattr(send, "WINDOW_BYTES", 2048)
    monkeypatch.setattr(chunking, "CHUNK_BYTES_FULL", 1024)


def with_a_late_member(options: SnapshotOptions) -> tuple[DiskCluster, int, int]:
    """Return a cluster, its leader, and a follower that is cut off and lacks entries which are gone."""
    cluster = DiskCluster(snapshots=options)
    leader = cluster.settle()
    late = cluster.followers()[0]
    cluster.write_many(20, keys=20, size=100)
    cluster.settle()
    cluster.isolate(late, noticed=True)
    cluster.run(SOON)
    cluster.write_many(80, keys=60, size=200)
    assert cluster.members[leader].node.log.snapshot_index > cluster.members[late].node.log.last_index
    return cluster, leader, late


@pytest.fixture
def patient() -> Iterator[tuple[DiskCluster, int, int]]:
    """What `with_a_late_member` makes, where a leader keeps as much of its log as anybody needs."""
    cluster, leader, late = with_a_late_member(PATIENT)
    yield cluster, leader, late
    cluster.check_compaction()
    cluster.check()


def sent_to(cluster: DiskCluster, leader: int, late: int) -> list[str]:
    """Return the ids of the snapshots that a leader has sent to a member, in order."""
    sent = [message for to, message in cluster.members[leader].sent if to == late]
    return list(dict.fromkeys(message.snapshot for message in sent if isinstance(message, InstallSnapshot)))


def write_while_it_is_away(cluster: DiskCluster, leader: int, late: int) -> int:
    """Heal the links and write until the member is in step again; return how many snapshots the leader took meanwhile.

    The member's disk is slow, so that the transfer takes many times as long as the leader needs to take a snapshot.
    """
    cluster.snapshots[late].jobs.delay = 0.01
    cluster.members[leader].sent.clear()
    begun = cluster.snapshots[leader].latest
    cluster.heal()
    cluster.run(HEARD_S)
    taken = {begun.header.id if begun is not None else None}
    behind = cluster.members[leader].node.log.last_index
    for number in range(3000):
        cluster.do(write(f"key{number % 60}", f"{number}".ljust(200, ".")))
        latest = cluster.snapshots[leader].latest
        assert latest is not None
        taken.add(latest.header.id)
        if cluster.members[late].store.applied_index > behind:
            break
    cluster.snapshots[late].jobs.delay = 0.001
    return len(taken) - 1


def test_one_snapshot_is_enough_however_much_is_written(patient: tuple[DiskCluster, int, int]) -> None:
    """Entries after a snapshot that is on its way stay in the leader's log until it is installed, newer ones or not.

    Else the member would find them gone, need the next snapshot, and could lag for ever (row 18).
    """
    cluster, leader, late = patient

    taken = write_while_it_is_away(cluster, leader, late)
    cluster.settle()

    assert taken >= 1, "the leader has taken a newer one meanwhile"
    assert len(sent_to(cluster, leader, late)) == 1
    assert len(cluster.states()) == 1


def hold_for_the_late(cluster: DiskCluster, leader: int, late: int) -> Snapshot:
    """Let a leader take a snapshot while the late member receives the one before, and return the newer one."""
    cluster.snapshots[late].jobs.delay = 0.05
    cluster.members[leader].sent.clear()
    cluster.heal()
    cluster.run(HEARD_S)
    begun = latest = cluster.snapshots[leader].latest
    number = 0
    while latest is None or latest == begun:
        cluster.do(write(f"key{number % 60}", f"{number}".ljust(200, ".")))
        latest, number = cluster.snapshots[leader].latest, number + 1
    cluster.run(HEARD_S)
    assert held(cluster, leader) > TINY.log_bytes_kept, "nothing stays for the member that receives the older one"
    return latest


def held(cluster: DiskCluster, leader: int) -> int:
    """Return how many bytes of a leader's log its latest snapshot covers."""
    latest, log = cluster.snapshots[leader].latest, cluster.members[leader].node.log
    assert latest is not None
    return sum(len(entry.record) for entry in log.slice(log.snapshot_index + 1, latest.header.index))


def test_what_stays_is_given_up_when_the_member_has_it(patient: tuple[DiskCluster, int, int]) -> None:
    """It goes from memory and disk when the last member has it, and not with the next snapshot: that may take long."""
    cluster, leader, late = patient
    latest = hold_for_the_late(cluster, leader, late)
    cluster.snapshots[late].jobs.delay = 0.001
    cluster.settle()
    cluster.run(0.5)

    assert cluster.snapshots[leader].latest == latest, "there was no other snapshot"
    assert held(cluster, leader) <= TINY.log_bytes_kept
    assert cluster.journals[leader].journal.extent.base_index == cluster.members[leader].node.log.snapshot_index


def test_what_stays_is_not_given_up_while_a_member_lacks_it(patient: tuple[DiskCluster, int, int]) -> None:
    """However long that is silent: when it comes back before the next snapshot, it finds the entries."""
    cluster, leader, late = patient
    hold_for_the_late(cluster, leader, late)
    cluster.snapshots[late].jobs.delay = 0.001
    progress = cluster.members[leader].node.progress_of(late)
    assert progress is not None
    while progress.state is State.SNAPSHOT:
        cluster.run(0.001)
    cluster.isolate(late, noticed=True)
    cluster.run(SOON)
    assert held(cluster, leader) > TINY.log_bytes_kept

    cluster.heal()
    cluster.settle()
    assert len(sent_to(cluster, leader, late)) == 1
    cluster.run(0.5)
    assert held(cluster, leader) <= TINY.log_bytes_kept


def test_what_stays_is_given_up_when_another_node_leads(patient: tuple[DiskCluster, int, int]) -> None:
    """That one has sent the member what it lacks, from its own log; until it leads, the old leader may be elected."""
    cluster, old, late = patient
    latest = hold_for_the_late(cluster, old, late)
    cluster.snapshots[late].jobs.delay = 0.001
    cluster.isolate(old, noticed=True)
    cluster.await_other_leader(old)
    cluster.run_until(lambda: cluster.members[old].node.leader is None)
    cluster.run(0.5)
    assert held(cluster, old) > TINY.log_bytes_kept

    cluster.heal()
    cluster.run_until(lambda: cluster.members[old].node.leader not in {None, old})
    cluster.run(0.5)
    assert cluster.snapshots[old].latest == latest, "there was no other snapshot"
    assert held(cluster, old) <= TINY.log_bytes_kept


def test_what_stays_is_bounded() -> None:
    """A member that never gets on costs no more of the log than the limit, or twice the snapshot's size."""
    options = attrs.evolve(TINY, log_bytes_for_late=5000)
    cluster, leader, late = with_a_late_member(options)
    cluster.snapshots[late].jobs.delay = 1e6
    cluster.heal()
    longest = 0
    for number in range(400):
        cluster.do(write(f"key{number % 5}", f"{number}".ljust(200, ".")))
        longest = max(longest, cluster.members[leader].node.log.size)
    cluster.run(1.0)

    latest = cluster.snapshots[leader].latest
    assert latest is not None
    assert cluster.members[late].store.applied_index < 80, "it was not to come along"
    kept = max(options.log_bytes_for_late, 2 * latest.size)
    assert longest < kept + TINY.log_bytes_max + 2 * latest.size
    assert cluster.members[leader].node.log.size > kept - 300, "nothing stayed for it"
    cluster.snapshots[late].jobs.delay = 0.001
    cluster.stop()


def test_nothing_stays_for_who_is_absent() -> None:
    """The log is not kept for a member that sends nothing: it may never come back."""
    cluster, leader, _ = with_a_late_member(PATIENT)
    cluster.write_many(120, keys=60, size=200)
    cluster.run(1.0)

    latest, log = cluster.snapshots[leader].latest, cluster.members[leader].node.log
    assert latest is not None
    assert log.size < TINY.log_bytes_kept + TINY.log_bytes_max + latest.size + 300
    cluster.check()


def count_rests(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Write down every rest between two slices."""
    rests: list[float] = []

    async def note(_clock: object, since: float, *_: float) -> None:
        rests.append(since)

    monkeypatch.setattr(create, "rest", note)
    return rests


def test_slices_rest_while_the_node_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the slices of a snapshot there is a rest when others had a turn, and none on an idle node."""
    cluster = DiskCluster(snapshots=SnapshotOptions())
    leader = cluster.settle()
    cluster.write_many(80, keys=80, size=500)
    cluster.run(1.0)
    rests = count_rests(monkeypatch)
    slices: list[int] = []
    save_slice = cluster.snapshots[leader].write

    def count(chunks: Sequence[bytes]) -> object:
        slices.append(sum(map(len, chunks)))
        return save_slice(chunks)

    cluster.snapshots[leader].write = count  # type: ignore[method-assign, assignment]
    taker = cluster.members[leader].taker

    taker.begin(cluster.members[leader].store)
    cluster.run_until(lambda: not taker.is_running)
    idle = len(rests)
    cluster.write_many(1)
    taker.begin(cluster.members[leader].store)
    while taker.is_running:
        cluster.write_many(1)

    assert len(slices) > 30
    assert idle <= 1, "a heartbeat may fall between two slices"
    assert len(rests) - idle >= 4
    cluster.check()


def test_what_is_replaced_is_freed_in_pieces(
    patient: tuple[DiskCluster, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an installation the old store, and before it the old log, go step by step; loading rests as well."""
    cluster, leader, late = patient
    member = cluster.members[late]
    old, old_last = member.store, member.node.log.last_index
    freed: list[Sized] = []
    forgotten: list[int] = []
    rests: list[float] = []

    async def note_freed(_clock: object, pieces: list[Sized]) -> None:
        freed.extend(pieces)

    async def note_forgotten(*what: object) -> None:
        await forget(*what)  # type: ignore[arg-type]
        forgotten.append(member.node.log.snapshot_index)

    async def note_rest(_clock: object, since: float, *_: float) -> None:
        rests.append(since)

    monkeypatch.setattr(receive, "free", note_freed)
    monkeypatch.setattr(receive, "forget", note_forgotten)
    monkeypatch.setattr(receive, "rest", note_rest)
    keys = old.key_count
    assert keys > 0

    cluster.members[leader].sent.clear()
    cluster.heal()
    cluster.settle()

    assert len(sent_to(cluster, leader, late)) == 1
    assert member.store is not old
    assert sum(len(piece) for piece in freed if isinstance(piece, dict)) == keys
    assert list(old.keys.items()) == []
    assert 0 < forgotten[0] <= old_last
    assert len(rests) >= 60 * 200 // 1024


def test_a_snapshot_of_a_store_that_is_replaced_is_given_up(patient: tuple[DiskCluster, int, int]) -> None:
    """A member that is taking a snapshot when it installs a newer one leaves no trace of its own."""
    cluster, _, late = patient
    member = cluster.members[late]
    taker = member.taker
    write_slice = cluster.snapshots[late].write
    waiting: list[Deferred[None]] = []

    def wait(_: None) -> Deferred[None]:
        waiting.append(Deferred())
        return waiting[-1]

    def hold(chunks: Sequence[bytes]) -> Deferred[None]:
        written: Deferred[None] = write_slice(chunks)
        return written.addCallback(wait)

    cluster.snapshots[late].write = hold  # type: ignore[method-assign]
    taker.begin(member.store)
    cluster.run_until(lambda: bool(waiting))
    old = member.store

    cluster.heal()
    cluster.run_until(lambda: member.store is not old)
    assert taker.is_running
    waiting.pop().callback(None)
    cluster.run_until(lambda: not taker.is_running)

    cluster.settle()
    assert not any(name.endswith(".draft") for name in cluster.file_names(late) if name.startswith("snapshot-"))
    assert len(cluster.states()) == 1
