"""A node whose disk was lost is not taken for the one that it was: real processes, and what the operator reads."""

import shutil

from kvraft.errors import exit_status
from tests.e2e.clients import ask, read_back, wait_until, write
from tests.e2e.processes import Cluster
from tests.e2e.test_membership import await_voters, order


def bound(cluster: Cluster) -> bool:
    """Whether every member's memory stands in the log of each node."""
    answers = [ask(cluster.address(node), "MEMBERS") for node in cluster.running]
    return all("incarnation" in member for answer in answers for member in answer["members"])


def test_an_emptied_directory_under_an_old_id(cluster: Cluster) -> None:
    """The node ends with a status of its own and says what to do; replaced as it says, nothing is lost."""
    wait_until("all to be bound", lambda: bound(cluster))
    items = {f"key-{number}": str(number) for number in range(50)}
    write(cluster.addresses, items)
    victim = (cluster.await_leader() + 1) % 3
    cluster.kill(victim)
    shutil.rmtree(cluster.folder / f"data/{victim}")

    for _ in range(2):
        cluster.start(victim)
        assert cluster.await_end(victim) == exit_status.NOINPUT
        (said,) = cluster.last_words(victim)
        assert "the cluster has recorded this id with another data directory" in said
        assert "MEMBER REPLACE" in said
        assert cluster.processes[victim].said.count("the cluster has recorded this id") == 1, "it is said once"

    new = cluster.add()
    order(cluster, f"MEMBER REPLACE {victim} {new} {cluster.hint(new)}")
    cluster.start_added(new)
    await_voters(cluster, *({0, 1, 2, new} - {victim}))
    assert read_back(cluster.addresses, list(items)) == items
