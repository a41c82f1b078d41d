"""A member whose memory has changed by itself is found within two heartbeats of the next write, and stops serving."""

from collections.abc import Sequence
from random import Random

import pytest

from kvraft.commands import Item
from kvraft.raft import RaftOptions
from kvraft.replica.state_checksums import StateChecksums
from kvraft.simulation import Cluster
from kvraft.simulation.cluster import Stuck
from kvraft.simulation.differing_states import differ
from kvraft.simulation.requests import CALLER
from kvraft.store import FEATURE_LEVEL

NOTICED_S = 2 * RaftOptions().heartbeat_interval + 0.05
"""Two heartbeats, and the way of the messages, seconds."""


def flip(cluster: Cluster, victims: Sequence[int], key: bytes) -> None:
    """Flip one bit of a value in the memory of each of these members.

    This breaks a rule on purpose, and it is the members that must notice it: the simulator's own check overlooks it.
    """
    for victim in victims:
        keys = cluster.members[victim].store.keys
        item = keys.get(key)
        if item is not None:
            flipped = bytes([item.value[0] ^ 1, *item.value[1:]])
            keys.put(key, Item(flipped, item.create_revision, item.modify_revision, item.version))
            keys.replaced.clear()  # no write has replaced it
    cluster.checks._check_state = lambda member, watched: None  # type: ignore[method-assign]


def set_up(seed: int, nodes: int) -> tuple[Cluster, int, list[int]]:
    """Return a cluster whose members compare their states and hold one key, its leader and its followers."""
    cluster = Cluster(seed=seed, nodes=nodes)
    leader = cluster.elect()
    cluster.run_until(lambda: all(each.store.feature_level == FEATURE_LEVEL for each in cluster.running))
    assert cluster.ask(leader, "SET a 1") == [{"status": "OK"}]
    cluster.run_until(cluster.has_settled)
    return cluster, leader, sorted(cluster.members.keys() - {leader})


def differing(cluster: Cluster) -> list[int]:
    """Return the members that have stopped serving because their state differs."""
    return [
        each.id
        for each in cluster.running
        if each.assembly is not None and each.assembly.replica.intake.status(CALLER)["differs_at"] is not None
    ]


@pytest.mark.parametrize("nodes", [2, 3, 5])
def test_a_follower_that_differs_stops(nodes: int) -> None:
    """The write itself succeeds; the follower answers nothing but STATUS, and serves again when it is restarted."""
    cluster, leader, followers = set_up(21, nodes)
    flip(cluster, followers[:1], b"a")
    cluster.run(1.0)
    assert differing(cluster) == []

    assert cluster.ask(leader, "SET a 2") == [{"status": "OK"}]
    cluster.run(NOTICED_S)

    assert differing(cluster) == followers[:1]
    assert cluster.ask(followers[0], "GET a")[0]["error"] == "STATE_DIFFERS"
    cluster.restart(followers[0])
    cluster.run_until(cluster.has_settled)
    cluster.ask(leader, "SET a 3")
    cluster.run(NOTICED_S)
    assert differing(cluster) == []
    cluster.checks.at_the_end()


def test_a_leader_that_differs_stops_itself() -> None:
    """Both followers agree with each other, so it is the leader that is wrong: another one takes over."""
    cluster, leader, _ = set_up(22, 3)
    flip(cluster, [leader], b"a")

    assert cluster.ask(leader, "SET a 2") == [{"status": "OK"}]
    cluster.run(NOTICED_S)

    assert differing(cluster) == [leader]
    cluster.run_until(lambda: cluster.ask(leader, "GET a")[0]["error"] == "STATE_DIFFERS")
    others = cluster.members.keys() - {leader}
    cluster.run_until(lambda: any(cluster.ask(each, "GET a") == [{"value": "2"}] for each in others))


def test_a_deleted_value_is_compared_too() -> None:
    """What a delete removes is as much a part of the state as what a write replaces."""
    cluster, leader, followers = set_up(23, 3)
    flip(cluster, followers[:1], b"a")

    assert cluster.ask(leader, "DELETE a") == [{"status": "OK"}]
    cluster.run(NOTICED_S)

    assert differing(cluster) == followers[:1]


def test_a_silent_member_is_waited_for_and_not_for_ever() -> None:
    """With one of three down neither of two that differ is known as wrong: the leader's state counts, after a while."""
    cluster, leader, followers = set_up(24, 3)
    cluster.kill(followers[1])
    flip(cluster, followers[:1], b"a")

    assert cluster.ask(leader, "SET a 2") == [{"status": "OK"}]
    cluster.run(NOTICED_S)
    assert differing(cluster) == []
    cluster.run(1.0)

    assert differing(cluster) == followers[:1]


def _let_one_differ(seed: int) -> None:
    """Let the scenario of random runs change one member."""
    cluster, _, _ = set_up(seed, 3)
    differ(cluster, Random(seed))


@pytest.mark.parametrize("seed", [1, 2])
def test_a_member_that_goes_on_with_another_state_is_noticed(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A random run changes any member; the one that has changed must stop, and no other."""
    _let_one_differ(seed)
    monkeypatch.setattr(StateChecksums, "look", lambda _self: False)

    with pytest.raises(Stuck, match=r"the stop of node \d, whose state differs,"):
        _let_one_differ(seed)
