"""`Cluster`, as its users know it."""

import pytest

from kvraft.raft import InvariantViolated
from kvraft.simulation import Cluster, Stuck


def test_a_leader_that_is_killed_is_replaced_and_nothing_is_lost() -> None:
    """In virtual time, which costs no time."""
    cluster = Cluster(seed=1)
    leader = cluster.elect()
    assert cluster.ask(leader, "SET a 1", "GET a") == [{"status": "OK"}, {"value": "1"}]

    cluster.kill(leader, power=True)
    successor = cluster.elect()

    assert successor != leader
    assert cluster.ask(successor, "GET a") == [{"value": "1"}]


def test_power_failure_of_all_machines_loses_nothing_that_was_answered() -> None:
    """Rows 1, 3 and 4: every disk forgets what was not synced."""
    cluster = Cluster(seed=2)
    for number in range(20):
        assert cluster.ask(cluster.elect(), f"SET key{number} {number}") == [{"status": "OK"}]

    for member in range(3):
        cluster.kill(member, power=True)
    for member in range(3):
        assert cluster.start(member)

    leader = cluster.elect()
    for number in range(20):
        assert cluster.ask(leader, f"GET key{number}") == [{"value": f"{number}"}]


def test_a_leader_on_the_wrong_side_of_a_partition_answers_nothing_stale() -> None:
    """Row 8: it cannot confirm that it leads, and says so."""
    cluster = Cluster(seed=3)
    old = cluster.elect()
    cluster.ask(old, "SET a old")
    others = {0, 1, 2} - {old}

    cluster.partition({old}, others)
    cluster.run_until(lambda: cluster.leader in others)
    cluster.run(1.0)
    assert cluster.leader is not None
    assert cluster.ask(cluster.leader, "SET a new") == [{"status": "OK"}]

    assert "error" in cluster.ask(old, "GET a")[0]
    cluster.heal()
    assert cluster.ask(cluster.elect(), "GET a") == [{"value": "new"}]


def test_what_does_not_come_about_is_said() -> None:
    """A test that waits for it does not wait for ever."""
    cluster = Cluster(seed=4)
    cluster.kill(0)
    cluster.kill(1)

    with pytest.raises(Stuck, match=r"agreement on a leader did not come about within 10 s"):
        cluster.elect()


def test_a_broken_rule_is_raised_at_the_event_that_breaks_it() -> None:
    """Whatever production code does with errors."""
    cluster = Cluster(seed=5)
    leader = cluster.elect()
    cluster.members[leader].node.term -= 1

    with pytest.raises(InvariantViolated, match="term is no older than its log"):
        cluster.run(1.0)


def test_different_seeds_give_different_runs_and_the_same_seed_the_same() -> None:
    """The digest tells."""
    digests = []
    for seed in (6, 6, 7):
        cluster = Cluster(seed)
        cluster.elect()
        digests.append(cluster.world.digest)

    assert digests[0] == digests[1] != digests[2]
