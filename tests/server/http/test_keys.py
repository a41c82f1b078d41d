"""One key over HTTP."""

import pytest

from kvraft.commands import Aged, Item, StaleRead
from tests.server.http.clients import WebNode


@pytest.fixture
def node() -> WebNode:
    """A node."""
    return WebNode()


def test_bytes_go_in_and_come_out(node: WebNode) -> None:
    """As they are, whatever they are, under any key."""
    value = bytes(range(256))

    written = node.ask("PUT", "/kv/a%20%00%ff/b", value)
    read = node.ask("GET", "/kv/a%20%00%FF%2Fb")

    assert (written.status, written.json) == (200, {"status": "OK", "revision": 1})
    assert (read.status, read.body) == (200, value)
    assert read.headers["content-type"] == "application/octet-stream"
    assert node.database.submissions[0][0].key == b"a \x00\xff/b"  # type: ignore[union-attr]


def test_a_value_is_never_a_page(node: WebNode) -> None:
    """A browser neither guesses what it is nor runs what is in it."""
    node.ask("PUT", "/kv/a", b"<script>")
    headers = node.ask("GET", "/kv/a").headers

    assert headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in headers["content-security-policy"]


def test_no_cache_answers_for_a_node(node: WebNode) -> None:
    """A read sees every write that was answered before it, which a cache cannot know."""
    node.ask("PUT", "/kv/a", b"1")

    assert node.ask("GET", "/kv/a").headers["cache-control"] == "no-cache"


def test_an_empty_value_is_a_value(node: WebNode) -> None:
    """It is there."""
    node.ask("PUT", "/kv/a")

    assert (node.ask("GET", "/kv/a").status, node.ask("GET", "/kv/a").body) == (200, b"")


def test_what_is_known_of_a_key(node: WebNode) -> None:
    """Its revisions stand in headers, and in JSON where that is asked for."""
    for value in (b"1", b"2"):
        node.ask("PUT", "/kv/a", value)

    headers = node.ask("GET", "/kv/a").headers
    described = node.ask("GET", "/kv/a", accept="application/json").json

    assert headers["etag"] == '"2"'
    assert [headers[f"kvraft-{name}"] for name in ("create-revision", "mod-revision", "version")] == ["1", "2", "2"]
    assert described == {"key": "a", "value": "2", "create_revision": 1, "mod_revision": 2, "version": 2}


def test_json_of_what_is_no_text(node: WebNode) -> None:
    """In base64, as in all answers."""
    node.ask("PUT", "/kv/%ff", b"\xff")

    described = node.ask("GET", "/kv/%ff", accept="application/json").json

    assert (described["key_base64"], described["value_base64"]) == ("/w==", "/w==")


def test_a_head_has_no_body(node: WebNode) -> None:
    """But the headers of the answer to GET."""
    node.ask("PUT", "/kv/a", b"12345")

    response = node.ask("HEAD", "/kv/a")

    assert (response.status, response.headers["content-length"], response.body) == (200, "5", b"")


def test_a_key_that_is_not_there(node: WebNode) -> None:
    """It is not found; to remove it is no error."""
    response = node.ask("GET", "/kv/a")

    assert (response.status, response.error) == (404, "NO_SUCH_KEY")
    assert node.ask("DELETE", "/kv/a").json == {"status": "OK", "deleted": 0}


def test_a_client_that_has_it_already(node: WebNode) -> None:
    """The answer says so, without the value."""
    node.ask("PUT", "/kv/a", b"1")

    response = node.ask("GET", "/kv/a", if_none_match='"1"')

    assert (response.status, response.body) == (304, b"")
    assert node.ask("GET", "/kv/a", if_none_match='"2"').status == 200


@pytest.mark.parametrize(
    ("known", "status"),
    [
        ("*", 304),
        ('"1", "7"', 304),
        ('"7","1"', 304),
        ('W/"1"', 304),
        ('"7"', 200),
        ('"1"x', 200),
        ("1", 200),
        ("", 200),
    ],
)
def test_several_that_a_client_may_have(node: WebNode, known: str, status: int) -> None:
    """A list of ETags, weak ones as proxies make them, or any."""
    node.ask("PUT", "/kv/a", b"1")

    assert node.ask("GET", "/kv/a", if_none_match=known).status == status


def test_the_past(node: WebNode) -> None:
    """A key as it was; an unknown revision is an error that says so."""
    node.ask("PUT", "/kv/a", b"1")
    node.ask("PUT", "/kv/a", b"2")

    assert node.ask("GET", "/kv/a?revision=1").body == b"1"
    future = node.ask("GET", "/kv/a?revision=9")
    assert (future.status, future.error) == (409, "FUTURE_REVISION")


@pytest.mark.parametrize(("query", "headers"), [("?cas=1", {}), ("", {"if_match": '"1"'})])
def test_a_write_on_a_condition(node: WebNode, query: str, headers: dict[str, str]) -> None:
    """It happens if the key was last written at that revision; else the answer has what was found."""
    node.ask("PUT", "/kv/a", b"1")

    assert node.ask("PUT", f"/kv/a{query}", b"2", **headers).json == {"status": "OK", "revision": 2}
    for method in ("PUT", "DELETE"):
        refused = node.ask(method, f"/kv/a{query}", b"3" if method == "PUT" else b"", **headers)
        assert (refused.status, refused.error) == (412, "CONDITION_FAILED")
        assert refused.json["found"]["value"] == "2"
    assert node.ask("GET", "/kv/a").body == b"2"


@pytest.mark.parametrize(("query", "headers"), [("?cas=absent", {}), ("", {"if_none_match": "*"})])
def test_a_write_of_what_is_not_there(node: WebNode, query: str, headers: dict[str, str]) -> None:
    """It happens once."""
    assert node.ask("PUT", f"/kv/a{query}", b"1", **headers).status == 200
    assert node.ask("PUT", f"/kv/a{query}", b"2", **headers).status == 412


def test_a_write_of_what_is_there(node: WebNode) -> None:
    """If-Match: * requires that the key exists."""
    assert node.ask("PUT", "/kv/a", b"1", if_match="*").status == 412
    node.ask("PUT", "/kv/a", b"1")
    assert node.ask("DELETE", "/kv/a", if_match="*").json == {"status": "OK", "revision": 2}


def test_a_key_that_expires(node: WebNode) -> None:
    """Its remaining time is in the JSON."""
    assert node.ask("PUT", "/kv/a?ttl=2.5", b"1").status == 200

    assert node.ask("GET", "/kv/a", accept="application/json").json["ttl"] == 2.5


def test_a_lease_that_is_not_there(node: WebNode) -> None:
    """Nothing is written with it."""
    response = node.ask("PUT", "/kv/a?lease=7", b"1")

    assert (response.status, response.error) == (404, "NO_SUCH_LEASE")


def test_reads_that_any_member_answers() -> None:
    """The query asks for it, and the answer has the age of the state."""
    node = WebNode()
    node.ask("PUT", "/kv/a", b"1")
    node.database.results = [Aged(Item(b"1", 1, 1, 1), 1_500_000)]

    response = node.ask("GET", "/kv/a?stale=2")

    assert (response.body, response.headers["kvraft-age"]) == (b"1", "1.5")
    [read] = node.database.submissions[-1]
    assert isinstance(read, StaleRead)
    assert read.max_age_us == 2_000_000


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/kv/a?revison=1", {}),
        ("GET", "/kv/a?revision=x", {}),
        ("GET", "/kv/a?revision=-1", {}),
        ("GET", "/kv/a?revision=1&revision=1", {}),
        ("GET", "/kv/a?stale=now", {}),
        ("GET", "/kv/a?local=perhaps", {}),
        ("PUT", "/kv/a?cas=x", {}),
        ("GET", "/kv/a?limit=1", {}),
        ("GET", "/kv/a?history&revision=1", {}),
        ("GET", "/kv/a?history&stale=1", {}),
        ("GET", "/kv/a?history&local", {}),
        ("PUT", f"/kv/a?cas={'9' * 5_000}", {}),
        ("PUT", "/kv/a", {"if_match": f'"{"9" * 5_000}"'}),
        ("PUT", "/kv/a", {"if_match": '"\xb2"'}),
        ("PUT", "/kv/a?cas=1", {"if_match": '"1"'}),
        ("PUT", "/kv/a", {"if_match": "1"}),
        ("PUT", "/kv/a", {"if_none_match": '"1"'}),
        ("PUT", "/kv/a?ttl=0", {}),
        ("PUT", "/kv/a?ttl=1&lease=1", {}),
        ("PUT", "/kv/a?lease=0", {}),
        ("DELETE", "/kv/a?ttl=1", {}),
        ("GET", f"/kv/{'k' * (64 * 1024 - 400)}?revision=99999999999999999999", {}),
    ],
)
def test_what_is_asked_wrongly(node: WebNode, method: str, path: str, headers: dict[str, str]) -> None:
    """The answer explains it, and nothing happens."""
    response = node.ask(method, path, b"", **headers)

    assert (response.status, response.error) == (400, "INVALID")
    assert response.json["message"]
    assert node.database.submissions == []


def test_another_method(node: WebNode) -> None:
    """It is refused with those that there are."""
    response = node.ask("PATCH", "/kv/a")

    assert (response.status, response.error) == (405, "METHOD_NOT_ALLOWED")
    assert response.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PUT"


def test_another_path(node: WebNode) -> None:
    """There is nothing."""
    response = node.ask("GET", "/nothing")

    assert (response.status, response.error) == (404, "NOT_FOUND")
