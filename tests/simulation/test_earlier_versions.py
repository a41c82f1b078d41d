"""Members of an earlier version take part until they are upgraded, and nothing is written that they could not read."""

from random import Random
from typing import Final

import pytest

from kvraft.commands import GrantLease, Set
from kvraft.raft import EntryKind, InvariantViolated
from kvraft.simulation import earlier_versions
from kvraft.simulation.cluster import Cluster, Stuck
from kvraft.simulation.earlier_versions import EarlierVersions, check_all_speak, check_level, check_log
from kvraft.store import FEATURE_LEVEL
from kvraft.store.features import encode_level
from tests.store.log import batch, raw

SECONDS: Final = 2.0


def mixed(monkeypatch: pytest.MonkeyPatch, seed: int = 1) -> tuple[Cluster, EarlierVersions]:
    """Return a cluster some of whose nodes are of an earlier version."""
    monkeypatch.setattr(earlier_versions, "SHARE", 1.0)
    cluster = Cluster(seed=seed)
    return cluster, EarlierVersions(cluster, Random(seed))


@pytest.mark.parametrize("away", [0.0, 1.0])
def test_a_cluster_has_the_level_that_all_speak_and_rises_with_the_last_upgrade(
    monkeypatch: pytest.MonkeyPatch, away: float
) -> None:
    """What the level does not know is refused until then, also while the last to be upgraded is down."""
    monkeypatch.setattr(earlier_versions, "AWAY", away)
    cluster, earlier = mixed(monkeypatch)
    leader = cluster.elect()
    cluster.run(0.5)
    assert {member.store.feature_level for member in cluster.running} == {earlier.level}
    assert cluster.ask(leader, "LEASE GRANT 9")[0]["error"] == "LEVEL_TOO_LOW"

    earlier.begin(SECONDS)
    cluster.run(SECONDS)
    earlier.end()
    earlier.check()
    assert {member.store.feature_level for member in cluster.running} == {FEATURE_LEVEL}
    assert cluster.ask(cluster.elect(), "LEASE GRANT 9")[0] == {"lease": 1, "ttl": 9.0}


def test_a_level_that_does_not_rise_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A member that is not upgraded holds it down."""
    _, earlier = mixed(monkeypatch)
    with pytest.raises(Stuck, match="the present feature level"):
        earlier.check()


def test_a_level_that_a_member_does_not_speak_is_noticed() -> None:
    """It has come to what its version cannot apply."""
    check_level(1, 2, 2)
    with pytest.raises(InvariantViolated, match="node 1 speaks 2"):
        check_level(1, 3, 2)


def test_a_level_that_a_member_which_is_away_does_not_speak_is_noticed() -> None:
    """It could not come back."""
    cluster = Cluster(seed=1)
    away = max(cluster.members.keys() - {cluster.elect()})
    cluster.run(0.5)
    cluster.kill(away)
    check_all_speak(cluster)

    cluster.members[away].speaks = FEATURE_LEVEL - 1
    with pytest.raises(InvariantViolated, match=f"has come to feature level 3, and node {away}, which is a member"):
        check_all_speak(cluster)


def test_what_stands_ahead_of_its_level_in_the_log_is_noticed() -> None:
    """A command that a member of that level could not apply."""
    raised = [raw(number, encode_level(number), EntryKind.FEATURE_LEVEL) for number in range(1, 4)]
    check_log({1: raised[0], 2: batch(2, Set(b"k", b"v")), 3: raised[2], 4: batch(4, GrantLease(9))})

    with pytest.raises(InvariantViolated, match="what level 3 has brought, and has level 2"):
        check_log({1: raised[0], 2: raised[1], 3: batch(3, GrantLease(9))})
