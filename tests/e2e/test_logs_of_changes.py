"""What the logs and MEMBERS say of changes of the members: at the leader, and at the node concerned."""

import re

from kvraft.errors import exit_status
from tests.e2e.clients import ask, wait_until
from tests.e2e.processes import HOST, Cluster, ask_or_nothing, free_ports
from tests.e2e.test_membership import await_voters, order


def check_told(cluster: Cluster, what: str, *concerned: int) -> None:
    """Check that a change is logged when it begins, on its leader, and when it is committed, on each node concerned."""
    began = re.compile(rf"Z info  replica  a change of the members begins at entry \d+: .*{re.escape(what)}")
    done = re.compile(rf"Z info  replica  a change of the members is committed: .*{re.escape(what)}")
    assert sum(len(began.findall(cluster.log(node))) for node in cluster.processes) == 1, f"{what!r} is logged once"
    leaders = [node for node in cluster.processes if began.search(cluster.log(node))]
    expected = {*leaders, *concerned}
    wait_until(f"{what!r} in their logs", lambda: all(done.search(cluster.log(node)) for node in expected))


def test_changes_are_told(cluster: Cluster) -> None:
    """ADD, promotion, REPLACE by a node that learns already, MOVE, REMOVE and TRANSFER."""
    added, replacing = cluster.add(), cluster.add()
    cluster.start_added(added)
    order(cluster, f"MEMBER ADD {added} {cluster.hint(added)}")
    await_voters(cluster, *range(4))
    check_told(cluster, f"node {added} is a learner at {cluster.hint(added)}")
    check_told(cluster, f"node {added} votes now", added)

    leader = cluster.await_leader()
    target = next(node for node in (0, 1, 2) if node != leader)
    assert order(cluster, f"TRANSFER {target}") == {"status": "OK"}
    assert f"leadership is being handed to node {target}" in cluster.log(leader)
    cluster.await_log(target, f"node {target} became LEADER")

    order(cluster, f"MEMBER ADD {replacing} {cluster.hint(replacing)}")  # it does not run, so it stays a learner
    replaced = next(node for node in (0, 1, 2) if node != cluster.await_leader())
    order(cluster, f"MEMBER REPLACE {replaced} {replacing} {cluster.hint(replacing)}")
    check_told(cluster, f"node {replacing} is to replace node {replaced}")
    shown = ask(cluster.address(cluster.await_leader()), "MEMBERS")
    (learner,) = (each for each in shown["members"] if each["id"] == replacing)
    assert (learner["role"], learner["replaces"], learner["waits_for"]) == ("learner", replaced, "it does not answer")
    assert not shown["changing"], "another change is possible while a learner is waited for"
    cluster.expect_end(replaced)
    cluster.start_added(replacing)
    assert cluster.await_end(replaced) == exit_status.REMOVED
    (words,) = cluster.last_words(replaced)
    assert words.startswith(f"node {replaced} stops: it was removed from its cluster")
    check_told(cluster, f"node {replacing} votes now; node {replaced} is leaving", replacing)
    check_told(cluster, f"node {replaced} has left")

    mover = next(node for node in cluster.running if node != cluster.await_leader())
    cluster.kill(mover)
    place = f"{HOST}:{free_ports(1)[0]}"
    cluster.config["peers"][mover]["address"] = place
    path = ("--config", f"{mover}.json") if mover in {added, replacing} else ()
    cluster.start(mover, arguments=(*path, "--address", place))
    cluster.await_log(mover, f"node {mover} is known at {place} now")
    check_told(cluster, f"node {mover} is reached at {place} now", mover)
    cluster.check_logs()


def test_a_node_that_is_moved_away_twice_says_so(cluster: Cluster) -> None:
    """Two quick moves of a node that stays where it is: its log has both addresses, and so have the others' logs."""
    leader = cluster.await_leader()
    moved = (leader + 1) % 3
    here = cluster.hint(moved)
    elsewhere = [f"{HOST}:{port}" for port in free_ports(2)]
    for place in elsewhere:
        order(cluster, f"MEMBER MOVE {moved} {place} FORCE")

    cluster.await_log(moved, f"this node is reached at {here}, and the others look for it at {elsewhere[1]}")
    cluster.await_log(moved, f"send MEMBER MOVE {moved} {here} to the leader")
    order(cluster, f"MEMBER MOVE {moved} {here} FORCE")
    wait_until("a follower", lambda: cluster.status(moved).get("leader") == cluster.status(leader).get("leader"))
    wait_until(
        "where it is",
        lambda: here in {each["address"] for each in ask_or_nothing(cluster.address(leader), "MEMBERS")["members"]},
    )
    cluster.check_logs()
