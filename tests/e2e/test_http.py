"""HTTP with real nodes: redirects are followed, a watch is resumed and a write repeated after the leader was killed."""

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from kvraft.store import FEATURE_LEVEL
from tests.e2e.clients import wait_until
from tests.e2e.processes import Cluster, running_cluster

ANSWER_S: Final = 10
REDIRECTS_MAX: Final = 5
WRITES: Final = 40
READ_BEFORE: Final = 15
"""Events that are read before the leader is killed."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Three nodes with HTTP, all of the latest feature level."""
    with running_cluster(tmp_path / "cluster", http=True) as cluster:
        leader = cluster.await_leader()
        wait_until("the feature level", lambda: cluster.status(leader).get("feature_level") == FEATURE_LEVEL or None)
        yield cluster


def web(cluster: Cluster, node: int) -> str:
    """Return where a node serves HTTP."""
    address: str = cluster.config["peers"][node]["http"]
    return address


def send(address: str, method: str, path: str, body: bytes = b"", **headers: str) -> http.client.HTTPConnection:
    """Send a request on a connection of its own."""
    connection = http.client.HTTPConnection(address, timeout=ANSWER_S)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    return connection


def ask(address: str, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes, list[str]]:
    """Send a request, follow redirects, and return the status, the body, and where it was sent on the way."""
    way = [address]
    while True:
        connection = send(way[-1], method, path, body, **headers)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        if response.status != http.client.TEMPORARY_REDIRECT or len(way) > REDIRECTS_MAX:
            return response.status, content, way
        location = urlsplit(response.headers["Location"])
        way.append(location.netloc)
        assert f"{location.path}?{location.query}".rstrip("?") == path


def events(address: str, path: str, **headers: str) -> tuple[http.client.HTTPConnection, Iterator[dict[str, str]]]:
    """Begin a stream of server-sent events, and return its connection with the events that carry data."""
    connection = send(address, "GET", path, b"", **headers)
    response = connection.getresponse()
    assert (response.status, response.headers["Content-Type"]) == (200, "text/event-stream")

    def read() -> Iterator[dict[str, str]]:
        fields: dict[str, str] = {}
        for line in iter(lambda: response.readline().decode().rstrip("\n"), None):
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            else:
                if "data" in fields:
                    yield fields
                fields = {}

    return connection, read()


def changes(told: Iterator[dict[str, str]], count: int) -> list[tuple[str, Any]]:
    """Return the next changes of a watch, each with its id."""
    found: list[tuple[str, Any]] = []
    while len(found) < count:
        event = next(told)
        if "event" not in event:
            found.append((event["id"], json.loads(event["data"])))
    return found


def test_http_survives_its_leader(cluster: Cluster) -> None:
    """Nothing is lost and nothing done twice, though the leader is killed in the middle of all that a client does."""
    leader = cluster.await_leader()
    follower, other = (node for node in cluster.ids if node != leader)

    # A follower sends writes on, and answers reads that any member may answer itself.
    status, content, way = ask(web(cluster, follower), "PUT", "/kv/a%20b?cas=absent", b"\x00\xff")
    assert (status, json.loads(content)["status"], way) == (200, "OK", [web(cluster, follower), web(cluster, leader)])
    assert ask(web(cluster, follower), "GET", "/kv/a%20b?local") == (200, b"\x00\xff", [web(cluster, follower)])
    assert ask(web(cluster, follower), "GET", "/readyz?sync")[0] == 200
    assert ask(web(cluster, follower), "GET", "/readyz?leader")[0] == 503

    # A watch at the leader, and writes of which some are reported before it is killed.
    watching, told = events(web(cluster, leader), "/watch?prefix=w/")
    for number in range(WRITES):
        assert ask(web(cluster, leader), "PUT", f"/kv/w/{number}", str(number).encode())[0] == 200
    seen = changes(told, READ_BEFORE)

    # A write whose answer is never read: it is known to have happened, by a watch of its own.
    counting, counted = events(web(cluster, other), "/watch?key=n")
    increment = b'{"then":[{"incr":"n"}]}'
    unread = send(web(cluster, leader), "POST", "/txn", increment, Idempotency_Key="the first")
    [(_, happened)] = changes(counted, 1)
    cluster.kill(leader)
    for connection in (unread, watching, counting):
        connection.close()

    # The next leader goes on where the last one was.
    successor = cluster.await_leader()
    status, content, _ = ask(web(cluster, successor), "POST", "/txn", increment, Idempotency_Key="the first")
    assert (status, json.loads(content)) == (
        200,
        {"succeeded": True, "revision": happened["revision"], "results": None},
    )
    assert ask(web(cluster, successor), "GET", "/kv/n")[1] == b"1"
    watching, told = events(web(cluster, follower), "/watch?prefix=w/", Last_Event_ID=seen[-1][0])
    seen += changes(told, WRITES - READ_BEFORE)
    watching.close()
    assert [(change["key"], change["value"]) for _, change in seen] == [
        (f"w/{number}", str(number)) for number in range(WRITES)
    ]
