from typing import Any

import pytest

from kvraft.peers import Facts
from kvraft.peers.acceptor import FIRST_RUN_SILENT_S, REFUSAL_LINGER_S, STRANGERS_MAX
from kvraft.peers.frames import encode
from kvraft.peers.hello import HELLO_BYTES_MAX, HELLO_TIMEOUT_S
from kvraft.raft.messages import AppendEntries, Heartbeat, TimeoutNow
from kvraft.raft.types import TERM_MAX
from tests.peers.twins import CLUSTER, OTHER_CLUSTER, MemoryTransport, Node, hello_line, warnings

BEAT = Heartbeat(1, 0, 1)
LATE_BEAT = Heartbeat(1, 0, 2)
WRONG_FACTS: list[tuple[str, Any]] = [
    ("level", -1),
    ("level", None),
    ("level", "3"),
    ("configuration", 1.5),
    ("address", "10.0.0.1 8080"),
    ("address", 8080),
    ("empty", 0),
    ("fresh", "yes"),
    ("term", -1),
    ("term", 1 << 64),
    ("last_index", True),
    ("acknowledged", {"term": 1}),
    ("acknowledged", [1, 1, 1, 1, 1, 1]),
    ("acknowledged", ["ours", 1, 0, 0, 0]),
    ("acknowledged", ["ours", 1, 0, 0, 0, 0, 0]),
    ("acknowledged", ["ours", -1, 0, 0, 0, 0]),
    ("acknowledged", ["ours", "1", 0, 0, 0, 0]),
]
OWN_NAMES = {"kvraft": 1, "incarnation": "abc", "run": "run0", "keepalive": True}


def test_a_hello_is_answered_with_a_welcome_of_the_same_shape() -> None:
    """The acceptor sends its id, the caller's id and its cluster's id. It ignores unknown fields."""
    node = Node(CLUSTER, facts=lambda _to: Facts(term=7))

    transport = node.call(hello_line(cluster=CLUSTER, term=3, empty=False, disk={"kept": True}))

    (welcome,) = transport.lines()
    assert welcome == {
        **OWN_NAMES,
        "from": 0,
        "to": 1,
        "cluster": CLUSTER,
        "term": 7,
        "to_address": ["10.0.0.1", 8081],
    }
    assert node.receiver.take() == [("hello", 1, {"term": 3, "empty": False})]


def test_the_owner_learns_whose_memory_and_whose_process_calls() -> None:
    """A hello names the data directory and the run."""
    node = Node()

    node.call(hello_line(1, incarnation="disk-1", run="one"))
    node.pass_time(FIRST_RUN_SILENT_S)
    node.call(hello_line(1, incarnation="disk-1", run="two"))
    node.call(hello_line(2, incarnation="disk-2", run="one"))

    assert node.receiver.names == [(1, "disk-1", "one"), (1, "disk-1", "two"), (2, "disk-2", "one")]


def test_a_hello_in_pieces_with_frames_behind_it_is_understood() -> None:
    """Where the network cuts the stream means nothing, not even between the hello and the first frame."""
    node = Node()
    stream = hello_line() + encode(BEAT) + encode(LATE_BEAT)[:5]
    transport = node.call()

    for place in range(20):
        transport.deliver(stream[place : place + 1])
    transport.deliver(stream[20:])
    transport.deliver(encode(LATE_BEAT)[5:])

    assert node.receiver.take() == [("hello", 1, {}), ("receive", 1, [BEAT]), ("receive", 1, [LATE_BEAT])]


def test_all_messages_of_a_chunk_are_delivered_in_one_call() -> None:
    """The owner is called once for each chunk that completes a message, and not for one that completes none."""
    node = Node()
    transport = node.call(hello_line())
    node.receiver.take()

    transport.deliver(encode(BEAT) + encode(LATE_BEAT) + encode(BEAT)[:9])
    transport.deliver(encode(BEAT)[9:10])

    assert node.receiver.take() == [("receive", 1, [BEAT, LATE_BEAT])]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (hello_line(7), "UNKNOWN_NODE"),
        (hello_line(0), "OWN_ID"),
        (hello_line(receiver=2), "WRONG_NODE"),
        (hello_line(kvraft=2), "OTHER_VERSION"),
        (b'{"kvraft":2}\n', "OTHER_VERSION"),
        (hello_line(cluster=OTHER_CLUSTER), "OTHER_CLUSTER"),
        (hello_line(cluster="a b"), "MALFORMED_HELLO"),
        (hello_line(cluster=CLUSTER + "\n"), "MALFORMED_HELLO"),
        (hello_line(incarnation=5), "MALFORMED_HELLO"),
        (hello_line(incarnation=None), "MALFORMED_HELLO"),
        (hello_line(run=""), "MALFORMED_HELLO"),
        (hello_line().replace(b'"run"', b'"ran"'), "MALFORMED_HELLO"),
        (hello_line().replace(b'"from": 1', b'"from": "1"'), "MALFORMED_HELLO"),
        (hello_line().replace(b'"from": 1', b'"from": true'), "MALFORMED_HELLO"),
        (hello_line(-1), "MALFORMED_HELLO"),
        (hello_line(TERM_MAX + 1), "MALFORMED_HELLO"),
        (hello_line(kvraft=True), "MALFORMED_HELLO"),
        *((hello_line(**{name: value}), "MALFORMED_HELLO") for name, value in WRONG_FACTS),
        (b"{}\n", "MALFORMED_HELLO"),
        (b'{"error":"YOU","message":"are refused"}\n', "MALFORMED_HELLO"),
        (b"[1]\n", "MALFORMED_HELLO"),
        (b"{\xff}\n", "MALFORMED_HELLO"),
        (b'{"a":' + b"[" * 4000 + b"\n", "MALFORMED_HELLO"),
        (b"{" * HELLO_BYTES_MAX, "HELLO_TOO_LONG"),
        (hello_line(long="x" * HELLO_BYTES_MAX), "HELLO_TOO_LONG"),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_whoever_does_not_belong_here_is_told_why_and_dropped(line: bytes, code: str) -> None:
    """One line says what is wrong, the connection closes, and the owner gets no event."""
    node = Node(CLUSTER)

    with warnings() as texts:
        transport = node.call(line)
    transport.deliver(hello_line() + encode(BEAT))

    (refusal,) = transport.lines()
    assert refusal["error"] == code
    assert refusal["message"]
    assert code != "MALFORMED_HELLO" or "GET <key>" in refusal["message"], "a person who sends JSON is helped"
    assert transport.disconnecting
    assert node.receiver.take() == []
    assert len(texts) == 1
    assert code in texts[0]


def test_a_hello_of_exactly_the_limit_passes() -> None:
    """HELLO_BYTES_MAX counts the newline."""
    padding = HELLO_BYTES_MAX - len(hello_line(pad=""))

    assert "error" not in Node().call(hello_line(pad="x" * padding)).lines()[0]
    assert Node().call(hello_line(pad="x" * (padding + 1))).lines()[0]["error"] == "HELLO_TOO_LONG"


def test_the_same_cause_is_logged_once_until_it_is_cured() -> None:
    """A peer that tries ten times a second does not fill the log."""
    node = Node()
    with warnings() as texts:
        for _ in range(50):
            node.call(hello_line(7))
        assert len(texts) == 1
        node.call(hello_line(8, receiver=5))
        assert len(texts) == 2
        node.call(hello_line(1))
        node.call(hello_line(7))

    assert len(texts) == 3


def test_a_hello_that_is_not_finished_in_time_is_refused() -> None:
    """A stalled connection goes after HELLO_TIMEOUT_S, and one that does not even close is aborted soon after."""
    node = Node()
    transport = node.call(b'{"kvraft"')

    node.pass_time(HELLO_TIMEOUT_S - 0.1)
    assert not transport.disconnecting
    node.pass_time(0.2)
    assert transport.lines()[0]["error"] == "HELLO_TIMEOUT"
    assert transport.disconnecting
    assert not transport.aborted
    node.pass_time(REFUSAL_LINGER_S)

    assert transport.lost
    assert node.clock.getDelayedCalls() == []


def test_an_introduced_connection_may_be_silent_for_ever() -> None:
    """Only the hello has a deadline."""
    node = Node()
    transport = node.call(hello_line())

    node.pass_time(2 * HELLO_TIMEOUT_S)

    assert not transport.disconnecting


def test_strangers_that_say_nothing_make_room_for_new_ones() -> None:
    """Connections without a hello are bounded; the oldest gives way, and an introduced peer is not counted."""
    node = Node()
    peer = node.call(hello_line())
    strangers = [node.call(b"{") for _ in range(STRANGERS_MAX)]

    assert not any(stranger.aborted for stranger in strangers)
    late_peer = node.call(hello_line(2))

    assert [stranger.aborted for stranger in strangers] == [True] + [False] * (STRANGERS_MAX - 1)
    assert not peer.aborted
    assert node.peers.status()[2].inbound
    assert not late_peer.disconnecting


def test_a_second_connection_of_a_peer_replaces_the_first() -> None:
    """Row 39: the old connection is aborted, its loss is reported before the new hello, and nothing of it follows."""
    node = Node()
    old = node.call(hello_line())
    old.deliver(encode(BEAT)[:-1])
    node.receiver.take()

    new = node.call(hello_line(incarnation="f01"))
    old.deliver(encode(BEAT)[-1:] + encode(BEAT))
    new.deliver(encode(LATE_BEAT))
    node.clock.advance(0)

    assert old.lost
    assert node.receiver.take() == [("peer_lost", 1), ("hello", 1, {}), ("receive", 1, [LATE_BEAT])]
    assert node.peers.status()[1].inbound
    new.lose()
    assert node.receiver.take() == [("peer_lost", 1)]
    assert not node.peers.status()[1].inbound


def test_a_lost_connection_is_reported_once_and_only_if_it_was_accepted() -> None:
    """The loss of a stranger's connection says nothing about a peer."""
    node = Node()
    accepted, refused, silent = node.call(hello_line()), node.call(hello_line(7)), node.call(b"{")
    node.receiver.take()

    for transport in (accepted, refused, silent):
        transport.lose()

    assert node.receiver.take() == [("peer_lost", 1)]
    assert node.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff" * 8,
        encode(TimeoutNow(TERM_MAX + 1)),
        b"\0\0\0\2\0\0\0\0{}",
        encode(AppendEntries(1, 0, 0, 0))[:7] + b"\4" + encode(AppendEntries(1, 0, 0, 0))[8:] + b"junk",
    ],
)
def test_a_malformed_frame_costs_its_connection_and_no_other(garbage: bytes) -> None:
    """The bad connection is aborted and reported as lost; the others go on; the cause is logged once."""
    node = Node()
    other = node.call(hello_line(2))
    with warnings() as texts:
        for _ in range(3):
            bad = node.call(hello_line())
            bad.deliver(garbage)
            assert bad.aborted
            bad.deliver(encode(BEAT))
            node.clock.advance(0)
    node.receiver.take()

    other.deliver(encode(BEAT))

    assert node.receiver.take() == [("receive", 2, [BEAT])]
    assert len(texts) == 1
    assert "node 1 sent an invalid message" in texts[0]
    assert not node.peers.status()[1].inbound


def test_a_message_that_the_core_refuses_costs_its_connection() -> None:
    """MessageRefused drops the connection as a malformed frame does, with the core's reason in the log."""
    node = Node()
    transport = node.call(hello_line())
    node.receiver.refuses_messages = True

    with warnings() as texts:
        transport.deliver(encode(BEAT))
        transport.deliver(encode(BEAT))
    node.clock.advance(0)

    assert transport.lost
    assert node.receiver.take() == [("hello", 1, {}), ("receive", 1, [BEAT]), ("peer_lost", 1)]
    assert "term 1 has two leaders" in texts[0]


def test_the_owner_can_refuse_a_hello() -> None:
    """Its reason reaches the peer, and the owner gets no event of the connection."""
    node = Node()
    node.receiver.refuses_hellos = True

    transport = node.call(hello_line() + encode(BEAT))
    transport.lose()

    assert transport.lines() == [{"error": "REFUSED", "message": "its disk is another one"}]
    assert node.receiver.take() == []


def test_a_fresh_node_adopts_the_first_cluster_that_it_hears_of() -> None:
    """A null id is accepted on either side; from then on the known one holds in this process."""
    node = Node(None)
    assert "error" not in node.call(hello_line(2)).lines()[0]
    assert node.peers.cluster_id is None

    welcome = node.call(hello_line(1, cluster=CLUSTER)).lines()[0]

    assert welcome["cluster"] == CLUSTER
    assert {node.peers.cluster_id} == {CLUSTER}
    assert node.call(hello_line(2, cluster=OTHER_CLUSTER)).lines()[0]["error"] == "OTHER_CLUSTER"
    assert "error" not in node.call(hello_line(2)).lines()[0]


def test_a_refused_hello_teaches_no_cluster() -> None:
    """A stranger cannot make a fresh node adopt its cluster."""
    node = Node(None)

    node.call(hello_line(7, cluster=OTHER_CLUSTER))
    node.call(hello_line(1, receiver=2, cluster=OTHER_CLUSTER))

    assert node.peers.cluster_id is None


def test_the_log_has_the_last_word_on_the_cluster() -> None:
    """When the agreed id differs from what was adopted, the connections that named another one are dropped."""
    node = Node(None)
    wrong = node.call(hello_line(1, cluster=OTHER_CLUSTER))
    fresh = node.call(hello_line(2))

    node.peers.learn_cluster(CLUSTER)
    node.clock.advance(0)

    assert node.peers.cluster_id == CLUSTER
    assert wrong.lost
    assert not fresh.disconnecting
    assert ("peer_lost", 1) in node.receiver.take()


def test_a_stop_closes_connections_in_the_order_of_their_arrival(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same in each process, wherever its objects lie in memory: a simulated run is the same to the byte."""
    node, closed = Node(), []
    calls = [node.call() for _ in range(STRANGERS_MAX)]
    monkeypatch.setattr(MemoryTransport, "loseConnection", lambda call: closed.append(call))  # noqa: PLW0108 - it is bound to each

    node.peers.stop()

    assert closed == calls
