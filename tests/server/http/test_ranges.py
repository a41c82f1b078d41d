"""Pages of keys, and the past of one, over HTTP."""

import pytest

from kvraft.commands import Aged, Failure
from kvraft.server.http import history
from tests.server.http.clients import WebNode


@pytest.fixture
def node() -> WebNode:
    """A node with five keys, of which three begin alike."""
    node = WebNode()
    for key in ("a", "b/1", "b/2", "b/3", "c"):
        node.ask("PUT", f"/kv/{key}", f"value of {key}".encode())
    return node


def keys(node: WebNode, query: str) -> list[str]:
    """Return the keys of an answer."""
    return [item["key"] for item in node.ask("GET", f"/kv/{query}").json["items"]]


def test_all_keys(node: WebNode) -> None:
    """With their values and revisions."""
    answer = node.ask("GET", "/kv/?limit=1").json

    item = {"key": "a", "value": "value of a", "create_revision": 1, "mod_revision": 1, "version": 1}
    assert answer["items"] == [item]
    assert (answer["count"], answer["revision"]) == (5, 5)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["a", "b/1", "b/2", "b/3", "c"]),
        ("?prefix=b%2F", ["b/1", "b/2", "b/3"]),
        ("?prefix=b/&reverse", ["b/3", "b/2", "b/1"]),
        ("?start=b/2", ["b/2", "b/3", "c"]),
        ("?start=b/2&end=c", ["b/2", "b/3"]),
        ("?end=b", ["a"]),
        ("?revision=2", ["a", "b/1"]),
        ("?prefix=x", []),
    ],
)
def test_some_keys(node: WebNode, query: str, expected: list[str]) -> None:
    """Those that begin so, or from one to another."""
    assert keys(node, query) == expected
    assert "cursor" not in node.ask("GET", f"/kv/{query}").json


@pytest.mark.parametrize("reverse", ["", "&reverse"])
def test_page_by_page(node: WebNode, reverse: str) -> None:
    """The cursor goes on, at the revision of the first page; the count is that of the whole range."""
    found: list[str] = []
    cursor = ""
    while True:
        answer = node.ask("GET", f"/kv/?limit=2{reverse}{cursor}").json
        found += [item["key"] for item in answer["items"]]
        assert answer["revision"] == 5
        if "cursor" not in answer:
            break
        cursor = f"&cursor={answer['cursor']}"
        node.ask("DELETE", "/kv/c")

    expected = ["a", "b/1", "b/2", "b/3", "c"]
    assert found == (expected[::-1] if reverse else expected)


def test_only_keys_or_their_number(node: WebNode) -> None:
    """What is not asked for is left out."""
    assert node.ask("GET", "/kv/?prefix=b/2&keys_only").json["items"] == [{"key": "b/2"}]
    assert node.ask("GET", "/kv/?prefix=b/&count_only").json == {"count": 3}


def test_a_page_of_any_member(node: WebNode) -> None:
    """With its age; one that is too old is an error."""
    node.database.results = [Aged(5, 2_000_000)]
    assert node.ask("GET", "/kv/?count_only&stale=3").headers["kvraft-age"] == "2"
    node.database.results = [Aged(Failure("TOO_STALE", "too old"), None), Aged(5, None)]
    response = node.ask("GET", "/kv/?stale=1")
    assert (response.status, response.error) == (503, "TOO_STALE")


@pytest.mark.parametrize(
    "query",
    [
        "?prefix=a&start=b",
        "?limit=0",
        "?limit=1001",
        "?cursor=x",
        "?cursor=1.YQ==&revision=1",
        f"?cursor={'9' * 50}.YQ==",
        "?key=a",
    ],
)
def test_ranges_that_make_no_sense(node: WebNode, query: str) -> None:
    """They are refused."""
    response = node.ask("GET", f"/kv/{query}")

    assert (response.status, response.error) == (400, "INVALID")


# --- the past --------------------------------------------------------------------------------------------------------


def test_the_revisions_of_a_key(node: WebNode) -> None:
    """The newest first, back to where it was not there."""
    node.ask("DELETE", "/kv/a")
    for value in (b"1", b"2", b"3"):
        node.ask("PUT", "/kv/a", value)

    answer = node.ask("GET", "/kv/a?history").json

    told = [(item["value"], item["mod_revision"], item["version"]) for item in answer["revisions"]]
    assert told == [("3", 9, 3), ("2", 8, 2), ("1", 7, 1)]
    assert (answer["key"], answer["more"]) == ("a", False)


def test_a_history_is_bounded(node: WebNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """In revisions and in bytes."""
    for value in (b"1", b"2", b"3"):
        node.ask("PUT", "/kv/a", value)

    answer = node.ask("GET", "/kv/a?history&limit=2").json
    assert (len(answer["revisions"]), answer["more"]) == (2, True)
    monkeypatch.setattr(history, "HISTORY_BYTES_MAX", 1)
    assert len(node.ask("GET", "/kv/a?history").json["revisions"]) == 2
    for limit in (0, 101):
        assert node.ask("GET", f"/kv/a?history&limit={limit}").error == "INVALID"


def test_a_history_that_is_not_kept(node: WebNode) -> None:
    """The answer says so, and from where on it is."""
    node.ask("PUT", "/kv/a", b"2")
    node.database.waits = True
    client = node.connect()
    client.asks("GET", "/kv/a?history")
    node.database.answer_next()
    node.database.results = [Failure("COMPACTED", "gone", {"oldest_revision": 6})]
    node.database.answer_next()

    answer = client.read().json
    assert [item["value"] for item in answer["revisions"]] == ["2"]
    assert (answer["more"], answer["oldest_revision"]) == (True, 6)


def test_a_history_of_nothing(node: WebNode) -> None:
    """A key that is not there has none that could be found."""
    assert node.ask("GET", "/kv/x?history").error == "NO_SUCH_KEY"
