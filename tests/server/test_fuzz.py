import json
from collections.abc import Sequence

from hypothesis import example, given, settings
from hypothesis import strategies as st

from kvraft.server import ServerLimits
from kvraft.server.requests import read_requests
from tests.server.twins import Client, StoreDatabase

LINE_BYTES = 40

WORDS = st.sampled_from(
    [b"SET", b"get", b"DELETE", b"PING", b"KEEP", b"STATUS", b"a", b"b", b" ", b"\n", b"\r\n", b"\xff"]
)
INPUT = st.lists(st.one_of(WORDS, st.binary(max_size=LINE_BYTES * 2)), max_size=20).map(b"".join)
EVENTS = st.sampled_from(["answer", "fill", "drain", "wait", "half-close", "disconnect"])


def requests_in(sent: bytes) -> int:
    """Count the lines that are answered: of the blank ones only the first line of all is."""
    lines = sent.split(b"\n")
    is_first_blank = len(lines) > 1 and lines[0] in {b"", b"\r"}
    return is_first_blank + sum(1 for line in lines if line not in {b"", b"\r"})


def happen(client: Client, event: bytes | str) -> None:
    """Have one thing happen to a connection; what cannot happen any more does not."""
    match event:
        case bytes() if event and client.transport.is_reading():
            client.sends(event)
        case "answer" if client.database.waiting:
            client.database.answer_next()
        case "fill":
            client.transport.full = True
        case "drain":
            client.transport.drain()
        case "wait":
            client.passes(0.2)
        case "half-close" if client.transport.is_reading():
            client.half_closes()


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(INPUT, EVENTS), max_size=30), st.booleans())
def test_whatever_happens(events: list[bytes | str], waits: bool) -> None:
    """Any input in any pieces, with anything between them: nothing is raised, buffers stay bounded, nothing is left.

    There are never more answers than lines, and each is one JSON object.
    """
    client = Client(StoreDatabase(waits=waits), ServerLimits(line_bytes=LINE_BYTES))
    sent = b""
    for event in events:
        if isinstance(event, bytes) and client.transport.is_reading():
            sent += event
        if event == "disconnect":
            break
        happen(client, event)
        assert client.held <= LINE_BYTES + LINE_BYTES * 2 * 20
        if event == "half-close":
            break
    for _ in range(100):
        happen(client, "answer")
        happen(client, "drain")

    answers = [json.loads(line) for line in client.read()]
    client.disconnects()
    assert len(answers) <= requests_in(sent)
    assert all(isinstance(answer, dict) and "INTERNAL" not in answer.values() for answer in answers)
    assert client.clock.getDelayedCalls() == []


@settings(max_examples=200, deadline=None)
@example(b"PREFIX ", [8])
@given(st.binary(max_size=200), st.lists(st.integers(1, 20), max_size=20))
def test_chunking_does_not_change_the_answers(noise: bytes, sizes: list[int]) -> None:
    """The same bytes get the same answers in one chunk and in any pieces, unless they look like HTTP."""
    sent = b"SET a 1\n" + noise.replace(b":", b"").replace(b"/", b"") + b"\nGET a\nPING\nGET"
    whole, pieces = Client(StoreDatabase()), Client(StoreDatabase())

    whole.sends(sent)
    position = 0
    for size in sizes:
        pieces.sends(sent[position : position + size])
        position += size
    pieces.sends(sent[position:])
    whole.half_closes()
    pieces.half_closes()

    assert pieces.read() == whole.read()
    assert pieces.database.items == whole.database.items


@given(
    st.lists(st.binary(max_size=60).filter(lambda line: b"\n" not in line and b"HTTP" not in line and b":" not in line))
)
def test_every_line_is_one_request(lines: list[bytes]) -> None:
    """Every line that is not blank comes to exactly one answer."""
    requests = 0
    rest: Sequence[bytes] = lines
    while rest:
        chunk, left = read_requests(rest)
        requests += chunk.count
        assert len(left) < len(rest)
        rest = left

    assert requests == sum(line not in {b"", b"\r"} for line in lines)
