"""Clusters whose disks are all slow: a leader is elected all the same."""

import pytest

from kvraft.simulation import Cluster
from kvraft.simulation.member import address_of


@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.parametrize("save_s", [0.15, 0.25, 0.4])
def test_a_leader_is_elected_while_every_save_takes_longer_than_half_an_election_timeout(
    seed: int, save_s: float
) -> None:
    """A candidate's save and a voter's save follow each other, and together they take longer than a timeout."""
    cluster = Cluster(seed=seed)
    first = cluster.elect()
    cluster.kill(first)
    for member in cluster.members.values():
        member.faults.delay_s = save_s, save_s

    cluster.run_until(lambda: cluster.leader not in (None, first), at_most=20.0, what="a leader on slow disks")


def slow_cluster(seed: int, save_s: float) -> tuple[Cluster, int, int]:
    """Return a cluster at rest in which every save takes so long, its leader, and another member."""
    cluster = Cluster(seed=seed)
    leader = cluster.elect()
    cluster.run_until(cluster.has_settled)
    cluster.run(1.0)
    for member in cluster.members.values():
        member.faults.delay_s = save_s, save_s
    return cluster, leader, (leader + 1) % 3


@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.parametrize("save_s", [0.3, 1.2])
def test_leadership_is_handed_over_while_every_disk_is_slow(seed: int, save_s: float) -> None:
    """It takes three saves, one after the other: the target's vote, the others' votes, and an entry."""
    cluster, leader, target = slow_cluster(seed, save_s)

    cluster.ask(leader, f"TRANSFER {target}")
    took_s = cluster.run_until(lambda: cluster.leader == target and cluster.agrees())

    assert took_s <= 3 * save_s + 0.1


@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.parametrize("save_s", [0.3, 1.2])
def test_a_hand_over_during_a_slow_save_succeeds_or_is_given_up(seed: int, save_s: float) -> None:
    """The target lacks an entry. Some member leads soon, and it takes writes."""
    cluster, leader, target = slow_cluster(seed, save_s)
    asked = cluster.client()
    asked.ask(address_of(leader), ["SET a 1"], lambda _answers: None)
    cluster.run(0.01)

    cluster.ask(leader, f"TRANSFER {target}")
    cluster.run_until(cluster.agrees, what="a leader after the hand-over")
    assert cluster.leader is not None
    (answer,) = cluster.ask(cluster.leader, "SET b 2")

    assert answer == {"status": "OK"} or answer["error"] == "TIMEOUT"


@pytest.mark.parametrize("seed", range(1, 4))
def test_a_leader_is_elected_while_every_member_takes_a_snapshot(seed: int) -> None:
    """A vote has to wait for neither the snapshot nor the compaction after it, beyond what the disk takes for them."""
    cluster, leader, _ = slow_cluster(seed, 0.4)
    for number in range(10):
        cluster.ask(leader, f"SET key{number} {'v' * 1000}")
    for member in cluster.members.values():
        member.faults.snapshot_delay_s = 0.4, 0.4
        cluster.client().ask(address_of(member.id), ["SNAPSHOT"], lambda _answers: None)
    cluster.run(0.5)

    cluster.kill(leader)
    took_s = cluster.run_until(lambda: cluster.leader not in (None, leader), what="a leader on busy disks")

    assert took_s <= 5.0
