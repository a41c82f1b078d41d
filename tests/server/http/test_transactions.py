"""Transactions, leases and locks over HTTP."""

import json

import pytest

from kvraft.commands import AcquireLock, Caller, Granted, acquire_lock
from kvraft.commands import Failure as Failed
from tests.server.http.clients import WebNode


@pytest.fixture
def node() -> WebNode:
    """A node."""
    return WebNode()


def test_a_transaction(node: WebNode) -> None:
    """As TXN of the line protocol."""
    body = json.dumps({"if": [{"key": "a", "exists": False}], "then": [{"set": "a", "value": "1"}, {"incr": "n"}]})

    first = node.ask("POST", "/txn", body.encode())
    second = node.ask("POST", "/txn", body.encode())

    assert first.json == {"succeeded": True, "revision": 1, "results": [{"status": "OK"}, {"value": "1"}]}
    assert (second.status, second.json["succeeded"]) == (200, False)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"then":[{"put":"a"}]}', b'{"if":7}', b"[" * 10_000])
def test_what_is_no_transaction(node: WebNode, body: bytes) -> None:
    """The answer explains it."""
    response = node.ask("POST", "/txn", body)

    assert (response.status, response.error) == (400, "INVALID")


def test_a_transaction_that_fails(node: WebNode) -> None:
    """It has the status of its error."""
    node.ask("PUT", "/kv/n", b"no number")

    response = node.ask("POST", "/txn", b'{"then":[{"incr":"n"}]}')

    assert (response.status, response.error) == (422, "NOT_A_NUMBER")


# --- leases ----------------------------------------------------------------------------------------------------------


def test_the_life_of_a_lease(node: WebNode) -> None:
    """It begins, keys go with it, it is renewed, described, listed and ended."""
    assert node.ask("POST", "/leases", b'{"ttl":60}').json == {"lease": 1, "ttl": 60.0}
    assert node.ask("PUT", "/kv/a?lease=1", b"1").status == 200
    assert node.ask("GET", "/kv/a", accept="application/json").json["lease"] == 1
    assert node.ask("POST", "/leases/1/keepalive").json == {"lease": 1, "ttl": 60.0}
    assert node.ask("GET", "/leases/1?keys").json["keys"] == [{"key": "a"}]
    assert [each["lease"] for each in node.ask("GET", "/leases").json["leases"]] == [1]
    assert node.ask("GET", "/leases?after=1").json["leases"] == []
    assert node.ask("DELETE", "/leases/1").status == 200
    assert node.ask("GET", "/kv/a").status == 404
    assert node.ask("GET", "/leases/1").error == "NO_SUCH_LEASE"
    assert node.ask("POST", "/leases", b'{"ttl":60,"lease":1}').status == 409


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/leases", b"{}"),
        ("POST", "/leases", b'{"ttl":"60"}'),
        ("POST", "/leases", b'{"ttl":60,"tll":1}'),
        ("POST", "/leases", b'{"ttl":-1}'),
        ("POST", "/leases", b'{"ttl":1e300}'),
        ("GET", "/leases/x", b""),
        ("GET", "/leases/0", b""),
        ("GET", "/leases/99999999999999999999", b""),
        ("GET", "/leases?after=-1", b""),
        ("POST", "/locks/l", b'{"ttl":0}'),
        ("POST", "/locks/l", b'{"ttl":1,"wait":1e9}'),
        ("POST", "/locks/l", b'{"ttl":1,"owner":"\\ud800"}'),
        ("POST", "/locks/l/renew", b""),
        ("POST", "/locks/l/renew?token=1&ttl=0", b""),
        ("DELETE", "/locks/l", b""),
        ("DELETE", "/locks/l?token=x", b""),
    ],
)
def test_what_makes_no_sense(node: WebNode, method: str, path: str, body: bytes) -> None:
    """The answer explains it, and nothing happens."""
    response = node.ask(method, path, body)

    assert (response.status, response.error) == (400, "INVALID")
    assert node.database.submissions == []


# --- locks -----------------------------------------------------------------------------------------------------------


def test_a_lock_that_is_waited_for(node: WebNode) -> None:
    """The answer comes when it is granted."""
    client = node.connect()
    client.asks("POST", "/locks/a%2Fb", b'{"ttl":5,"wait":60,"owner":"me"}')
    [(request, reply)] = node.database.locks
    assert request == AcquireLock(b"a/b", 5_000_000, 60_000_000, b"me")
    assert client.transport.written() == b""

    reply([Granted(7, 5_000_000)])

    assert client.read().json == {"token": 7, "ttl": 5.0}
    assert node.database.given_up == []


def test_a_lock_that_is_not_granted(node: WebNode) -> None:
    """It is a conflict."""
    client = node.connect()
    client.asks("POST", "/locks/l", b'{"ttl":5}')
    node.database.locks[0][1]([Failed("LOCK_HELD", "it is held", {"token": 7})])

    response = client.read()
    assert (response.status, response.error, response.json["token"]) == (409, "LOCK_HELD", 7)


@pytest.mark.parametrize("half", [False, True])
def test_a_client_that_goes_gives_its_place_up(node: WebNode, half: bool) -> None:
    """Whether its connection is lost or only its side is closed."""
    client = node.connect()
    client.asks("POST", "/locks/l", b'{"ttl":5,"wait":60}')
    if half:
        client.connection.readConnectionLost()
        assert client.transport.is_closing()
    client.disconnects()

    assert [each.name for each in node.database.given_up] == [b"l"]


def test_a_lock_that_is_held(node: WebNode) -> None:
    """It is described, renewed and given back with its token, and not with another."""
    node.database.ask(Caller("a test"), [acquire_lock(b"l", 5_000_000)], lambda _: None)
    described = node.ask("GET", "/locks/l").json
    token = described["token"]

    assert node.ask("POST", f"/locks/l/renew?token={token}&ttl=9").json == {"token": token, "ttl": 9.0}
    refused = node.ask("DELETE", f"/locks/l?token={token + 1}")
    assert (refused.status, refused.error) == (409, "STALE_TOKEN")
    assert node.ask("DELETE", f"/locks/l?token={token}").json == {"status": "OK"}
    assert node.ask("GET", "/locks/l").json == {"token": None}
