"""`"durability": "memory"`: nothing on disk, and a node that has lost its memory does no harm (rows 1, 2)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.clients import read_back, write
from tests.e2e.processes import Cluster, running_cluster
from tests.e2e.writer import Load


@pytest.fixture
def forgetful(tmp_path: Path) -> Iterator[Cluster]:
    """Three nodes that keep nothing on disk."""
    with running_cluster(tmp_path / "memory", durability="memory") as cluster:
        yield cluster


def test_nothing_on_disk(forgetful: Cluster) -> None:
    """It serves, makes no data folder, and each node says at its start what this mode gives up."""
    write(forgetful.addresses, {"key": "value"})

    assert read_back(forgetful.addresses, ["key"]) == {"key": "value"}
    assert not (forgetful.folder / "data").exists()
    for node in forgetful.ids:
        assert "durability is 'memory': nothing is kept on disk" in forgetful.log(node)
        assert forgetful.status(node)["disk"]["segments"] == 0


def test_restarted_node_rejoins(forgetful: Cluster) -> None:
    """One after the other is killed under load and comes back empty: it catches up, votes again, nothing is lost."""
    with Load(forgetful.addresses) as load:
        load.await_acknowledged(100)
        for node in forgetful.ids:
            forgetful.kill(node)
            load.await_acknowledged(50)
            forgetful.start(node)
            forgetful.await_log(node, "caught up with all it may have promised")
            load.await_acknowledged(50)

    load.check()
    assert forgetful.await_equal(forgetful.ids)["keys"] >= 100
    assert all(forgetful.status(node)["voting"] for node in forgetful.ids)


def test_all_restarted(forgetful: Cluster) -> None:
    """When all members were down together they begin anew, empty, and work."""
    write(forgetful.addresses, {"before": "1"})

    forgetful.kill()
    forgetful.start()
    forgetful.await_leader()

    assert read_back(forgetful.addresses, ["before"]) == {"before": None}
    write(forgetful.addresses, {"after": "1"})
    forgetful.await_equal(forgetful.ids)
