"""Snapshots and short logs on real processes: bounded directories, late members, damage (rows 16, 17)."""

import contextlib
import random
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.clients import Connection, read_back, wait_until, write
from tests.e2e.processes import Cluster, running_cluster
from tests.e2e.writer import Load

LIMITS: Final = {"log_bytes": 65_536, "log_kept_bytes": 16_384, "log_late_bytes": 0, "segment_bytes": 65_536}
"""The smallest that config.json takes."""
HISTORY: Final = {"revisions": 100}
"""A history of about as many bytes as the keys have: a snapshot holds both."""
DIRECTORY_BYTES_MAX: Final = 3 * 1024 * 1024
"""More than a directory can hold with these limits and a hundred keys of a kilobyte; far less than is written."""
ROUNDS: Final = 4
DAMAGED_AT: Final = 300
"""Offset of a byte inside a snapshot's content."""
EX_IOERR: Final = 74


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Three nodes with tiny limits, and a leader."""
    with running_cluster(tmp_path / "cluster", limits=LIMITS, history=HISTORY) as cluster:
        yield cluster


def data_bytes(cluster: Cluster, node: int) -> int:
    """What a node's directory takes; the node may remove a file between our finding it and our asking for its size."""
    total = 0
    for path in (cluster.folder / "data" / str(node)).iterdir():
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def snapshots(cluster: Cluster, node: int) -> list[Path]:
    """The finished snapshots of a node, oldest first."""
    folder = cluster.folder / "data" / str(node)
    return sorted(path for path in folder.glob("snapshot-*") if not path.suffix)


def finish_snapshots(cluster: Cluster, node: int) -> None:
    """Wait until the snapshot that a node takes is there and its log is short; it takes one if it takes none."""
    with Connection(cluster.address(node)) as connection:
        connection.request("SNAPSHOT")


def overwrite(cluster: Cluster, count: int, *, keys: int = 100, size: int = 1000) -> dict[str, str]:
    """Write `count` values over `keys` keys, at the leader; return what stands there at the end."""
    last: dict[str, str] = {}
    leader = cluster.address(cluster.await_leader())
    for begin in range(0, count, keys):
        last = {f"key-{number}": f"{begin} {'x' * size}" for number in range(keys)}
        write([leader], last)
    return last


def test_directories_stay_small(cluster: Cluster) -> None:
    """However much is written over the same keys, a directory holds a few snapshots and segments, never the whole."""
    largest, last = 0, {}
    for _ in range(3):
        last = overwrite(cluster, 2000)
        largest = max(largest, *(data_bytes(cluster, node) for node in cluster.ids))

    assert largest < DIRECTORY_BYTES_MAX
    cluster.await_equal()
    assert read_back(cluster.addresses, list(last)) == last
    assert all("took a snapshot up to entry" in cluster.log(node) for node in cluster.ids)
    # A node has one more from the moment when a new one has its name until the oldest one is removed.
    wait_until("one or two snapshots", lambda: all(1 <= len(snapshots(cluster, node)) <= 2 for node in cluster.ids))


def test_restart_reads_the_snapshot_and_the_tail(cluster: Cluster) -> None:
    """After all are killed each node begins with its snapshot's keys and the entries after it."""
    last = overwrite(cluster, 1000)
    before = cluster.await_equal()

    cluster.kill()
    cluster.start()
    cluster.await_leader()

    for node in cluster.ids:
        found = re.findall(rf"node {node} read (\d+) keys and (\d+) entries", cluster.log(node))
        keys, entries = map(int, found[-1])
        assert keys > 0
        assert entries < before["applied"]
    after = cluster.await_equal()
    assert (after["checksum"], after["keys"]) == (before["checksum"], before["keys"])
    assert read_back(cluster.addresses, list(last)) == last


def test_killed_at_any_moment(cluster: Cluster) -> None:
    """Nodes that are killed and started again under load, in the middle of snapshots, lose nothing acknowledged."""
    choose = random.Random(20)
    with Load(cluster.addresses, value_bytes=2000) as load:
        for _ in range(ROUNDS):
            load.await_acknowledged(60)
            time.sleep(choose.random() / 4)
            victims = choose.sample(list(cluster.ids), choose.choice((1, 2, 3)))
            cluster.kill(*victims)
            cluster.start(*victims)
            cluster.await_leader()
        load.await_acknowledged(60)

    load.check()
    cluster.await_equal(cluster.ids)
    assert sum(cluster.log(node).count("took a snapshot") for node in cluster.ids) > ROUNDS


def test_a_late_follower_catches_up_while_writes_go_on(cluster: Cluster) -> None:
    """A follower whose entries are gone receives a snapshot; meanwhile and afterwards writes are acknowledged."""
    leader = cluster.await_leader()
    late = next(node for node in cluster.ids if node != leader)
    cluster.kill(late)
    overwrite(cluster, 1000)
    with Load(cluster.addresses) as load:
        load.await_acknowledged(20)
        cluster.start(late)
        cluster.await_log(late, "installed a snapshot up to entry")
        load.await_acknowledged(50)

    load.check()
    assert f"sends node {late} the snapshot" in cluster.log(leader)
    cluster.await_equal(cluster.ids)


def test_a_follower_that_was_frozen_catches_up(cluster: Cluster) -> None:
    """A node that stood still while the others went far ahead is brought back, whatever waits in its sockets."""
    leader = cluster.await_leader()
    late = next(node for node in cluster.ids if node != leader)
    leader_address = [cluster.address(leader)]
    process = cluster.processes[late]
    process.signal(signal.SIGSTOP)
    try:
        for begin in range(10):
            write(leader_address, {f"key-{number}": f"{begin} {'x' * 1000}" for number in range(100)})
    finally:
        process.signal(signal.SIGCONT)

    cluster.await_equal(cluster.ids)


def damage(path: Path) -> None:
    """Change one byte."""
    content = bytearray(path.read_bytes())
    content[DAMAGED_AT] ^= 1
    path.write_bytes(content)


def test_a_damaged_snapshot_is_refused_in_words(tmp_path: Path) -> None:
    """A node whose log begins after a damaged snapshot says so and does not start; the others serve on (row 17)."""
    # Nothing is kept of the log before the newest snapshot: it cannot reach back to the one before that.
    with Cluster(tmp_path / "cluster", limits={**LIMITS, "log_kept_bytes": 0}, history=HISTORY) as cluster:
        cluster.start()
        last = overwrite(cluster, 1000)
        cluster.await_equal()
        victim = next(node for node in cluster.ids if node != cluster.await_leader())
        finish_snapshots(cluster, victim)
        cluster.kill(victim)
        newest = snapshots(cluster, victim)[-1]
        damage(newest)

        cluster.start(victim)
        status = cluster.await_end(victim)

        said = cluster.processes[victim].said
        assert status == EX_IOERR
        assert f"{newest} is damaged at offset" in said
        assert "move the directory" in said
        assert "Traceback" not in said
        assert read_back([cluster.address(cluster.await_leader())], list(last)) == last


def test_a_damaged_snapshot_that_the_log_does_not_need(tmp_path: Path) -> None:
    """Where the log reaches back to the snapshot before it, a damaged one is removed, reported, and not missed."""
    limits = {**LIMITS, "log_kept_bytes": 1024 * 1024}
    with running_cluster(tmp_path / "cluster", limits=limits, history=HISTORY) as cluster:
        last: dict[str, str] = {}
        for _ in range(2):
            last = overwrite(cluster, 100)
            cluster.await_equal()
            for node in cluster.ids:
                finish_snapshots(cluster, node)
        assert all(len(snapshots(cluster, node)) == 2 for node in cluster.ids)
        victim = next(node for node in cluster.ids if node != cluster.await_leader())
        cluster.kill(victim)
        newest = snapshots(cluster, victim)[-1]
        damage(newest)

        cluster.start(victim)

        cluster.await_equal(cluster.ids)
        assert f"{newest} is damaged at offset" in cluster.processes[victim].said
        assert not newest.exists()
        assert read_back(cluster.addresses, list(last)) == last


def test_snapshot_on_request(cluster: Cluster) -> None:
    """A node that is asked to takes a snapshot at once, and begins with it the next time."""
    write(cluster.addresses, {"one": "1"})
    node = cluster.await_leader()
    cluster.await_equal()
    assert snapshots(cluster, node) == []

    with Connection(cluster.address(node)) as connection:
        (answer,) = connection.request("SNAPSHOT")

    assert "error" not in answer
    wait_until("a snapshot", lambda: snapshots(cluster, node))
