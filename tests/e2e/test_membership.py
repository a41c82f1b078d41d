"""Clusters grow, shrink, lose and replace nodes, and move their leader, under load and with kills; nothing is lost."""

from collections.abc import Mapping
from typing import Any, Final

from kvraft.errors import exit_status
from tests.e2e.clients import read_back, wait_until, write
from tests.e2e.processes import REMOVED, Cluster, ask_or_nothing
from tests.e2e.writer import Load

DONE_ALREADY: Final = ("is a member already", "is no member", "is no voter", "leads already")
"""What a change is refused with that was carried out, although its answer was lost."""


def order(cluster: Cluster, line: str) -> Mapping[str, Any]:
    """Have the leader carry out what an operator asks, asked again until it can; return the last answer."""

    def try_everybody() -> Mapping[str, Any] | None:
        cluster.check_alive()
        for node in cluster.running:
            answer = ask_or_nothing(cluster.address(node), line)
            if answer.get("status") == "OK" or any(each in answer.get("message", "") for each in DONE_ALREADY):
                return answer
        return None

    return wait_until(f"the cluster to do {line!r}", try_everybody)


def members(cluster: Cluster, node: int) -> Mapping[int, str]:
    """Return the members and their roles, as a node has them; empty while they change."""
    answer = ask_or_nothing(cluster.address(node), "MEMBERS")
    if not answer or answer["changing"]:
        return {}
    return {member["id"]: member["role"] for member in answer["members"]}


def await_voters(cluster: Cluster, *voters: int) -> None:
    """Wait until all of `voters` that run say that exactly they belong to the cluster, as voters."""
    expected = dict.fromkeys(voters, "voter")

    def compare() -> bool:
        cluster.check_alive()
        return all(members(cluster, node) == expected for node in voters if cluster.is_running(node))

    wait_until(f"the members to be {voters}", compare)


def remove(cluster: Cluster, node: int) -> None:
    """Remove a node that runs, and wait until it has ended and said why."""
    cluster.expect_end(node)
    order(cluster, f"MEMBER REMOVE {node}")
    assert cluster.await_end(node) == exit_status.REMOVED
    assert REMOVED in cluster.processes[node].said


def test_grow_and_shrink_under_load(cluster: Cluster) -> None:
    """From three nodes to five and back to three others, with kills in between: no acknowledged write is lost."""
    added = [cluster.add(), cluster.add()]
    with Load(cluster.addresses) as load:
        load.await_acknowledged(50)
        cluster.start_added(added[0])
        order(cluster, f"MEMBER ADD {added[0]} {cluster.hint(added[0])}")
        killed = cluster.await_leader()
        cluster.kill(killed)
        order(cluster, f"MEMBER ADD {added[1]} {cluster.hint(added[1])}")
        cluster.start_added(added[1])
        cluster.start_added(killed) if killed in added else cluster.start(killed)
        await_voters(cluster, *range(5))
        load.await_acknowledged(50)

        leader = cluster.await_leader()
        gone = [leader, min({0, 1, 2} - {leader})]
        left = [node for node in cluster.ids if node not in gone]
        remove(cluster, gone[0])
        load.await_acknowledged(20)
        cluster.kill(left[-1])
        remove(cluster, gone[1])
        cluster.start_added(left[-1])
        await_voters(cluster, *left)
        load.await_acknowledged(50)

    load.check()
    cluster.await_equal(left)


def test_a_dead_node_is_replaced_and_stays_away(cluster: Cluster) -> None:
    """A new node takes the place of a dead one; when that one comes back it ends itself and says why, each time."""
    items = {f"key-{number}": f"value {number}" for number in range(100)}
    write(cluster.addresses, items)
    leader = cluster.await_leader()
    dead = next(node for node in cluster.ids if node != leader)
    cluster.kill(dead)
    new = cluster.add()
    cluster.start_added(new)

    order(cluster, f"MEMBER REPLACE {dead} {new} {cluster.hint(new)}")

    rest = [node for node in cluster.ids if node != dead]
    await_voters(cluster, *rest)
    cluster.await_equal(rest)
    for _ in range(2):
        cluster.start(dead)
        assert cluster.await_end(dead) == exit_status.REMOVED
        assert REMOVED in cluster.processes[dead].said
    assert read_back(cluster.addresses, list(items)) == items


def test_a_removed_node_says_so_again(cluster: Cluster) -> None:
    """A node that was removed while it ran ends itself, and its restart does the same; the others go on."""
    leader = cluster.await_leader()
    for gone in (leader, next(node for node in cluster.ids if node != leader)):
        remove(cluster, gone)
        cluster.await_leader()
    for gone in set(cluster.ids) - set(cluster.running):
        cluster.start(gone)
        assert cluster.await_end(gone) == exit_status.REMOVED
        assert REMOVED in cluster.processes[gone].said
    write(cluster.addresses, {"after": "1"})


def test_transfer_under_load(cluster: Cluster) -> None:
    """While leadership goes round, a client that follows redirects has every write taken, and none answers an error."""
    with Load(cluster.addresses) as load:
        for target in (0, 1, 2, 0):
            if cluster.await_leader() == target:
                continue
            load.await_acknowledged(20)
            assert order(cluster, f"TRANSFER {target}") == {"status": "OK"}
            assert cluster.await_leader() == target
        load.await_acknowledged(20)

    assert load.refusals() <= {"NOT_LEADER"}
    assert all(each.answer is not None for each in load.written)
    load.check()
    cluster.await_equal(cluster.ids)


def test_the_members_survive_a_crash_of_all(cluster: Cluster) -> None:
    """After kill -9 of all nodes the log counts and not config.json, in which the old nodes do not find the new one."""
    new = cluster.add()
    cluster.start_added(new)
    order(cluster, f"MEMBER ADD {new} {cluster.hint(new)}")
    await_voters(cluster, *range(4))
    remove(cluster, 0)
    await_voters(cluster, 1, 2, new)

    cluster.kill(1, 2, new)
    cluster.start(1)
    cluster.start_added(new)  # these two are a majority, and know each other from the log alone
    cluster.await_leader()
    await_voters(cluster, 1, 2, new)
    assert "config.json lists node 0 at" in cluster.log(1)
    assert f"node {new} at {cluster.hint(new)} is a member of the cluster, and config.json does not" in cluster.log(1)
    write(cluster.addresses, {"a": "1"})

    for node in (1, new):
        assert ask_or_nothing(cluster.address(node), "SNAPSHOT")["status"] == "OK"
    cluster.kill(1, new)
    cluster.start(1, 2)
    cluster.start_added(new)
    cluster.await_leader()
    await_voters(cluster, 1, 2, new)
    assert read_back(cluster.addresses, ["a"]) == {"a": "1"}
    cluster.start(0)
    assert cluster.await_end(0) == exit_status.REMOVED
