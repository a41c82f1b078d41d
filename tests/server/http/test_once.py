"""Writes with an Idempotency-Key are carried out once."""

import pytest

from kvraft.server.http.once import KEPT_S, MARKS, NAME_CHARACTERS_MAX
from tests.server.http.clients import WebNode


@pytest.fixture
def node() -> WebNode:
    """A node."""
    return WebNode()


def test_a_write_is_carried_out_once(node: WebNode) -> None:
    """What is sent again is answered as it was first, whatever has happened since."""
    first = node.ask("PUT", "/kv/a", b"1", idempotency_key="k")
    node.ask("PUT", "/kv/a", b"2")
    again = node.ask("PUT", "/kv/a", b"1", idempotency_key='"k"')

    assert first.json == again.json == {"status": "OK", "revision": 1}
    assert (first.headers.get("idempotency-replayed"), again.headers["idempotency-replayed"]) == (None, "true")
    assert node.ask("GET", "/kv/a").body == b"2"


def test_a_removal_is_carried_out_once(node: WebNode) -> None:
    """A key that was written after it stays, when the removal is sent again."""
    node.ask("PUT", "/kv/a", b"1")
    node.ask("DELETE", "/kv/a", idempotency_key="k")
    node.ask("PUT", "/kv/a", b"2")

    assert node.ask("DELETE", "/kv/a", idempotency_key="k").status == 200
    assert node.ask("GET", "/kv/a").body == b"2"


def test_a_condition_is_looked_at_once(node: WebNode) -> None:
    """A write that has happened is not refused because of itself."""
    for _ in range(2):
        response = node.ask("PUT", "/kv/a?cas=absent", b"1", idempotency_key="k")
        assert (response.status, response.json["revision"]) == (200, 1)


def test_a_refusal_is_not_kept(node: WebNode) -> None:
    """It has changed nothing: what is sent again is tried again."""
    refused = node.ask("PUT", "/kv/a?cas=2", b"1", idempotency_key="k")
    assert (refused.status, refused.json["found"]) == (412, None)
    node.ask("PUT", "/kv/b", b"1")
    node.ask("PUT", "/kv/a", b"0")

    assert node.ask("PUT", "/kv/a?cas=2", b"1", idempotency_key="k").json["revision"] == 3


def test_a_transaction_is_carried_out_once(node: WebNode) -> None:
    """A counter counts once; the answer has the revision again, at which its value can be read."""
    body = b'{"then":[{"incr":"n"}]}'
    first = node.ask("POST", "/txn", body, idempotency_key="k")
    node.ask("POST", "/txn", body, idempotency_key="l")
    again = node.ask("POST", "/txn", body, idempotency_key="k")

    assert first.json == {"succeeded": True, "revision": 1, "results": [{"value": "1"}]}
    assert again.json == {"succeeded": True, "revision": 1, "results": None}
    assert node.ask("GET", "/kv/n?revision=1").body == b"1"
    assert node.ask("GET", "/kv/n").body == b"2"


def test_the_other_list_of_a_transaction_counts_too(node: WebNode) -> None:
    """It may write as well."""
    body = b'{"if":[{"key":"a","exists":true}],"then":[],"else":[{"incr":"n"}]}'
    first = node.ask("POST", "/txn", body, idempotency_key="k")
    node.ask("PUT", "/kv/a", b"1")
    again = node.ask("POST", "/txn", body, idempotency_key="k")

    assert (first.json["succeeded"], first.json["results"]) == (False, [{"value": "1"}])
    assert again.json == {"succeeded": False, "revision": 1, "results": None}
    assert node.ask("GET", "/kv/n").body == b"1"


@pytest.mark.parametrize(
    ("method", "path", "body"), [("PUT", "/kv/a", b"2"), ("PUT", "/kv/b", b"1"), ("DELETE", "/kv/a", b"")]
)
def test_a_name_that_is_used_again(node: WebNode, method: str, path: str, body: bytes) -> None:
    """For another request it is refused."""
    node.ask("PUT", "/kv/a", b"1", idempotency_key="k")

    response = node.ask(method, path, body, idempotency_key="k")

    assert (response.status, response.error) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert node.ask("GET", "/kv/a").body == b"1"


def test_marks_go(node: WebNode) -> None:
    """They expire."""
    node.ask("PUT", "/kv/a", b"1", idempotency_key="k")

    mark = node.ask("GET", f"/kv/{MARKS.decode()}k", accept="application/json").json
    assert mark["ttl"] == KEPT_S


@pytest.mark.parametrize("name", ["k" * (NAME_CHARACTERS_MAX + 1), '""', "a\tb", "\u00e9"])
def test_names_that_are_none(node: WebNode, name: str) -> None:
    """They are refused."""
    assert node.ask("PUT", "/kv/a", b"1", idempotency_key=name).error == "INVALID"


def test_what_cannot_be_done_once(node: WebNode) -> None:
    """It is refused rather than done without the promise."""
    nested = b'{"then":[{"txn":{"then":[{"incr":"n"}]}}]}'
    assert node.ask("POST", "/txn", nested, idempotency_key="k").error == "INVALID"
    assert node.ask("POST", "/leases", b'{"ttl":9}', idempotency_key="k").error == "INVALID"
    assert node.database.submissions == []
