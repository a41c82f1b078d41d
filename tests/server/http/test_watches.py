"""Watches as server-sent events."""

import json
from typing import Final

import pytest

from kvraft.commands import Change, Item, Span, prefix_span
from kvraft.errors import Overloaded
from kvraft.replica.watches import SlowWatcher
from kvraft.server import ServerLimits
from kvraft.server.http.stream import BEATS_EVERY, COMMENT
from tests.server.http.clients import WebClient, WebNode
from tests.server.twins import MemorySubscription

ONE: Final = Change(1, b"a", None, Item(b"1", 1, 1, 1))
TWO_OF_TWO: Final = [
    Change(2, b"a", Item(b"1", 1, 1, 1), Item(b"\xff", 1, 2, 2)),
    Change(2, b"b", Item(b"x", 1, 1, 1), None),
]


@pytest.fixture
def node() -> WebNode:
    """A node."""
    return WebNode()


def watch(node: WebNode, query: str, **headers: str) -> tuple[WebClient, MemorySubscription]:
    """Begin a watch."""
    client = node.connect()
    client.asks("GET", f"/watch?{query}", b"", **headers)
    return client, node.database.watches[-1]


def test_a_watch(node: WebNode) -> None:
    """It says where it begins, then one event a change."""
    client, watched = watch(node, "key=a")
    watched.sink.events([ONE])
    watched.sink.progress(9)

    begun, change, progress = client.read_events()
    assert (begun["event"], begun["id"], begun["data"]) == ("begun", "0", '{"revision":0}')
    assert change["id"] == "1"
    assert json.loads(change["data"]) == {
        "event": "PUT",
        "key": "a",
        "value": "1",
        "revision": 1,
        "create_revision": 1,
        "version": 1,
    }
    assert (progress["event"], progress["id"]) == ("progress", "9")
    assert watched.selection.span == Span(b"a", b"a\0")
    client.disconnects()


def test_a_revision_of_several_changes(node: WebNode) -> None:
    """Only its last event has an id, so that a client that has seen less is sent all of it again."""
    client, watched = watch(node, "prefix=&prev")
    client.read_events()
    watched.sink.events(TWO_OF_TWO)

    first, last = client.read_events()
    assert "id" not in first
    assert (json.loads(first["data"])["more"], json.loads(first["data"])["prev_value"]) == (True, "1")
    assert last["id"] == "2"
    assert "more" not in json.loads(last["data"])
    assert watched.selection.span == prefix_span(b"")
    client.disconnects()


@pytest.mark.parametrize(
    ("query", "headers", "expected"),
    [
        ("key=a", {}, None),
        ("key=a&from=5", {}, 5),
        ("key=a", {"last_event_id": "7"}, 8),
        ("key=a&from=5", {"last_event_id": "7"}, 8),
    ],
)
def test_where_a_watch_begins(node: WebNode, query: str, headers: dict[str, str], expected: int | None) -> None:
    """Where the query says, or after the event that was seen last."""
    client, watched = watch(node, query, **headers)

    assert watched.selection.from_revision == expected
    assert ("id" in client.read_events()[0]) == (expected is None)
    client.disconnects()


@pytest.mark.parametrize("half", [False, True])
def test_a_client_that_goes(node: WebNode, half: bool) -> None:
    """Its watch ends, and nothing is left of it."""
    client, watched = watch(node, "key=a")
    if half:
        client.connection.readConnectionLost()
        assert client.transport.is_closing()
    client.disconnects()

    assert watched.cancelled
    assert node.clock.getDelayedCalls() == []


def test_a_client_that_does_not_read() -> None:
    """Only so much waits for it as for any watcher."""
    node = WebNode(limits=ServerLimits(watch_bytes=1_000))
    client, watched = watch(node, "key=a")
    assert watched.sink.is_drained
    client.transport.full = True
    watched.sink.events([ONE])

    assert not watched.sink.is_drained
    assert 800 < watched.sink.room_bytes < 950
    client.transport.drain()
    assert (watched.resumed, watched.sink.room_bytes) == (1, 1_000)
    client.disconnects()


def test_a_watch_that_the_node_ends(node: WebNode) -> None:
    """The last event has the reason, and the revision from which the client misses nothing."""
    client, watched = watch(node, "key=a")
    client.read_events()
    watched.sink.closed(SlowWatcher(), 5)

    [closed] = client.read_events()
    assert closed["event"] == "closed"
    assert json.loads(closed["data"]) == {"error": "SLOW_WATCHER", "message": str(SlowWatcher()), "resume_from": 5}
    assert node.ask("GET", "/livez").status == 200
    client.asks("GET", "/livez")
    assert client.read().status == 200
    client.disconnects()


def test_a_watch_that_is_not_possible(node: WebNode) -> None:
    """It is an error like any other, which a browser does not repeat."""
    node.database.refusal = Overloaded("too many watches")

    response = node.ask("GET", "/watch?key=a")

    assert (response.status, response.error) == (503, "OVERLOADED")


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("", {}),
        ("key=a&prefix=b", {}),
        ("key=", {}),
        ("key=a&from=0", {}),
        ("key=a", {"last_event_id": "x"}),
        ("key=a", {"last_event_id": "1" * 19}),
    ],
)
def test_watches_that_make_no_sense(node: WebNode, query: str, headers: dict[str, str]) -> None:
    """They are refused."""
    response = node.ask("GET", f"/watch?{query}", b"", **headers)

    assert (response.status, response.error) == (400, "INVALID")


def test_a_quiet_watch_gets_comments(node: WebNode) -> None:
    """So that no proxy between takes the connection for dead; but not one that does not read."""
    client, _ = watch(node, "key=a")
    slow, _ = watch(node, "key=a")
    slow.transport.full = True
    node.clock.pump([1] * (BEATS_EVERY - 1))
    client.transport.writes.clear()
    node.clock.pump([1] * BEATS_EVERY)
    assert client.transport.written().count(COMMENT) == 1
    slow.transport.writes.clear()
    node.clock.pump([1] * (BEATS_EVERY - 1))

    assert slow.transport.written() == b""
    client.disconnects()
    slow.disconnects()
    assert node.clock.getDelayedCalls() == []


def test_a_change_is_encoded_once(node: WebNode) -> None:
    """For all watches of the same kind."""
    (first, one), (second, other) = watch(node, "key=a"), watch(node, "key=a")
    change = Change(1, b"a", None, Item(b"1", 1, 1, 1))
    for each in (one, other):
        each.sink.events([change])

    assert first.read_events()[1:] == second.read_events()[1:]
    assert len(change.encoded) == 1
    first.disconnects()
    second.disconnects()
