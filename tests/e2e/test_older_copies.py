"""An older copy of a node's own data is put back: what it confirmed and lost must not be lost for all."""

import shutil
import time
from typing import Final

from kvraft.errors import exit_status
from kvraft.storage import OUTDATED
from tests.e2e.clients import write
from tests.e2e.processes import Cluster

SPREADS_S: Final = 0.5
"""Some heartbeats: they tell each member what the others have acknowledged."""


def test_a_node_with_an_older_copy_of_its_data_ends(cluster: Cluster) -> None:
    """Members that know its acknowledgements inform it, also when no leader that counted them runs; it is marked."""
    leader = cluster.await_leader()
    old = next(node for node in cluster.ids if node != leader)
    write(cluster.addresses, {"before": "1"})
    cluster.kill(old)
    folder, copy, latest = cluster.folder / "data" / str(old), cluster.folder / "older", cluster.folder / "latest"
    shutil.copytree(folder, copy)
    cluster.start(old)
    cluster.await_equal()
    write(cluster.addresses, {f"key-{number}": "1" for number in range(30)})
    cluster.await_equal()
    time.sleep(SPREADS_S)

    cluster.kill(old)
    shutil.copytree(folder, latest)
    cluster.kill(leader)
    cluster.start(leader)
    cluster.await_leader()
    for _ in range(2):
        shutil.rmtree(folder)
        shutil.copytree(copy, folder)
        cluster.start(old)
        assert cluster.await_end(old) == exit_status.NOINPUT
        assert "an older copy of its own" in cluster.processes[old].said
    cluster.start(old)
    assert cluster.await_end(old) == exit_status.NOINPUT
    assert OUTDATED in cluster.processes[old].said

    shutil.rmtree(folder)
    shutil.copytree(latest, folder)
    cluster.start(old)
    write(cluster.addresses, {"after": "1"})
    cluster.await_equal()
