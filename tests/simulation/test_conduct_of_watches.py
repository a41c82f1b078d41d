"""A watch that is hidden by the end of another, and one that skips what a snapshot has brought."""

from typing import Any

import pytest
from twisted.internet.protocol import Protocol

from kvraft.config.values import Limits
from kvraft.net.connect import connect
from kvraft.raft import InvariantViolated
from kvraft.replica import watch_index
from kvraft.replica.snapshots.create import ABSENT_AFTER_S
from kvraft.replica.watches import Watches
from kvraft.simulation import Cluster
from kvraft.simulation.member import address_of
from kvraft.store.history import HISTORY_LEVEL


def watch(cluster: Cluster, lines: bytes) -> tuple[int, Any]:
    """Send requests for watches to a follower; return its id and the connection."""
    follower = (cluster.elect() + 1) % 3
    member = cluster.members[follower]
    cluster.run_until(lambda: all(each.store.feature_level >= HISTORY_LEVEL for each in cluster.running))
    made: list[Protocol] = []
    connect(cluster.client_machine().endpoint(address_of(follower)), Protocol()).addCallback(made.append)
    cluster.run_until(lambda: bool(made))
    transport: Any = made[0].transport
    transport.write(lines)
    assert member.assembly is not None
    intake = member.assembly.replica.intake
    cluster.run_until(lambda: intake.watch_count == lines.count(b"WATCH"))
    return follower, transport


def end_one_of_two() -> None:
    """End one of two watches of the same prefix."""
    cluster = Cluster(seed=1)
    _, transport = watch(cluster, b"WATCH PREFIX a\nWATCH PREFIX a\n")
    transport.write(b"UNWATCH 1\n")
    cluster.run(0.5)


def test_a_watch_that_another_hides_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test breaks a rule on purpose: a prefix counts as unwatched when one of its watches ends."""
    end_one_of_two()
    discard = watch_index._discard
    monkeypatch.setattr(watch_index, "_discard", lambda *arguments: (discard(*arguments), True)[1])

    with pytest.raises(InvariantViolated, match="is not found by its first key"):
        end_one_of_two()


def catch_up_by_a_snapshot() -> None:
    """Cut a follower with a watch off, and let it get a snapshot for what it has missed."""
    cluster = Cluster(seed=1, limits=Limits(log_bytes=3_000, log_kept_bytes=0, log_late_bytes=0, segment_bytes=2_048))
    follower, _ = watch(cluster, b"WATCH PREFIX key\n")
    cluster.isolate(follower)
    cluster.run_until(lambda: cluster.leader not in {None, follower}, what="a leader")
    assert cluster.leader is not None
    for number in range(30):
        cluster.ask(cluster.leader, f"SET key {number} {'v' * 2000}")
    cluster.run(ABSENT_AFTER_S + 1.0)
    cluster.ask(cluster.leader, "SET key last", "SNAPSHOT")
    cluster.heal()
    cluster.run_until(cluster.has_settled, what="one state on all members")


def test_a_watch_that_skips_a_snapshot_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test breaks a rule on purpose: the watches take no notice of the new store."""
    catch_up_by_a_snapshot()
    monkeypatch.setattr(Watches, "replaced", lambda _self, _store: None)

    with pytest.raises(InvariantViolated, match="of an installed snapshot"):
        catch_up_by_a_snapshot()
