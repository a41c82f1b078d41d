import json

import pytest

from kvraft.commands import Item
from kvraft.server import ServerLimits
from kvraft.server.session import SLICE_BYTES
from tests.server.twins import Client, MemoryDatabase

KIB = 1024
READ_BYTES = 64 * KIB
"""What Twisted reads at once."""
STALL_S = ServerLimits().stall_s


def client_with_large_values(count: int, size: int, limits: ServerLimits | None = None) -> Client:
    """Connect to a database with `count` values of `size` bytes under k0, k1, ..."""
    items = {b"k%d" % number: Item(b"v" * size, 1, 1, 1) for number in range(count)}
    return Client(MemoryDatabase(items=items), limits or ServerLimits())


def test_client_that_does_not_read_is_not_read_from() -> None:
    """Nothing is read from a client that does not read its answers, and none of its lines are carried out."""
    client = Client()
    client.transport.full = True
    client.sends(b"PING\n", b"SET a b\n")

    assert client.read() == [b'{"status":"PONG"}']
    assert not client.transport.is_reading()
    assert client.database.submissions == []

    client.transport.drain()
    assert client.read() == [b'{"status":"OK"}']
    assert client.transport.is_reading()


def test_answers_are_written_as_the_client_reads() -> None:
    """Of large answers no more than a slice is written to a client that has not read the one before."""
    client = client_with_large_values(8, SLICE_BYTES)
    client.transport.full = True
    client.sends(b"".join(b"GET k%d\n" % number for number in range(8)) + b"PING\n")

    for _ in range(8):
        [answer] = client.read()
        assert len(answer) > SLICE_BYTES
        client.transport.drain(more=True)
    client.transport.drain()

    assert client.read() == [b'{"status":"PONG"}']
    assert client.transport.is_reading()


def test_client_that_stalls_is_dropped() -> None:
    """A client that has not read for the stall deadline is dropped, no earlier."""
    client = Client()
    client.transport.full = True
    client.sends(b"PING\n")

    client.passes(STALL_S * 0.9)
    assert not client.transport.is_aborted()
    client.passes(STALL_S * 0.2)

    assert client.transport.is_aborted()


def test_client_that_reads_in_time_is_not_dropped() -> None:
    """Reading ends the stall; the next one has its own deadline."""
    client = Client()
    client.sends(b"KEEP\n")
    for _ in range(3):
        client.transport.full = True
        client.sends(b"PING\n")
        client.passes(STALL_S * 0.9)
        client.transport.drain()

    assert client.is_open()
    assert client.clock.getDelayedCalls() == []


def test_nothing_closes_while_the_client_reads_its_answer() -> None:
    """One request alone with a large answer closes when the answer has left, not earlier."""
    client = Client()
    client.transport.full = True
    client.sends(b"PING\n")
    client.passes(1)
    assert client.is_open()

    client.transport.drain()
    client.passes(0)

    assert client.transport.is_half_closed()


def test_half_close_while_the_client_does_not_read() -> None:
    """A half-close during a stall closes after the last answer, once the client has read the others."""
    client = Client()
    client.transport.full = True
    client.sends(b"PING\n", b"GET a")
    client.half_closes()
    assert client.is_open()

    client.transport.drain()

    assert client.read() == [b'{"status":"PONG"}', b'{"value":null}']
    assert client.transport.is_closing()


def test_too_many_waiting_answers_drop_the_client() -> None:
    """A client that does not read while more than the limit waits for it is dropped; at the limit it is not."""
    for count, dropped in ((3, False), (4, True)):
        client = client_with_large_values(count, SLICE_BYTES, ServerLimits(client_outbox_bytes=3 * SLICE_BYTES + KIB))
        client.transport.full = True

        client.sends(b"".join(b"GET k%d\n" % number for number in range(count)))

        assert client.transport.is_aborted() is dropped


def test_client_that_reads_may_ask_for_any_amount() -> None:
    """The limit is for answers that wait: a client that reads gets more than that in one chunk."""
    client = client_with_large_values(8, SLICE_BYTES, ServerLimits(client_outbox_bytes=SLICE_BYTES))

    client.sends(b"".join(b"GET k%d\n" % number for number in range(8)))

    assert len(client.read()) == 8


def test_input_is_bounded_while_a_submission_is_in_flight() -> None:
    """After a submission in flight one line and one read are buffered, then reading stops until there is room."""
    client = Client(MemoryDatabase(waits=True), ServerLimits(line_bytes=100 * KIB))
    chunk = b"SET key %s\n" % (b"v" * 1000) * 64
    client.sends(b"PING\nSET a b\n")

    chunks = 0
    while client.transport.is_reading():
        client.sends(chunk)
        chunks += 1

    assert 100 * KIB < chunks * len(chunk) <= 100 * KIB + READ_BYTES
    client.database.answer_next()
    assert client.transport.is_reading()
    client.database.answer_next()
    assert len(client.read()) == 2 + chunks * 64


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_line_at_the_limit_is_taken(piece: int) -> None:
    """A line of exactly the limit is carried out, however it arrives."""
    line = b"SET a " + b"v" * 994
    client = Client(limits=ServerLimits(line_bytes=1000))

    client.sends(*(line[at : at + piece] for at in range(0, len(line), piece)), b"\n")

    assert client.read() == [b'{"status":"OK"}']


@pytest.mark.parametrize("piece", [1, 7, 5000])
@pytest.mark.parametrize("ends", [b"", b"\n", b"\nSET c d\n"])
def test_line_above_the_limit_is_refused(piece: int, ends: bytes) -> None:
    """A longer line, ended or not, is refused after the earlier answers; the connection closes, even with KEEP."""
    sent = b"KEEP\nSET a b\nSET a " + b"v" * 995 + ends
    client = Client(limits=ServerLimits(line_bytes=1000))

    client.sends(*(sent[at : at + piece] for at in range(0, len(sent), piece)))

    *earlier, last = client.read()
    assert earlier == [b'{"status":"OK"}'] * 2
    assert json.loads(last)["error"] == "LINE_TOO_LONG"
    assert "1000 bytes" in json.loads(last)["message"]
    assert client.transport.is_half_closed()
    assert client.database.items == {b"a": Item(b"b", 1, 1, 1)}


def test_line_without_end_is_never_kept() -> None:
    """Of a client that sends for ever without a line feed nothing is kept, before and after the answer."""
    client = Client(limits=ServerLimits(line_bytes=1000))

    for _ in range(100):
        client.sends(b"x" * 400)
        assert client.held <= 1000

    assert len(client.read()) == 1
    assert client.held == 0


def test_too_long_line_behind_a_submission_waits_its_turn() -> None:
    """The refusal of a line that is too long comes after the answer in flight."""
    client = Client(MemoryDatabase(waits=True), ServerLimits(line_bytes=1000))
    client.sends(b"SET a b\n", b"x" * 2000)
    assert not client.transport.is_reading()
    assert client.is_open()

    client.database.answer_next()

    first, last = client.read()
    assert first == b'{"status":"OK"}'
    assert b"LINE_TOO_LONG" in last
    assert client.transport.is_half_closed()
    assert client.transport.is_reading(), "or the close of the client would not be seen"
