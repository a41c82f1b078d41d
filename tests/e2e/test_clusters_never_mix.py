"""A node of one cluster that is pointed at another does no harm to either."""

from pathlib import Path
from typing import Final

from tests.e2e.clients import ask, read_back, wait_until, write
from tests.e2e.processes import Cluster, running_cluster

MINE: Final = {"owner": "first", "first": "1"}
THEIRS: Final = {"owner": "second", "second": "2"}


def test_a_node_with_the_wrong_peers(tmp_path: Path) -> None:
    """Its log counts, and not its config.json: it says what differs, and stays with its own cluster."""
    with running_cluster(tmp_path / "one") as one, running_cluster(tmp_path / "two") as two:
        write(one.addresses, MINE)
        write(two.addresses, THEIRS)
        stray = (one.await_leader() + 1) % 3
        others = [node for node in one.ids if node != stray]
        before = two.await_equal(two.ids)
        one.await_equal(one.ids)
        one.stop(stray)
        right = [dict(peer) for peer in one.config["peers"]]

        for node in others:
            one.config["peers"][node] = dict(two.config["peers"][node])
        one.write_config()
        one.start(stray)
        one.config["peers"] = right

        for node in others:
            one.await_log(stray, two.config["peers"][node]["address"])
        one.await_equal(one.ids)
        assert read_back(one.addresses, ["owner", "second"]) == {"owner": "first", "second": None}
        assert read_back(two.addresses, ["owner", "first"]) == {"owner": "second", "first": None}
        assert [two.log(node).count("OTHER_CLUSTER") for node in others] == [0, 0], "no node has connected there"
        after = two.await_equal(two.ids)
        assert (after["term"], after["leader"], after["revision"]) == tuple(
            before[key] for key in ("term", "leader", "revision")
        )


def test_a_new_node_in_the_place_of_a_member(tmp_path: Path) -> None:
    """A node with data of another cluster cannot take a member's place: it is refused, and the members go on."""
    with running_cluster(tmp_path / "one") as one, Cluster(tmp_path / "two") as two:
        write(one.addresses, MINE)
        two.start()
        two.await_leader()
        write(two.addresses, THEIRS)
        two.stop()
        victim = (one.await_leader() + 1) % 3
        one.stop(victim)

        one.start(victim, arguments=["--data-dir", str(two.folder / "data")])
        for node in one.ids:
            if node != victim:
                one.await_log(node, "OTHER_CLUSTER")

        assert read_back(one.addresses, ["owner", "second"]) == {"owner": "first", "second": None}
        assert ask(one.address(victim), "GET owner") == {"error": "NOT_LEADER", "leader_hint": None}
        one.stop(victim)
        one.start(victim)
        one.await_equal(one.ids)


def test_two_nodes_with_one_id(tmp_path: Path) -> None:
    """A node that is dialed under the id of another says so and is not talked to."""
    with Cluster(tmp_path / "swapped") as cluster:
        peers = cluster.config["peers"]
        cluster.start(0)
        wait_until("an answer", lambda: cluster.status(0))
        peers[0]["address"], peers[1]["address"] = peers[1]["address"], peers[0]["address"]
        cluster.write_config()

        cluster.start(2)

        cluster.await_log(2, "handshake with node 1 failed: WRONG_NODE")
        assert cluster.status(2)["leader"] is None
