"""A write of a session that two leaders propose, in the simulator."""

from random import Random

import pytest

from kvraft.config import OnFollower
from kvraft.raft import InvariantViolated
from kvraft.replica import forwarding
from kvraft.replica.forwarding import FORWARDING_LEVEL
from kvraft.simulation import Cluster
from kvraft.simulation.proposed_twice import KEY, propose_twice

SEEDS = range(1, 13)


def play(seed: int) -> Cluster:
    """Play the scenario in a cluster that passes requests on."""
    cluster = Cluster(seed=seed, on_follower=OnFollower.FORWARD)
    cluster.elect()
    cluster.run_until(lambda: all(each.store.feature_level >= FORWARDING_LEVEL for each in cluster.running))
    propose_twice(cluster, Random(seed))
    return cluster


def test_a_write_is_proposed_twice_and_carried_out_once() -> None:
    """Of some runs, in which elections come out differently, a third or more carry the write out."""
    clusters = [play(seed) for seed in SEEDS]

    done = [cluster for cluster in clusters if all(each.store.get(KEY) is not None for each in cluster.running)]
    assert len(done) >= len(clusters) / 3


def test_a_refusal_that_is_too_certain_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test breaks a rule on purpose: nobody notes that a leader was lost before it could answer."""
    monkeypatch.setattr(forwarding, "_note_lost", lambda _passed: None)

    with pytest.raises(InvariantViolated, match="which has not said what became of it"):
        _ = [play(seed) for seed in SEEDS]
