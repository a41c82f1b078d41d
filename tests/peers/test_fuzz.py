import json
import tracemalloc
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kvraft.peers.frames import encode
from kvraft.peers.hello import HELLO_BYTES_MAX
from kvraft.peers.log_once import CAUSES_MAX
from kvraft.raft.messages import Heartbeat
from tests.peers.twins import Node, hello_line, warnings

BEAT = Heartbeat(1, 0, 1)
CHUNK = 64 * 1024

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
hello_fields = st.fixed_dictionaries(
    {},
    optional={
        "kvraft": st.just(1) | json_values,
        "from": st.just(1) | json_values,
        "to": st.just(0) | json_values,
        "cluster": st.none() | json_values,
        "incarnation": st.just("f00") | json_values,
        "run": st.just("r00") | json_values,
        "term": json_values,
    },
)
frames = st.one_of(
    st.binary(max_size=300),
    st.just(encode(BEAT)),
    st.dictionaries(st.text(), json_values, max_size=3).map(
        lambda fields: len(text := json.dumps(fields).encode()).to_bytes(4, "big") + bytes(4) + text
    ),
)


def attack(node: Node, chunks: list[bytes]) -> None:
    """Send the chunks to the node on a new connection until it hangs up, and then hang up."""
    transport = node.call()
    for chunk in chunks:
        if transport.disconnecting:
            break
        transport.deliver(chunk)
    for answer in transport.lines():
        assert "kvraft" in answer or (answer["error"] and answer["message"])
    transport.lose()


@settings(max_examples=300)
@given(
    first=st.one_of(
        st.binary(max_size=300),
        hello_fields.map(lambda fields: json.dumps(fields).encode() + b"\n"),
        st.just(hello_line()),
        json_values.map(lambda value: json.dumps(value).encode() + b"\n"),
    ),
    then=st.lists(frames, max_size=4),
    size=st.integers(1, 400),
)
def test_whatever_a_stranger_sends_costs_its_own_connection_at_most(first: bytes, then: list[bytes], size: int) -> None:
    """Random bytes, JSON of any shape and frames of any content raise nothing and disturb no other connection."""
    node = Node()
    other = node.call(hello_line(2))
    stream = b"".join((first, *then))

    attack(node, [stream[start : start + size] for start in range(0, len(stream), size)])

    node.receiver.take()
    other.deliver(encode(BEAT))
    assert node.receiver.take() == [("receive", 2, [BEAT])]


def test_a_line_without_end_is_not_collected() -> None:
    """A stranger that never ends its line is refused at HELLO_BYTES_MAX; what follows is thrown away unseen."""
    node = Node()
    transport = node.call(b"{" * HELLO_BYTES_MAX)
    tracemalloc.start()
    try:
        for _ in range(100):
            transport.deliver(b"{" * CHUNK)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert transport.disconnecting
    assert held < CHUNK


def test_a_peer_that_announces_much_and_sends_little_costs_little() -> None:
    """An absurd length ends the connection; the longest allowed one is not allocated before it arrives."""
    node = Node()
    tracemalloc.start()
    try:
        honest_length = node.call(hello_line(1))
        honest_length.deliver(b"\0\0\0\2\4\0\0\0{}")
        absurd_length = node.call(hello_line(2))
        absurd_length.deliver(b"\0\0\0\2\xff\xff\xff\xff{}")
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert not honest_length.aborted
    assert absurd_length.aborted
    assert held < CHUNK


def test_invented_causes_do_not_fill_the_log_or_the_memory() -> None:
    """A stranger may change its mistake each time, and its address too: the log has an end."""
    node = Node()

    with warnings() as texts:
        for number in range(2 * CAUSES_MAX):
            transport = node.call()
            transport.peerAddr = _Somewhere(f"host{number}")
            transport.deliver(b"{}\n")

    assert len(texts) == CAUSES_MAX + 2
    assert "no further are logged" in texts[-1]


class _Somewhere:
    """The address of a stranger."""

    def __init__(self, host: str) -> None:
        self.host: Any = host
