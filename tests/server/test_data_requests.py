"""Lines with conditions, counters, ranges and transactions: what they ask, how they are answered, what is refused."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
import pytest

from kvraft.commands import Delete, Failure, Get, Item, Mutation, Operation, Set, get_key
from kvraft.server import replies
from kvraft.server.requests import HEAVY_TOGETHER, read_requests
from kvraft.store import Store
from tests.store.log import batch
from tests.store.test_history import grown


class Lines:
    """A store that is asked in lines."""

    def __init__(self, *mutations: Mutation) -> None:
        self.store: Store = grown([*mutations])

    def ask(self, line: str | bytes) -> dict[str, Any]:
        """Return the answer to one line."""
        line = line.encode() if isinstance(line, str) else line
        requests, rest = read_requests([line])
        assert not rest
        if requests.notes:
            ((_, note),) = requests.notes
            assert isinstance(note, bytes)
            return msgspec.json.decode(note, type=dict[str, Any])
        operations = requests.operations if requests.lock is None else [requests.lock]
        (operation,), (answer,) = operations, requests.answers
        result = self._run(operation)
        if isinstance(result, Failure):
            return msgspec.json.decode(replies.failure(result), type=dict[str, Any])
        return msgspec.json.decode(answer if isinstance(answer, bytes) else answer(result), type=dict[str, Any])

    def _run(self, operation: Operation) -> object:
        if isinstance(operation, Mutation):
            (result,) = self.store.apply(batch(self.store.applied_index + 1, operation))
            return result
        return operation.run(self.store)


def test_what_was_read_before_is_read_as_before() -> None:
    """SET, GET and DELETE keep their bytes: a key may begin with a double quote, a value is the rest of its line."""
    requests, _ = read_requests([b'SET "k "v', b'GET "k', b'DELETE "k', b'GET "k"', b"SET k IF ABSENT"])

    assert requests.operations == [
        Set(b'"k', b'"v'),
        Get(b'"k'),
        Delete(b'"k'),
        Get(b'"k"'),
        Set(b"k", b"IF ABSENT"),
    ]


def test_expiry() -> None:
    """EXPIRE sets the time, TTL shows it, PERSIST and SET end it; times have up to six decimals."""
    lines = Lines(Set(b"k", b"v"))
    assert lines.ask("TTL k") == {"ttl": None}

    assert lines.ask("EXPIRE k 2.5") == {"status": "OK"}
    assert lines.ask("TTL k") == {"ttl": 2.5}
    assert lines.ask("expire k 0.001000") == {"status": "OK"}
    assert lines.ask("TTL k") == {"ttl": 0.001}
    assert lines.ask("PERSIST k") == {"status": "OK"}
    assert lines.ask("TTL k") == {"ttl": None}
    for line in ("EXPIRE none 1", "TTL none", "PERSIST none"):
        assert lines.ask(line)["error"] == "NO_SUCH_KEY"


@pytest.mark.parametrize(
    "line", ["EXPIRE", "EXPIRE k", "EXPIRE k -1", "EXPIRE k 1.", "EXPIRE k 1.1234567", "EXPIRE k 1 2", "EXPIRE k 1e3"]
)
def test_a_time_that_is_none_is_answered_with_the_usage(line: str) -> None:
    """It is seconds, with at most six decimals."""
    assert Lines().ask(line) == {"error": "USAGE", "message": "write: EXPIRE <key> <seconds>"}


@pytest.mark.parametrize(
    "line", ["EXPIRE k 0", "CAS k FOR 0.0009 ABSENT v", 'TXN {"then":[{"set":"k","value":"v","ttl":1e9}]}']
)
def test_a_time_beyond_its_limits_is_invalid(line: str) -> None:
    """The answer names the limits."""
    answer = Lines().ask(line)
    assert answer["error"] == "INVALID"
    assert "at least 0.001 and at most 315360000 seconds" in answer["message"]


def test_conditional_writes_and_transactions_set_keys_that_expire() -> None:
    """FOR stands before the condition, where no value can be meant; a transaction names the time as ttl."""
    lines = Lines()

    assert lines.ask("CAS k FOR 9.5 ABSENT FOR 3 ABSENT v")["status"] == "OK"
    assert (lines.ask("GET k"), lines.ask("TTL k")) == ({"value": "FOR 3 ABSENT v"}, {"ttl": 9.5})
    assert lines.ask('TXN {"then":[{"set":"t","value":"v","ttl":1.25},{"set":"u","value":"v"}]}')["succeeded"]
    assert (lines.ask("TTL t"), lines.ask("TTL u")) == ({"ttl": 1.25}, {"ttl": None})
    assert lines.ask('TXN {"then":[{"set":"t","value":"v","ttl":"1"}]}')["error"] == "INVALID"
    assert lines.ask('TXN {"then":[{"set":"t","value":"v","ttl":true}]}')["error"] == "INVALID"


def test_revisions() -> None:
    """META shows them, AT reads the past, and both go together in either order."""
    lines = Lines(Set(b"k", b"old"), Set(b"other", b""), Set(b"k", b"new"))

    new = {"value": "new", "create_revision": 1, "mod_revision": 3, "version": 2}
    assert lines.ask("GET k META") == new
    assert lines.ask('get "k" meta') == new
    assert lines.ask("GET k AT 2") == {"value": "old"}
    assert lines.ask("GET k AT 2 META") == lines.ask("GET k META AT 2")
    assert lines.ask("GET k AT 0") == lines.ask("GET nothing META") == {"value": None}
    assert lines.ask("GET k AT 4")["error"] == "FUTURE_REVISION"


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("REVISION 2", True),
        ("REVISION 1", False),
        ("VERSION 2", True),
        ("VERSION 1", False),
        ("VALUE a", False),
        ("VALUE b", True),
        ('VALUE "b"', True),
        ("ABSENT", False),
        ("present", True),
    ],
)
def test_conditions(condition: str, holds: bool) -> None:
    """A write with a condition takes effect where it holds, and else says what was found and changes nothing."""
    mutations = (Set(b"k", b"a"), Set(b"k", b"b"))
    found = {"value": "b", "create_revision": 1, "mod_revision": 2, "version": 2}
    written = Item(b"new value", 1, 3, 3)
    for line, left in ((f"CAS k {condition} new value", written), (f"DELETE k IF {condition}", None)):
        lines = Lines(*mutations)
        answer = lines.ask(line)
        if holds:
            assert answer == {"status": "OK", "revision": 3}
            assert lines.store.get(b"k") == left
        else:
            assert (answer["error"], answer["found"], answer["revision"]) == ("CONDITION_FAILED", found, 2)
            assert lines.store.get(b"k") == Item(b"b", 1, 2, 2)


def test_conditions_on_a_key_that_is_not_there() -> None:
    """ABSENT creates; all others fail and say that nothing is there."""
    assert Lines().ask("CAS k ABSENT v") == {"status": "OK", "revision": 1}
    assert Lines().ask("CAS k REVISION 0 v") == {"status": "OK", "revision": 1}
    for condition in ("PRESENT", "REVISION 1", "VERSION 1", 'VALUE ""'):
        answer = Lines().ask(f"CAS k {condition} v")
        assert (answer["error"], answer["found"]) == ("CONDITION_FAILED", None)


def test_json_strings() -> None:
    """Keys and values with spaces and line feeds go as JSON strings where an argument begins with a double quote."""
    lines = Lines()

    assert lines.ask(r'CAS "a key" ABSENT "two\nlines "') == {"status": "OK", "revision": 1}
    assert lines.ask('APPEND "a key"  more') == {"length": 15, "revision": 2}
    assert lines.ask('GET "a key" META')["value"] == "two\nlines  more"
    assert lines.ask('CAS k ABSENT a "quoted" word')["status"] == "OK"
    assert lines.store.get(b"k") == Item(b'a "quoted" word', 3, 3, 1)
    for line in ('CAS k ABSENT "open', 'CAS k ABSENT "a"b', r'CAS k ABSENT "\ud800"', 'CAS "" ABSENT x'):
        assert lines.ask(line)["error"] == "INVALID", line


def test_counters() -> None:
    """INCR adds 1 or a number and answers as GET would; what is no number is refused."""
    lines = Lines(Set(b"text", b"x"))

    assert lines.ask("INCR n") == {"value": "1", "revision": 2}
    assert lines.ask("INCR n -5") == {"value": "-4", "revision": 3}
    assert lines.ask("GET n") == {"value": "-4"}
    assert lines.ask("INCR text")["error"] == "NOT_A_NUMBER"
    assert lines.ask(f"INCR n -{2**63 - 1}")["error"] == "OVERFLOW"
    assert lines.ask("INCR n 9223372036854775808")["error"] == "INVALID"
    assert lines.ask("INCR n 1.5")["error"] == "USAGE"


def test_ranges() -> None:
    """Ranges and prefixes in both orders, with a limit, keys alone, revisions, and their number."""
    lines = Lines(*(Set(key, b"v") for key in (b"a", b"b/1", b"b/2", b"b/3", b"c")), Set(b"\xff", b"\xff"))

    def keys(line: str) -> list[str]:
        return [item["key"] for item in lines.ask(line)["items"]]

    assert keys("RANGE a c") == ["a", "b/1", "b/2", "b/3"]
    assert keys("RANGE b/2 b/1") == []
    assert keys("PREFIX b/ REVERSE LIMIT 2") == ["b/3", "b/2"]
    assert lines.ask("PREFIX b/ COUNT") == {"count": 3}
    assert lines.ask('RANGE "" "" COUNT') == {"count": 6}
    assert lines.ask("PREFIX a KEYS") == {"items": [{"key": "a"}], "revision": 6, "cursor": None}
    assert lines.ask("PREFIX a META")["items"] == [
        {"key": "a", "value": "v", "create_revision": 1, "mod_revision": 1, "version": 1}
    ]
    assert lines.ask(b"PREFIX \xff")["items"] == [{"key_base64": "/w==", "value_base64": "/w=="}]
    assert keys("PREFIX b/ AT 3") == ["b/1", "b/2"]
    assert lines.ask("PREFIX b/ AT 7")["error"] == "FUTURE_REVISION"
    for line, code in (("RANGE a", "USAGE"), ("PREFIX a LIMIT 0", "INVALID"), ("PREFIX a FOO", "USAGE")):
        assert lines.ask(line)["error"] == code
    for cursor in ("x", "1.x!", "-1.YQ==", "1.YQ== AT 3"):
        assert lines.ask(f"PREFIX a CURSOR {cursor}")["error"] == "INVALID"


@pytest.mark.parametrize("order", ["", " REVERSE"])
def test_paging_through_a_changing_keyspace_shows_one_state(order: str) -> None:
    """Each page continues at the revision of the first one, whatever was written meanwhile."""
    expected = [f"{number:02}" for number in range(10)]
    lines = Lines(*(Set(key.encode(), b"v") for key in expected))
    seen: list[str] = []
    answer: dict[str, Any] = {}
    cursor = ""
    for _ in range(4):
        answer = lines.ask(f"PREFIX 0 LIMIT 3{order}{cursor}")
        seen += [item["key"] for item in answer["items"]]
        cursor = f" CURSOR {answer['cursor']}"
        for line in (f"DELETE {seen[-1]}", "SET 05x new", "SET 00 changed", "DELETE 08"):
            lines.ask(line)

    assert answer["cursor"] is None
    assert seen == (expected[::-1] if order else expected)
    assert lines.ask("PREFIX 0 COUNT") != {"count": 10}


def test_a_transaction() -> None:
    """Comparisons choose a list; its operations see each other; all have one revision."""
    lines = Lines(Set(b"a", b"1"), Set(b"b/1", b"x"), Set(b"b/2", b"y"))
    answer = lines.ask(
        'TXN {"if": [{"key": "a", "revision": 1}, {"prefix": "b/", "version": 2, "is": "<"}, {"key": "n", "exists": '
        'false}, {"range": ["b", null], "value": "x", "is": "!="}], "then": [{"get": "a"}], "else": ['
        '{"set": "a", "value": "2"}, {"get": "a"}, {"incr": "n", "by": 7}, {"append": "t", "value": "abc"},'
        '{"txn": {"if": [{"key": "a", "value": "2"}], "then": [{"delete_prefix": "b/", "limit": 1}]}},'
        '{"prefix": "b/", "count": true}, {"range": ["b", ""], "limit": 1, "reverse": true}, {"delete": "zz"}]}'
    )

    assert answer == {
        "succeeded": False,
        "revision": 4,
        "results": [
            {"status": "OK"},
            {"value": "2", "create_revision": 1, "mod_revision": 4, "version": 2},
            {"value": "7"},
            {"length": 3},
            {"succeeded": True, "revision": 4, "results": [{"deleted": 1, "more": True}]},
            {"count": 1},
            {
                "items": [{"key": "t", "value": "abc", "create_revision": 4, "mod_revision": 4, "version": 1}],
                "more": True,
            },
            {"deleted": 0, "more": False},
        ],
    }
    assert lines.store.revision == 4
    assert lines.ask('TXN {"then": [{"get": "a"}]}')["revision"] == 4


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "must be a JSON object"),
        ("[]", "must be a JSON object"),
        ('{"than": []}', "is an object with the keys"),
        ('{"then": {}}', '"then" must be a list'),
        ('{"then": [1]}', "1 must be an object"),
        ('{"then": [{"put": "a"}]}', "an operation has one of get"),
        ('{"then": [{"set": "a"}]}', '"value" must be a string'),
        ('{"then": [{"get": "a", "limit": 1}]}', '"limit" has no meaning'),
        ('{"then": [{"incr": "a", "by": 1.5}]}', '"by" must be a whole number'),
        ('{"then": [{"incr": "a", "by": 9223372036854775808}]}', "does not fit 64 bits"),
        ('{"then": [{"range": ["a"]}]}', '"range" must be a list of the first key and the end'),
        ('{"then": [{"prefix": "a", "limit": 1001}]}', '"limit" is at most 1000'),
        ('{"then": [{"prefix": "a", "reverse": 1}]}', '"reverse" must be true or false'),
        ('{"then": [{"txn": {"then": [{"txn": {}}]}}]}', "an operation has one of get"),
        ('{"then": [{"set": "a", "value": "1"}, {"set": "a", "value": "2"}]}', "writes the key b'a' twice"),
        ('{"if": [{"key": "a"}]}', "a comparison has one of value"),
        ('{"if": [{"key": "a", "exists": true, "is": "<"}]}', '"is" must be one of'),
        ('{"if": [{"key": "a", "version": 1, "is": "=="}]}', '"is" must be one of'),
        ('{"if": [{"value": "a"}]}', '"range" must be a list'),
        ('{"then": ' + "[" * 3_000, "must be a JSON object"),
    ],
)
def test_a_wrong_transaction_says_what_is_wrong(content: str, why: str) -> None:
    """The message names the place, and nothing is done."""
    answer = Lines().ask(f"TXN {content}")

    assert answer["error"] == "INVALID"
    assert why in answer["message"]


def test_the_status_is_told_a_few_times_at_once() -> None:
    """Each takes as long as a heavy command."""
    requests, rest = read_requests([b"PING", *[b"status"] * (HEAVY_TOGETHER + 5)])

    assert (len(requests.notes), len(rest)) == (HEAVY_TOGETHER + 1, 5)


def test_heavy_commands_are_carried_out_a_few_at_a_time() -> None:
    """What can cost much does not come all at once into one entry of the log or one turn; the order stays."""
    lines = [b"PREFIX a", b"GET k"] * (2 * HEAVY_TOGETHER)

    sizes: list[int] = []
    rest: Sequence[bytes] = lines
    while rest:
        requests, rest = read_requests(rest)
        sizes.append(len(requests.operations))

    assert sum(sizes) == len(lines)
    assert max(sizes) <= 2 * HEAVY_TOGETHER


def test_the_fast_answers_are_the_same_as_before() -> None:
    """A plain GET has the answer that it always had."""
    requests, _ = read_requests([b"GET k"])

    assert requests.operations == [get_key(b"k")]
    assert requests.answers == [replies.found]
    assert not isinstance(requests.answers[0], partial)


def test_leases() -> None:
    """They are granted, renewed, listed, described and revoked; keys are attached by conditional forms."""
    lines = Lines()

    assert lines.ask("LEASE GRANT 2.5") == {"lease": 1, "ttl": 2.5}
    assert lines.ask("lease grant 30 9") == {"lease": 9, "ttl": 30.0}
    assert lines.ask("LEASE KEEPALIVE 9") == {"lease": 9, "ttl": 30.0}
    assert lines.ask("CAS k LEASE 9 ABSENT LEASE 1 ABSENT v") == {"status": "OK", "revision": 1}
    assert (lines.ask("GET k"), lines.ask("TTL k")) == ({"value": "LEASE 1 ABSENT v"}, {"ttl": 30.0})
    assert lines.ask('TXN {"if":[{"key":"k","lease":9}],"then":[{"set":"l","value":"","lease":9}]}')["succeeded"]
    told = {"lease": 9, "ttl": 30.0, "granted": 30.0, "key_count": 2}
    assert lines.ask("LEASE INFO 9") == told
    assert [lines.ask(f"LEASE OF {key}") for key in ("k", "absent")] == [{"lease": 9}, {"lease": 0}]
    assert lines.ask("LEASE INFO 9 KEYS") == {**told, "keys": [{"key": "k"}, {"key": "l"}], "more": False}
    assert lines.ask("LEASE LIST AFTER 1") == {"leases": [told], "after": None}
    assert [each["lease"] for each in lines.ask("LEASE LIST")["leases"]] == [1, 9]
    assert lines.ask("LEASE REVOKE 9") == {"status": "OK", "revision": 3}
    assert lines.ask("LEASE INFO 9")["error"] == "NO_SUCH_LEASE"
    refused = lines.ask("LEASE GRANT 1 9")
    assert (refused["error"], refused["last_lease"]) == ("LEASE_ID_REFUSED", 9)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("LEASE", "USAGE"),
        ("LEASE GRANT", "USAGE"),
        ("LEASE GRANT 1 1 1", "USAGE"),
        ("LEASE OF k l", "USAGE"),
        ("LEASE GRANT 1 0", "INVALID"),
        ("LEASE GRANT 0", "INVALID"),
        ("LEASE KEEPALIVE", "USAGE"),
        ("LEASE KEEPALIVE 0", "INVALID"),
        ("LEASE REVOKE 1 2", "USAGE"),
        ("LEASE INFO 1 KEY", "USAGE"),
        ("LEASE LIST BEFORE 1", "USAGE"),
        ("LEASE TAKE 1", "USAGE"),
        ("CAS k LEASE 0 ABSENT v", "INVALID"),
        ('TXN {"then":[{"set":"k","value":"","lease":0}]}', "INVALID"),
        ('TXN {"then":[{"set":"k","value":"","lease":1,"ttl":1}]}', "INVALID"),
    ],
)
def test_a_lease_that_is_none(line: str, code: str) -> None:
    """It is answered with how to write it, or with why it can never be."""
    assert Lines().ask(line)["error"] == code


def test_any_bytes_can_be_written_in_base64() -> None:
    """Keys and values that are neither UTF-8 nor without line feeds go through every command that reads quotes."""
    lines = Lines()
    key, value = 'base64"/yAK"', 'base64"AAr+"'

    assert lines.ask('TXN {"then": [{"set_base64": "/yAK", "value_base64": "AAr+"}]}')["succeeded"]
    assert lines.ask(f"GET {key} META")["value_base64"] == "AAr+"
    assert lines.ask(f"CAS {key} VALUE {value} {value}")["status"] == "OK"
    assert lines.ask(f"APPEND {key} {value}")["length"] == 6
    assert lines.ask('RANGE base64"/w==" ""')["items"] == [{"key_base64": "/yAK", "value_base64": "AAr+AAr+"}]
    found = lines.ask(
        'TXN {"if": [{"key_base64": "/yAK", "value_base64": "AAr+AAr+"}],'
        ' "then": [{"range_base64": ["/w==", null]}, {"delete_prefix_base64": "/w=="}]}'
    )
    assert [found["results"][0]["items"][0]["key_base64"], found["results"][1]["deleted"]] == ["/yAK", 1]


@pytest.mark.parametrize(
    "line",
    [
        'GET base64"/yA" META',
        'GET base64"/yAK META',
        'TTL base64"/yAK"META',
        'TXN {"then": [{"get_base64": "*"}]}',
        'TXN {"then": [{"get": "a", "get_base64": "YQ=="}]}',
        'TXN {"then": [{"range": ["a", "b"], "range_base64": ["YQ==", null]}]}',
    ],
)
def test_wrong_base64_is_refused(line: str) -> None:
    """What is no base64, does not end, or says a thing twice, is no argument."""
    assert Lines().ask(line)["error"] == "INVALID"


def test_locks() -> None:
    """They are taken, renewed and given back by their tokens; LEADER returns the owner."""
    lines = Lines()

    assert lines.ask("LEADER job") == {"token": None}
    assert lines.ask('LOCK job TTL 2.5 OWNER "node a"') == {"token": 1, "ttl": 2.5}
    assert lines.ask("LEADER job") == {"token": 1, "owner": "node a", "ttl": 2.5, "waiting": 0}
    held = lines.ask("lock job ttl 1")
    assert (held["error"], held["token"]) == ("LOCK_HELD", 1)
    assert lines.ask('LOCK job WAIT 3 OWNER "node a" TTL 9')["error"] == "USAGE"
    assert lines.ask('LOCK job TTL 9 WAIT 3 OWNER "node a"') == {"token": 1, "ttl": 9.0}
    assert lines.ask("RENEW job 1") == {"token": 1, "ttl": 9.0}
    assert lines.ask("RENEW job 1 TTL 4") == {"token": 1, "ttl": 4.0}
    stale = lines.ask("UNLOCK job 2")
    assert (stale["error"], stale["token"]) == ("STALE_TOKEN", 1)
    assert lines.ask("UNLOCK job 1") == {"status": "OK"}
    stale = lines.ask("RENEW job 1")
    assert (stale["error"], stale["token"]) == ("STALE_TOKEN", None)


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("SET k a  b ", {"status": "OK"}),
        ("set k ", {"status": "OK"}),
        ("DELETE k", {"status": "OK"}),
        ("DELETE k IF VALUE v", {"status": "OK", "revision": 2}),
        ("CAS k VALUE v w", {"status": "OK", "revision": 2}),
        ("INCR n 5", {"value": "5", "revision": 2}),
        ("APPEND k w", {"length": 2, "revision": 2}),
        ("EXPIRE k 5", {"status": "OK"}),
        ("PERSIST k", {"status": "OK"}),
        (
            'TXN {"then":[{"delete":"k"}]}',
            {"succeeded": True, "revision": 2, "results": [{"deleted": 1, "more": False}]},
        ),
    ],
)
def test_writes_that_a_token_guards(command: str, answer: dict[str, Any]) -> None:
    """Each answers as it does without one, and is refused when the lock is not held with the token."""
    lines = Lines(Set(b"k", b"v"))
    token = lines.ask("LOCK l TTL 5")["token"]

    refused = lines.ask(f"TOKEN l {token + 1} {command}")
    assert (refused["error"], refused["token"]) == ("STALE_TOKEN", token)
    assert lines.ask("GET k") == {"value": "v"}
    assert lines.ask(f"TOKEN l {token} {command}") == answer
    if command.startswith("SET"):
        assert lines.ask("GET k") == {"value": "a  b "}


def test_a_transaction_can_compare_a_token() -> None:
    """It holds while the lock is held with it."""
    lines = Lines()
    token = lines.ask("LOCK l TTL 5")["token"]

    for number, holds in ((token, True), (token + 1, False)):
        line = f'TXN {{"if":[{{"lock":"l","token":{number}}}],"then":[{{"set":"k","value":""}}]}}'
        assert lines.ask(line)["succeeded"] is holds
    assert lines.ask('TXN {"if":[{"lock":"l","token":0}]}')["error"] == "INVALID"
    assert lines.ask('TXN {"if":[{"lock":"l","token":1,"is":"="}]}')["error"] == "INVALID"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("LOCK", "USAGE"),
        ("LOCK l", "USAGE"),
        ("LOCK l TTL", "USAGE"),
        ("LOCK l TTL 1 FOR 2", "USAGE"),
        ("LOCK l TTL 0", "INVALID"),
        ("LOCK l TTL 1 WAIT 100000", "INVALID"),
        ("LOCK  TTL 1", "INVALID"),
        ("UNLOCK l", "USAGE"),
        ("UNLOCK l 0", "INVALID"),
        ("RENEW l 1 TTL 0", "INVALID"),
        ("RENEW l 1 FOR 1", "USAGE"),
        ("LEADER l m", "USAGE"),
        ("TOKEN l 1", "USAGE"),
        ("TOKEN l 1 GET k", "USAGE"),
        ("TOKEN l 1 LOCK k TTL 1", "USAGE"),
        ("TOKEN l 1 TOKEN l 1 SET k v", "USAGE"),
        ("TOKEN l 1 SET k", "USAGE"),
    ],
)
def test_a_line_about_a_lock_that_is_wrong(line: str, code: str) -> None:
    """It is answered with how to write it, or with why it can never be."""
    assert Lines().ask(line)["error"] == code
