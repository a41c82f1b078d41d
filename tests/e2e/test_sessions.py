"""Sessions on real nodes: a client that sends again what was not answered counts exactly."""

import json
from pathlib import Path
from typing import Final

from kvraft.store import FEATURE_LEVEL
from tests.e2e.clients import converse, wait_until
from tests.e2e.exactly_once import KEY, count
from tests.e2e.processes import running_cluster

INCREMENTS: Final = 1_000
KILLS: Final = 3


def test_a_counter_through_killed_leaders(tmp_path: Path) -> None:
    """Whatever is sent again, through three leaders' deaths and by way of any node, the counter is exact (row 13)."""
    with running_cluster(tmp_path, on_follower="forward") as cluster:
        leader = cluster.await_leader()
        wait_until("the level", lambda: cluster.status(leader).get("feature_level") == FEATURE_LEVEL)

        counter = count(cluster, INCREMENTS, KILLS)

        assert counter.contradictions == []
        assert sorted(map(int, counter.answers.values())) == [*range(1, INCREMENTS + 1)]
        leader = cluster.await_leader()
        answers = {converse(address, f"GET {KEY}\n".encode()) for address in cluster.addresses}
        assert [json.loads(answer) for answer in answers] == [{"value": str(INCREMENTS)}]
        stale = json.loads(converse(cluster.address((leader + 1) % 3), f"GET {KEY} STALE\n".encode()))
        assert stale["value"] == str(INCREMENTS)
        assert stale["age"] < 1.5
