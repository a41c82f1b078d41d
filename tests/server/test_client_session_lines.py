"""Lines of client sessions, and of reads that name the node to answer them."""

import pytest

from kvraft.commands import Aged, Set, StaleRead, get_key
from kvraft.server import replies
from kvraft.server.requests import read_requests
from tests.server.test_data_requests import Lines


def test_sessions_and_numbered_writes() -> None:
    """SESSION gives a client id; a number stands before any command that writes, and its answer stays the same."""
    lines = Lines()

    assert lines.ask("SESSION") == {"client": 1, "ttl": 300.0}
    assert lines.ask("session ttl 2.5") == {"client": 2, "ttl": 2.5}
    for _ in range(2):
        assert lines.ask("#1:1 INCR n 5") == {"value": "5", "revision": 1}
        assert lines.ask("#1:2 set k two words") == {"status": "OK"}
        assert lines.ask("#1:3 CAS k ABSENT x")["error"] == "CONDITION_FAILED"
        assert lines.ask("#1:4 DELETE k") == {"status": "OK"}
        assert lines.ask('#1:5 TXN {"then":[{"set":"a","value":"b"},{"get":"a"}]}')["results"][0] == {"status": "OK"}
        assert lines.ask("#1:6 INCR a")["error"] == "NOT_A_NUMBER"
    assert lines.store.revision == 4
    assert lines.ask("SESSION RENEW 1") == {"status": "OK"}
    assert lines.ask("SESSION END 1") == {"status": "OK"}
    assert lines.ask("#1:7 INCR n")["error"] == "SESSION_EXPIRED"
    assert lines.ask("SESSION RENEW 1")["error"] == "SESSION_EXPIRED"


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("#1:1 GET k", "INVALID", "only a command that writes"),
        ("#1:1 SESSION", "INVALID", "only a command that writes"),
        ("#1:1 PING", "INVALID", "in front of a command that writes"),
        ("#1:1 #1:2 SET k v", "INVALID", "in front of a command that writes"),
        ("#1:1", "INVALID", "in front of a command that writes"),
        ("#0:1 SET k v", "INVALID", "#<client>:<number>"),
        ("#1 SET k v", "INVALID", "#<client>:<number>"),
        ("#1:9999999999999999999 SET k v", "INVALID", "between 1 and"),
        ("#1:1 SET k", "USAGE", "SET <key> <value>"),
        ("#1:1 SET  v", "INVALID", "two spaces"),
        ("SESSION TTL 0.5", "INVALID", "at least 1"),
        ("SESSION TTL", "USAGE", "SESSION RENEW"),
        ("SESSION END", "USAGE", "SESSION RENEW"),
        ("SESSION AGAIN", "USAGE", "SESSION RENEW"),
    ],
)
def test_what_is_wrong_with_a_numbered_write(line: str, code: str, says: str) -> None:
    """The message says how it is written."""
    answer = Lines().ask(line)
    assert answer["error"] == code
    assert says in answer["message"]


def test_reads_say_who_answers_them() -> None:
    """STALE and LOCAL come last, with GET, TTL, RANGE and PREFIX; what may be stale is answered with its age."""
    lines = Lines(Set(b"k", b"v"))

    assert lines.ask("GET k STALE") == {"value": "v", "age": 0.0}
    assert lines.ask("GET k META STALE 2.5")["age"] == 0.0
    assert lines.ask("GET none STALE") == {"value": None, "age": 0.0}
    assert lines.ask("GET k LOCAL") == {"value": "v"}
    assert lines.ask("TTL k STALE") == {"ttl": None, "age": 0.0}
    assert lines.ask("TTL none STALE")["error"] == "NO_SUCH_KEY"
    assert lines.ask("PREFIX k COUNT STALE") == {"count": 1, "age": 0.0}
    assert lines.ask("RANGE a z KEYS STALE 1") == {"items": [{"key": "k"}], "revision": 1, "cursor": None, "age": 0.0}
    assert lines.ask("PREFIX k KEYS LOCAL")["items"] == [{"key": "k"}]
    (request,) = read_requests([b"GET k STALE 2.5"])[0].operations
    assert request == StaleRead(get_key(b"k"), 2_500_000)
    for wrong in ("GET k STALE 1 META", "GET k LOCAL 1", "GET k STALE x", "TTL k META", "PREFIX k LOCAL KEYS"):
        assert lines.ask(wrong)["error"] == "USAGE"
    assert b'"age":null' in replies.aged(replies.found, Aged(None, None))
