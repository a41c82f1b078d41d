"""Power failures and kills between every two operations on a replica's disk while it takes or installs a snapshot.

`tests.storage.test_snapshot_crash` does so for the files alone. Here the whole replica comes back: its core, its store
and its promises to the others, which have gone on meanwhile (rows 16 to 18).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import attrs
import pytest

from kvraft.replica import SnapshotOptions
from kvraft.replica.snapshots import send
from kvraft.simulation.disk import PowerFailure, proceed
from kvraft.store import chunks as chunking
from tests.replica.cluster import write
from tests.replica.disk_cluster import DiskCluster

OPTIONS: Final = SnapshotOptions(log_bytes_max=1500, log_bytes_kept=300, absent_after=0.2)
NEVER: Final = 10**9
Begin = Callable[[DiskCluster, int], Callable[[], bool]]


@attrs.define
class Fuse:
    """Ends a member's process before the operation on its disk that comes after `left` others."""

    cluster: DiskCluster
    member: int
    left: int
    used: int = 0
    is_blown: bool = False

    def __call__(self, operation: str, path: Path) -> None:
        """Count one operation."""
        if self.used == self.left or self.is_blown:
            self.is_blown = True
            # Whatever the process still does reaches no disk, and what it says no member, until it is buried.
            self.cluster.journals[self.member].jobs.is_alive = False
            self.cluster.snapshots[self.member].jobs.is_alive = False
            raise PowerFailure(f"{operation} {path}")
        self.used += 1


def take_one(cluster: DiskCluster, member: int) -> Callable[[], bool]:
    """Have `member` take a snapshot and shorten its log while writes go on; return whether it is done."""
    taker = cluster.members[member].taker
    taker.begin(cluster.members[member].store)
    cluster.ask(cluster.elect(), write("meanwhile", "x"))
    return lambda: not taker.is_running


def install_one(cluster: DiskCluster, member: int) -> Callable[[], bool]:
    """Let `member` miss so much that it needs a snapshot, and come back; return whether it is done."""
    return install_some(cluster, member, 1)


def install_two(cluster: DiskCluster, member: int) -> Callable[[], bool]:
    """Let `member` install a snapshot, and cut it off again before anything else, so that it needs another one."""
    return install_some(cluster, member, 2)


def install_some(cluster: DiskCluster, member: int, count: int) -> Callable[[], bool]:
    """Let `member` miss so much that it needs a snapshot, `count` times; return whether the last one is in place."""
    begins: list[int] = []

    def miss() -> None:
        cluster.isolate(member, noticed=True)
        cluster.run(0.3)
        for number in range(14):
            cluster.do(write(f"key{number % 6}", f"{len(begins)} {number}".ljust(150, ".")))
        begins.append(cluster.members[member].node.log.snapshot_index)
        cluster.heal()

    def is_done() -> bool:
        if cluster.members[member].node.log.snapshot_index > begins[-1]:
            if len(begins) == count:
                return True
            miss()
        return False

    miss()
    return is_done


def tell(begin: Begin, moment: int, *, power: bool) -> int:
    """End a member's process before an operation, start it again, and check everything; return the operations used."""
    cluster = DiskCluster(snapshots=OPTIONS, seed=moment)
    cluster.settle()
    cluster.write_many(6, keys=6, size=100)
    cluster.settle()
    member = cluster.followers()[0]
    fuse = Fuse(cluster, member, moment)
    is_done = begin(cluster, member)
    cluster.disks[member].before = fuse
    cluster.run_until(lambda: fuse.is_blown or is_done(), at_most=20.0)
    used = fuse.used
    cluster.disks[member].before = proceed
    told = cluster.members[member].node.match_index
    cluster.kill(member, power=power)
    cluster.start(member)
    node, store = cluster.members[member].node, cluster.members[member].store
    latest = cluster.snapshots[member].latest
    assert store.applied_index == (latest.header.index if latest is not None else 0)
    assert node.log.snapshot_index <= store.applied_index <= node.log.last_index
    assert node.log.last_index >= min(told, node.log.durable)
    cluster.write_many(2)
    cluster.settle()
    assert len(cluster.states()) == 1
    cluster.write_many(40, keys=6, size=100)  # it goes on to take snapshots
    cluster.settle()
    newer = cluster.snapshots[member].latest
    assert newer is not None
    assert latest is None or newer.header.index > latest.header.index
    cluster.check_compaction()
    cluster.check()
    return used


@pytest.mark.parametrize(
    ("begin", "power"), [(take_one, False), (take_one, True), (install_one, False), (install_two, True)]
)
def test_a_member_comes_back_from_any_moment(monkeypatch: pytest.MonkeyPatch, begin: Begin, power: bool) -> None:
    """Wherever the process ended, a member starts with a snapshot and a log that fit each other, and catches up.

    The moments lie between any two operations of writing, receiving, verifying and naming a snapshot, of beginning the
    log anew after it, and of shortening the log (row 16); the snapshot before it is there until the new one is
    (row 17); and a second snapshot is installed right after the first (row 18).
    """
    monkeypatch.setattr(send, "PIECE_BYTES", 700)
    monkeypatch.setattr(chunking, "CHUNK_BYTES_FULL", 700)
    moments = tell(begin, NEVER, power=power)

    for moment in range(moments):
        assert tell(begin, moment, power=power) == moment

    assert moments > 10, "the story must be long enough to say something"
