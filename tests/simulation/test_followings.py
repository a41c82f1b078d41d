"""What a connection with watches holds while its client has read everything is looked at."""

from typing import Any

import pytest
from twisted.internet.protocol import Protocol

from kvraft.net.connect import connect
from kvraft.raft import InvariantViolated
from kvraft.simulation import Cluster
from kvraft.simulation.followings import check_followings
from kvraft.simulation.member import Member, address_of
from kvraft.store.history import HISTORY_LEVEL


def watched(cluster: Cluster) -> Member:
    """Return the leader, with a connection that has two watches."""
    leader = cluster.members[cluster.elect()]
    cluster.run_until(lambda: leader.store.feature_level >= HISTORY_LEVEL)
    made: list[Protocol] = []
    connect(cluster.client_machine().endpoint(address_of(leader.id)), Protocol()).addCallback(made.append)
    cluster.run_until(lambda: bool(made))
    transport: Any = made[0].transport
    transport.write(b"WATCH a\nWATCH b\n")
    assert leader.assembly is not None
    intake = leader.assembly.replica.intake
    cluster.run_until(lambda: intake.watch_count == 2)
    return leader


def test_a_connection_that_is_read_holds_nothing() -> None:
    """But its watches."""
    check_followings(watched(Cluster(seed=1)))


@pytest.mark.parametrize(
    ("field", "value", "text"), [("_waiting_bytes", 7, "7 bytes of events"), ("_watches", {}, "0 watches")]
)
def test_what_counts_wrongly_is_noticed(field: str, value: object, text: str) -> None:
    """The test breaks a rule on purpose."""
    leader = watched(Cluster(seed=1))
    assert leader.assembly is not None
    watch: Any = next(iter(leader.assembly.replica._watches._all))
    setattr(watch.sink._following, field, value)

    with pytest.raises(InvariantViolated, match=text):
        check_followings(leader)
