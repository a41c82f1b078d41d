"""A client that watches goes on at another node when its own is killed, without loss or duplicate (row 34)."""

import json
import socket
from typing import Any, Final

from kvraft.store import FEATURE_LEVEL
from tests.e2e.clients import Address, Connection, open_connection, wait_until
from tests.e2e.processes import Cluster

WRITES: Final = 200
READ_BEFORE: Final = 50
"""Events that are read before the leader is killed."""


def watch(address: Address, line: str) -> tuple[socket.socket, Any]:
    """Begin a watch as nc does, and return the connection with the lines that come."""
    connection = open_connection(address)
    connection.sendall(line.encode() + b"\n")
    lines = map(json.loads, connection.makefile("rb"))
    assert next(lines)["watch"] == 1
    return connection, lines


def test_a_watch_survives_its_leader(cluster: Cluster) -> None:
    """Every acknowledged write is reported once and in order, the first half by a node that is killed."""
    leader = cluster.await_leader()
    wait_until("the feature level", lambda: cluster.status(leader).get("feature_level") == FEATURE_LEVEL or None)
    connection, lines = watch(cluster.address(leader), "WATCH PREFIX w/")
    with Connection(cluster.address(leader)) as client:
        answers = client.request(*[f"SET w/{number} {number}" for number in range(WRITES)])
    assert answers == [{"status": "OK"}] * WRITES
    told = [next(lines) for _ in range(READ_BEFORE)]
    cluster.kill(leader)
    connection.close()

    other = next(node for node in cluster.ids if node != leader)
    connection, lines = watch(cluster.address(other), f"WATCH PREFIX w/ FROM {told[-1]['revision'] + 1}")
    with Connection(cluster.address(cluster.await_leader())) as client:
        operations = [{"set": f"w/{name}", "value": "end"} for name in ("x", "y")]
        (outcome,) = client.request("TXN " + json.dumps({"then": operations}))
    told += [next(lines) for _ in range(WRITES - READ_BEFORE + len(operations))]
    connection.close()

    first = told[0]["revision"]
    revisions = [*range(first, first + WRITES), outcome["revision"], outcome["revision"]]
    assert [event["revision"] for event in told] == revisions
    assert [event["key"] for event in told] == [*[f"w/{number}" for number in range(WRITES)], "w/x", "w/y"]
    assert [event["key"] for event in told if event.get("more")] == ["w/x"]
