"""How a node is, over HTTP; and errors that any request may come to."""

import json

import msgspec
import pytest

from kvraft.commands import LocalRead
from kvraft.errors import NotLeaderRefusal, OutcomeUnknown, Overloaded
from kvraft.server.http.statuses import STATUSES
from tests.server.http.clients import ME, WebNode
from tests.server.test_error_codes import table
from tests.server.twins import MEMBERS, MemoryDatabase


def test_a_process_that_answers_lives() -> None:
    """Whatever the cluster does."""
    node = WebNode(database=MemoryDatabase(refusal=Overloaded("too much")))

    assert node.ask("GET", "/livez").json == {"status": "OK"}


def test_a_leader_is_ready() -> None:
    """And says that it leads."""
    assert WebNode().ask("GET", "/readyz?leader").json == {"status": "OK", "leads": True, "term": 1}


@pytest.mark.parametrize(
    ("members", "path", "is_ready"),
    [
        (msgspec.structs.replace(MEMBERS, leader=1), "/readyz", True),
        (msgspec.structs.replace(MEMBERS, leader=1), "/readyz?leader=false", True),
        (msgspec.structs.replace(MEMBERS, leader=1), "/readyz?leader", False),
        (msgspec.structs.replace(MEMBERS, leader=1, connected=frozenset()), "/readyz", False),
        (msgspec.structs.replace(MEMBERS, leader=None), "/readyz", False),
    ],
)
def test_a_follower_is_ready_with_a_leader(members: object, path: str, is_ready: bool) -> None:
    """One that it is connected to."""
    node = WebNode(database=MemoryDatabase(members=members))  # type: ignore[arg-type]

    response = node.ask("GET", path)

    assert response.status == (200 if is_ready else 503)
    assert is_ready or response.error == "NOT_READY"


def test_whether_reads_succeed_is_tried() -> None:
    """Where that is asked for, on the node that is asked."""
    node = WebNode()

    assert node.ask("GET", "/readyz?sync").status == 200
    assert isinstance(node.database.submissions[0][0], LocalRead)
    node.database.refusal = NotLeaderRefusal(None)
    assert node.ask("GET", "/readyz?sync").status == 503


def test_the_status() -> None:
    """What STATUS says, with what MEMBERS says, and where HTTP is served."""
    assert WebNode(database=MemoryDatabase()).ask("GET", "/status").json == {
        "role": "twin",
        "revision": 0,
        "members": {"done": 1},
        "http": {"0": "127.0.0.1:9080", "1": "127.0.0.1:9081"},
    }


def test_the_status_every_second() -> None:
    """It comes at once, and each second until the client goes."""
    node = WebNode(database=MemoryDatabase())
    client = node.connect()
    client.asks("GET", "/status/events")

    [first] = client.read_events()
    assert json.loads(first["data"]) == {
        "status": node.ask("GET", "/status").json | {"members": {"done": 1}},
        "point": None,
    }
    node.clock.advance(1)
    node.clock.advance(1)
    assert len(client.read_events()) == 2

    client.disconnects()
    assert node.clock.getDelayedCalls() == []


@pytest.mark.parametrize("path", ["/status/events", "/watch?key=a"])
def test_a_head_of_events_ends(path: str) -> None:
    """There is nothing that could go on."""
    node = WebNode()
    client = node.connect()
    client.asks("HEAD", path)
    assert client.read(head=True).headers["content-type"] == "text/event-stream"
    client.asks("GET", "/livez")

    assert client.read().status == 200
    assert node.database.watches == []
    client.disconnects()


def test_a_client_that_does_not_read_its_status() -> None:
    """It is sent nothing more until it has."""
    node = WebNode()
    client = node.connect()
    client.transport.full = True
    client.asks("GET", "/status/events")
    client.read_events()
    node.clock.pump([1] * 3)
    assert client.read_events() == []

    client.transport.drain()
    node.clock.advance(1)
    assert len(client.read_events()) == 1
    client.disconnects()


# --- errors ----------------------------------------------------------------------------------------------------------


def test_every_code_has_a_status() -> None:
    """All that docs/protocol.md lists."""
    assert table().keys() <= STATUSES.keys()
    assert STATUSES.keys() - table().keys() == {"UNSUPPORTED"}, "sent to no client"


def test_a_follower_redirects() -> None:
    """It names the leader's HTTP, path and query included, so that the same request can be sent there."""
    members = msgspec.structs.replace(MEMBERS, leader=1)
    node = WebNode(database=MemoryDatabase(members=members, refusal=NotLeaderRefusal("127.0.0.1:8081")))

    response = node.ask("PUT", "/kv/a%2Fb?cas=1", b"1")

    assert (response.status, response.headers["location"]) == (307, "http://127.0.0.1:9081/kv/a%2Fb?cas=1")
    assert response.error == "NOT_LEADER"


def test_a_client_that_cannot_follow_to_another_origin_says_so() -> None:
    """The header goes to the replica with the caller, which passes the request on; another value says nothing."""
    node = WebNode()

    node.ask("GET", "/kv/a", kvraft_on_follower="forward")
    node.ask("GET", "/kv/a", kvraft_on_follower="redirect")
    node.ask("GET", "/kv/a")

    assert [caller.forwards for caller in node.database.callers] == [True, False, False]


@pytest.mark.parametrize(("leader", "hint"), [(1, "127.0.0.1:8081"), (None, None)])
def test_a_leader_without_http(leader: int | None, hint: str | None) -> None:
    """The answer has its address for the other protocols, if there is one."""
    members = msgspec.structs.replace(MEMBERS, leader=leader)
    node = WebNode(database=MemoryDatabase(members=members, refusal=NotLeaderRefusal(hint)), peers=(ME,))

    response = node.ask("GET", "/kv/a")

    assert (response.status, response.error, response.json["leader_hint"]) == (503, "NOT_LEADER", hint)
    assert response.headers["retry-after"] == "1"
    assert ("does not say where it serves HTTP" in response.json["message"]) == (hint is not None)


def test_a_write_whose_fate_is_not_known() -> None:
    """It has a status of its own, so that no client takes it for one that has not happened."""
    node = WebNode(database=MemoryDatabase(refusal=OutcomeUnknown("who knows")))

    response = node.ask("PUT", "/kv/a", b"1")

    assert (response.status, response.error) == (504, "UNKNOWN")
