"""An older copy of a node's own data is put back: what it confirmed and lost must not be lost for all."""

import shutil

from kvraft import exits
from tests.e2e.clients import write
from tests.e2e.processes import Cluster


def test_a_node_with_an_older_copy_of_its_data_ends(cluster: Cluster) -> None:
    """The leader knows what the node acknowledged: it refuses it, and the node ends with status 66, at each start."""
    leader = cluster.await_leader()
    old = next(node for node in cluster.ids if node != leader)
    write(cluster.addresses, {"before": "1"})
    cluster.kill(old)
    folder, copy = cluster.folder / "data" / str(old), cluster.folder / "older"
    shutil.copytree(folder, copy)
    cluster.start(old)
    cluster.await_equal()
    write(cluster.addresses, {f"key-{number}": "1" for number in range(30)})
    cluster.await_equal()
    assert cluster.await_leader() == leader

    cluster.kill(old)
    for _ in range(2):
        shutil.rmtree(folder)
        shutil.copytree(copy, folder)
        cluster.start(old)
        assert cluster.await_end(old) == exits.NOINPUT
        assert "an older copy of its own" in cluster.processes[old].said
    write(cluster.addresses, {"after": "1"})
