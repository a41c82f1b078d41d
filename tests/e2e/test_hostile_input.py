"""Whatever strangers, broken clients and lying peers send, every node lives on and no data are harmed (row 37)."""

import contextlib
import json
import random
import struct
import time
from collections.abc import Iterator
from typing import Any, Final

import pytest

from kvraft.peers.frames import encode
from kvraft.raft.messages import (
    AppendEntries,
    AppendEntriesReply,
    Heartbeat,
    HeartbeatReply,
    Message,
    PreVote,
    PreVoteReply,
    RequestVote,
    RequestVoteReply,
    TimeoutNow,
)
from kvraft.raft.types import TERM_MAX, Entry, EntryKind
from kvraft.store import FEATURE_LEVEL
from tests.e2e.clients import ANSWER_S, Address, ask, drain, open_connection, read_back, send_all, wait_until, write
from tests.e2e.processes import Cluster

MIB: Final = 1024 * 1024
SILENT: Final = 500
STRANGERS: Final = 150
GROWTH_BYTES_MAX: Final = 150 * MIB
"""How much a node may grow through clients that do not read: far more than its limits, far less than what they ask."""


@pytest.fixture(autouse=True)
def unharmed(shared_cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test the same processes serve the same data, equal on all nodes, and none has complained."""
    key = f"before {request.node.name}".replace(" ", "-")
    pids = {node: process.pid for node, process in shared_cluster.processes.items()}
    write(shared_cluster.addresses, {key: "1"})

    yield

    shared_cluster.await_leader()
    write(shared_cluster.addresses, {f"{key}-after": "2"})
    assert read_back(shared_cluster.addresses, [key, f"{key}-after"]) == {key: "1", f"{key}-after": "2"}
    shared_cluster.await_equal(shared_cluster.ids)
    assert {node: shared_cluster.processes[node].pid for node in shared_cluster.running} == pids
    shared_cluster.check_logs()


def assault(address: Address, data: bytes) -> bytes:
    """Send `data` as far as it is taken, close that side, and return what comes until the connection ends."""
    with open_connection(address) as connection:
        send_all(connection, data)
        return drain(connection)


# --- strangers -------------------------------------------------------------------------------------------------------

TLS_CLIENT_HELLO: Final = bytes.fromhex("16030100c8010000c40303") + bytes(range(193))

INPUTS: Final = {
    "half a line": b"SET half",
    "a line of 2 MiB": b"SET giant " + b"x" * 2 * MIB + b"\n",
    "2 MiB without a line feed": b"x" * 2 * MIB,
    "a key of 2 MiB": b"GET " + b"k" * 2 * MIB,
    "zeros": bytes(100_000),
    "blank lines": b"\n" * 200_000,
    "bare carriage returns": b"\r" * 200_000,
    "unknown commands": b"FROBNICATE x\n" * 20_000,
    "bytes that are no UTF-8": b"GET \xff\xfe\n\xc3\x28\nSET\xff a b\n",
    "control characters": b"GET a\x1b[2J\x00\x07\nP\x1bING\n",
    "TLS": TLS_CLIENT_HELLO,
    "RESP, but no command": b"*2\r\n$3\r\nGET\r\n:1\r\n",
    "a RESP array of 2**63": b"*9223372036854775807\r\n",
    "a hello that never ends": b"{" + b" " * 100_000,
    "JSON, but no object": b"{]\n",
    "deep JSON": b"{" + b'"a":[' * 1_500 + b"\n",
    "an empty object": b"{}\n",
    "a hello of another version": b'{"kvraft":2,"from":1,"to":0,"cluster":null,"incarnation":"x","run":"y"}\n',
    "a hello of no version": b'{"kvraft":"1","from":1,"to":0,"cluster":null,"incarnation":"x","run":"y"}\n',
    "a hello of an unknown node": b'{"kvraft":1,"from":9,"to":0,"cluster":null,"incarnation":"x","run":"y"}\n',
    "a hello of the node itself": b'{"kvraft":1,"from":0,"to":0,"cluster":null,"incarnation":"x","run":"y"}\n',
    "a hello for another node": b'{"kvraft":1,"from":1,"to":2,"cluster":null,"incarnation":"x","run":"y"}\n',
    "a hello of another cluster": b'{"kvraft":1,"from":1,"to":0,"cluster":"other","incarnation":"x","run":"y"}\n',
    "a hello of huge numbers": b'{"kvraft":1,"from":%d,"to":0,"cluster":null,"incarnation":"x","run":"y"}\n' % 10**400,
    "a hello of two lines": b'{"kvraft":1,"from":1,"to":0,"cluster":"\\n\\u001b[2J","incarnation":"x","run":"y"}\n',
}


@pytest.mark.parametrize("data", INPUTS.values(), ids=INPUTS)
def test_strange_input(shared_cluster: Cluster, data: bytes) -> None:
    """Input that makes no sense gets an error, or the end of its connection, from every node."""
    for address in shared_cluster.addresses:
        assault(address, data)


def test_random_bytes(shared_cluster: Cluster) -> None:
    """Nor does chance find anything: random bytes, and random bytes after every first byte that means something."""
    chance = random.Random(7)
    for number in range(120):
        first = (b"", b"{", b"*", b"S", b"\n", b"\x16")[number % 6]
        assault(chance.choice(shared_cluster.addresses), first + chance.randbytes(chance.randrange(1, 2000)))


def test_web_page(shared_cluster: Cluster) -> None:
    """A request that a web page can send writes nothing, even with whole lines of ours in its body (DESIGN §2)."""
    leader = shared_cluster.address(shared_cluster.await_leader())
    for head in (b"POST / HTTP/1.1\r\nHost: localhost\r\n", b"Host: localhost\r\n", b"GET / HTTP/1.0\r\n"):
        assert assault(leader, head + b"Content-Length: 20\r\n\r\nSET web-page owned\n") == b""

    assert read_back(shared_cluster.addresses, ["web-page"]) == {"web-page": None}


# --- clients that take and give nothing ------------------------------------------------------------------------------


def test_silent_connections(shared_cluster: Cluster) -> None:
    """Hundreds of connections that say nothing keep no other client from being served."""
    leader = shared_cluster.address(shared_cluster.await_leader())
    with contextlib.ExitStack() as connections:
        for _ in range(SILENT):
            connections.enter_context(open_connection(leader))
        write(shared_cluster.addresses, {"beside-the-silent": "1"})


def test_strangers_that_never_finish_their_hello(shared_cluster: Cluster) -> None:
    """Nor do many that begin like a peer; they are refused as too late, or give way to newer ones."""
    leader = shared_cluster.address(shared_cluster.await_leader())
    with contextlib.ExitStack() as connections:
        strangers = [connections.enter_context(open_connection(leader)) for _ in range(STRANGERS)]
        for stranger in strangers:
            stranger.sendall(b'{"kvraft":1')
        write(shared_cluster.addresses, {"beside-the-strangers": "1"})
        ends = [drain(stranger) for stranger in strangers]

    assert ends[0] == b""
    assert ends[-1].startswith(b'{"error":"HELLO_TIMEOUT"')


def test_slow_lines(shared_cluster: Cluster) -> None:
    """Lines that arrive byte by byte, on many connections at once, are carried out; others do not wait for them."""
    leader = shared_cluster.address(shared_cluster.await_leader())
    with contextlib.ExitStack() as connections:
        slow = [connections.enter_context(open_connection(leader)) for _ in range(50)]
        for byte in b"SET slow-line 1":
            for connection in slow:
                connection.sendall(bytes([byte]))
            time.sleep(0.02)
        write(shared_cluster.addresses, {"beside-the-slow": "1"})
        for connection in slow:
            connection.sendall(b"\n")
        assert {drain(connection) for connection in slow} == {b'{"status":"OK"}\n'}


def test_clients_that_never_read(shared_cluster: Cluster) -> None:
    """Clients that ask for gigabytes and read nothing cost a bounded amount of memory."""
    leader = shared_cluster.await_leader()
    write(shared_cluster.addresses, {"large": "x" * 1_000_000})
    process = shared_cluster.processes[leader]
    before = process.resident_bytes()
    with contextlib.ExitStack() as connections:
        for _ in range(20):
            connection = connections.enter_context(open_connection(shared_cluster.address(leader)))
            connection.sendall(b"GET large\n" * 1000)
        write(shared_cluster.addresses, {f"beside-the-deaf-{number}": "1" for number in range(200)})
        peak = process.resident_bytes()

    assert peak - before < GROWTH_BYTES_MAX


# --- a peer that lies ------------------------------------------------------------------------------------------------


class Liar:
    """A connection to `victim` whose hello names `pretended`, a member, and is accepted."""

    def __init__(self, cluster: Cluster, victim: int, pretended: int) -> None:
        members = ask(cluster.address(victim), "MEMBERS")["members"]
        memories = {member["id"]: member["incarnation"] for member in members}  # anybody may ask for them
        hello = {
            "kvraft": 1,
            "from": pretended,
            "to": victim,
            "cluster": cluster.status(victim)["cluster_id"],
            "incarnation": memories[pretended],
            "run": cluster.status(victim)["peers"][str(pretended)]["run"],  # another one would be refused
            "level": FEATURE_LEVEL,
            "empty": False,
        }
        self._connection = open_connection(cluster.address(victim))
        self._connection.sendall(json.dumps(hello).encode() + b"\n")
        welcome = json.loads(self._connection.makefile("rb").readline())
        assert welcome.get("from") == victim, f"the hello was refused: {welcome}"

    def say(self, frames: bytes) -> None:
        """Send frames, and wait until the connection ends or the victim has had time to take them."""
        with self._connection as connection:
            send_all(connection, frames)
            drain(connection)


def frame(header: object, tail: bytes = b"") -> bytes:
    """Return a frame with any header and tail, be they nonsense."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack(">II", len(raw), len(tail)) + raw + tail


MALFORMED: Final = {
    "huge lengths": b"\xff" * 8,
    "a huge header": struct.pack(">II", 2**31, 0) + b"x" * 1000,
    "a huge tail": struct.pack(">II", 2, 2**32 - 1) + b"{}",
    "a frame that never ends": struct.pack(">II", 100, 8 * MIB) + b"{",
    "no JSON": frame(b"\xff\xfe\xfd"),
    "an empty header": frame(b""),
    "deep JSON": frame(b"[" * 60_000),
    "an unknown type": frame({"type": "Shutdown", "term": 1}),
    "wrong types": frame({"type": "Heartbeat", "term": "1", "commit": None, "round": []}),
    "negative numbers": frame({"type": "Heartbeat", "term": -1, "commit": -1, "round": -1}),
    "too large numbers": frame({"type": "Heartbeat", "term": 2**53, "commit": 2**64, "round": 0}),
    "fractions": frame({"type": "Heartbeat", "term": 1.5, "commit": 0, "round": 0}),
    "missing fields": frame({"type": "AppendEntries", "term": 1}),
    "entries in the header": frame(
        {"type": "AppendEntries", "term": 1, "prev_index": 0, "prev_term": 0, "commit": 0, "entries": [[1, 1, 2, ""]]}
    ),
    "a tail of nonsense": frame(
        {"type": "AppendEntries", "term": 1, "prev_index": 0, "prev_term": 0, "commit": 0}, b"nonsense" * 1000
    ),
    "a tail after a vote": frame({"type": "RequestVoteReply", "term": 1, "granted": True}, b"nonsense"),
    "random bytes": random.Random(11).randbytes(100_000),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_malformed_frames(shared_cluster: Cluster, data: bytes) -> None:
    """Frames that no honest node sends end their connection, on leader and follower, from any sender in their hello."""
    for victim in shared_cluster.ids:
        Liar(shared_cluster, victim, (victim + 1) % 3).say(data)


def lies(status: dict[str, Any]) -> dict[str, list[Message]]:
    """Return well-formed messages that no honest member sends to a node in this state."""
    term, last, commit = status["term"], status["last_index"], status["commit"]
    garbage = Entry.create(term, 1, EntryKind.COMMANDS, b"garbage")
    return {
        "absurd terms": [
            PreVote(TERM_MAX, TERM_MAX, TERM_MAX),
            RequestVote(TERM_MAX, TERM_MAX, TERM_MAX),
            Heartbeat(TERM_MAX, TERM_MAX, TERM_MAX),
            AppendEntries(TERM_MAX, 0, 0, TERM_MAX),
            TimeoutNow(TERM_MAX),
        ],
        "other entries where committed ones stand": [AppendEntries(term, 0, 0, commit, (garbage,))],
        "the same, as the leader of a new term": [AppendEntries(term + 1, 0, 0, commit, (garbage,))],
        "a previous entry that is another": [AppendEntries(term + 1, commit, term + 1, commit)],
        "a commit index beyond the log": [AppendEntries(term, last, term, TERM_MAX), Heartbeat(term, TERM_MAX, 0)],
        "acknowledgements beyond the log": [
            AppendEntriesReply(term, True, 0, TERM_MAX),
            HeartbeatReply(term, TERM_MAX),
        ],
        "refusals without sense": [
            AppendEntriesReply(term, False, TERM_MAX, TERM_MAX, TERM_MAX),
            AppendEntriesReply(term, False, 0, 0),
            AppendEntriesReply(term, False, last, 0),
        ],
        "votes without a request": [PreVoteReply(term, True), RequestVoteReply(term, True)],
        "old terms": [Heartbeat(0, 0, 0), AppendEntries(0, 0, 0, 0), RequestVote(0, 0, 0), TimeoutNow(0)],
        "orders to campaign": [TimeoutNow(term)] * 50,
        "a flood": [HeartbeatReply(term, 0)] * 20_000,
    }


@pytest.mark.parametrize("lie", lies({"term": 1, "last_index": 1, "commit": 1}))
def test_lies(shared_cluster: Cluster, lie: str) -> None:
    """Well-formed messages that contradict a node's state cost at most an election, on leader and follower."""
    for victim in shared_cluster.ids:
        status = wait_until("a status", lambda: shared_cluster.status(victim))  # noqa: B023 - called at once
        liar = Liar(shared_cluster, victim, (victim + 1) % 3)

        liar.say(b"".join(map(encode, lies(status)[lie])))

        assert ask(shared_cluster.address(victim), "PING") == {"status": "PONG"}


def test_a_liar_is_replaced(shared_cluster: Cluster) -> None:
    """Connections under another's name push the member's own aside for a moment only: it comes back, and counts."""
    leader = shared_cluster.await_leader()
    follower = (leader + 1) % 3
    with contextlib.ExitStack() as liars:
        for _ in range(10):
            liar = Liar(shared_cluster, leader, follower)
            liars.callback(liar.say, b"")
        write(shared_cluster.addresses, {"beside-the-liars": "1"})

    wait_until("the follower", lambda: shared_cluster.status(leader)["peers"][str(follower)]["inbound"], ANSWER_S)
