"""What a protocol of a simulated process gets from its transport: closes of every kind, windows and producers."""

import pytest

from kvraft.peers.outbox import Outbox
from kvraft.simulation.network import GIVES_UP_S
from kvraft.simulation.transport import BUFFER_BYTES, WINDOW_BYTES, End
from tests.simulation.talkers import HalfCloseableTalker, Source, Street, near

PIECE = b"p" * 1024
ALMOST_AT_ONCE = 0.05
"""Long enough for all that takes its ordinary time, seconds."""


def block(street: Street, *, both: bool = False) -> None:
    """Let nothing pass from the client to the server, or in neither direction."""
    street.network.block(street.client, street.server)
    if both:
        street.network.block(street.server, street.client)


# --- closing ---------------------------------------------------------------------------------------------------------


def test_a_close_sends_first_what_was_written() -> None:
    """Also more than the window takes; both ends get the event of a clean end."""
    street = Street()
    client, server = street.connect()
    for _ in range(2 * WINDOW_BYTES // len(PIECE)):
        client.transport.write(PIECE)
    client.transport.loseConnection()
    client.transport.write(b"too late")
    street.run(1.0)

    assert server.text == PIECE * (2 * WINDOW_BYTES // len(PIECE))
    assert client.events == server.events == ["made", "ConnectionDone"]


def test_a_close_behind_a_blocked_link_waits_with_what_was_written() -> None:
    """And happens when the link is mended."""
    street = Street()
    client, server = street.connect()
    block(street)
    client.transport.write(b"last words")
    client.transport.loseConnection()
    street.run(1.0)
    assert server.events == ["made"]
    street.network.unblock(street.client, street.server)
    street.run(ALMOST_AT_ONCE)

    assert server.text == b"last words"
    assert client.events == server.events == ["made", "ConnectionDone"]


def test_who_has_closed_hears_nothing_more() -> None:
    """Twisted stops reading then, however long the rest takes to leave."""
    street = Street(kind=HalfCloseableTalker)
    client, server = street.connect()
    block(street)
    client.transport.write(b"on its way")
    client.transport.loseConnection()
    client.transport.resumeProducing()
    server.transport.write(b"unheard")
    street.run(1.0)

    assert client.text == b""


def test_an_abort_is_a_reset_for_the_other_end() -> None:
    """What was still waiting is dropped."""
    street = Street()
    client, server = street.connect()
    server.transport.pauseProducing()
    for _ in range(2 * WINDOW_BYTES // len(PIECE)):
        client.transport.write(PIECE)
    client.transport.abortConnection()
    client.transport.abortConnection()
    street.run(1.0)
    server.transport.resumeProducing()
    street.run(1.0)

    assert client.events == ["made", "ConnectionAborted"]
    assert server.events == ["made", "ConnectionLost"]
    assert len(server.text) <= WINDOW_BYTES + len(PIECE)


def test_a_reset_does_not_pass_a_blocked_link() -> None:
    """The other end gets no event of it for the time that TCP waits for a silent peer."""
    street = Street()
    client, server = street.connect()
    block(street)
    start = street.world.now
    street.run(1.0)
    client.transport.abortConnection()
    street.run(1.0)
    assert client.events == ["made", "ConnectionAborted"]
    assert server.events == ["made"]
    street.run(GIVES_UP_S)

    assert server.told[1:] == [("ConnectionLost", near(start + GIVES_UP_S, abs=1.1))]


@pytest.mark.parametrize("how", ["abort", "kill"])
def test_a_reset_that_a_blocked_link_has_swallowed_is_made_up_for(how: str) -> None:
    """The other end is silent, and its probes find out: also when the link is soon mended."""
    street = Street()
    client, server = street.connect()
    block(street)
    if how == "abort":
        client.transport.abortConnection()
    else:
        street.client.end()
        street.network.process_ended(street.client)
    street.run(1.0)
    assert server.events == ["made"]
    street.network.unblock(street.client, street.server)
    street.run(GIVES_UP_S)

    assert server.events == ["made", "ConnectionLost"]


def test_half_a_close_ends_one_stream_and_leaves_the_other() -> None:
    """The reader gets the event after all bytes, and may answer for as long as it likes."""
    street = Street(kind=HalfCloseableTalker)
    client, server = street.connect()
    client.transport.write(b"question")
    client.transport.loseWriteConnection()
    client.transport.write(b"too late")
    street.run(1.0)
    assert (server.text, server.events) == (b"question", ["made", "read closed"])
    assert client.events == ["made", "write closed"]

    server.transport.write(b"answer")
    street.run(1.0)
    server.transport.loseConnection()
    street.run(1.0)

    assert client.text == b"answer"
    assert client.events == ["made", "write closed", "read closed"]
    assert server.events == ["made", "read closed", "ConnectionDone"]
    client.transport.loseConnection()
    street.run(1.0)
    assert client.events[3:] == ["ConnectionDone"]


def test_half_a_close_is_all_of_it_for_who_does_not_understand_it() -> None:
    """As with Twisted, both ends lose the connection."""
    street = Street()
    client, server = street.connect()
    client.transport.loseWriteConnection()
    street.run(1.0)

    assert client.events == server.events == ["made", "ConnectionDone"]


def test_half_a_close_is_told_when_everything_has_left() -> None:
    """Not while bytes wait for the reader."""
    street = Street(kind=HalfCloseableTalker)
    client, server = street.connect()
    server.transport.pauseProducing()
    for _ in range(2 * WINDOW_BYTES // len(PIECE)):
        client.transport.write(PIECE)
    client.transport.loseWriteConnection()
    street.run(1.0)
    assert client.events == ["made"]
    server.transport.resumeProducing()
    street.run(1.0)

    assert client.events == ["made", "write closed"]
    assert server.events == ["made", "read closed"]
    assert len(server.text) == 2 * WINDOW_BYTES


@pytest.mark.parametrize("written", [b"", b"question"])
def test_half_a_close_waits_for_a_blocked_link(written: bytes) -> None:
    """With bytes in front of it or without."""
    street = Street(kind=HalfCloseableTalker)
    client, server = street.connect()
    block(street)
    client.transport.write(written)
    client.transport.loseWriteConnection()
    street.run(1.0)
    assert (server.text, server.events) == (b"", ["made"])
    street.network.unblock(street.client, street.server)
    street.run(1.0)

    assert (server.text, server.events) == (written, ["made", "read closed"])
    assert client.events == ["made", "write closed"]


def test_who_does_not_read_does_not_see_the_end_of_the_stream() -> None:
    """With bytes in front of it or without, until it reads again."""
    street = Street()
    for written in (b"", b"unread"):
        client, server = street.connect()
        server.transport.pauseProducing()
        client.transport.write(written)
        client.transport.loseConnection()
        street.run(1.0)
        assert (server.text, server.events) == (b"", ["made"])
        server.transport.resumeProducing()
        street.run(1.0)

        assert (server.text, server.events) == (written, ["made", "ConnectionDone"])


def test_a_close_with_input_unread_is_a_reset() -> None:
    """As the kernel does it: the writer cannot take it for read."""
    street = Street()
    client, server = street.connect()
    server.transport.pauseProducing()
    client.transport.write(b"unread")
    street.run(1.0)
    server.transport.loseConnection()
    street.run(1.0)

    assert server.events == ["made", "ConnectionDone"]
    assert client.events == ["made", "ConnectionLost"]


def test_bytes_that_were_on_their_way_to_an_end_that_closed_are_answered_with_a_reset() -> None:
    """Their writer need not write again to learn that they were not read."""
    street = Street(kind=HalfCloseableTalker)
    client, server = street.connect()
    street.network.slow(street.server, street.client, 0.5)
    server.transport.write(b"on the way")
    client.transport.loseConnection()
    street.run(0.4)
    assert server.events == ["made", "read closed"]
    street.run(1.0)

    assert client.text == b""
    assert server.events == ["made", "read closed", "ConnectionLost"]


def test_bytes_for_an_end_that_is_closed_are_answered_with_a_reset() -> None:
    """An end that still writes learns that the other does not read."""
    street = Street(kind=HalfCloseableTalker)
    client, server = street.connect()
    client.transport.loseConnection()
    street.run(1.0)
    assert server.events == ["made", "read closed"]
    server.transport.write(b"still there?")
    street.run(1.0)

    assert server.events == ["made", "read closed", "ConnectionLost"]


# --- windows and producers -------------------------------------------------------------------------------------------


def test_a_reader_that_pauses_hears_nothing_until_it_reads_again() -> None:
    """Then it gets all of it, not from within its own call."""
    street = Street()
    client, server = street.connect()
    server.transport.pauseProducing()
    client.transport.write(b"wait")
    street.run(1.0)
    assert server.text == b""
    server.transport.resumeProducing()
    assert server.text == b""
    street.run(ALMOST_AT_ONCE)

    assert server.text == b"wait"


def test_a_reader_may_pause_between_two_pieces() -> None:
    """Nothing comes while it is paused, whether it paused in its own turn or before."""
    street = Street()
    client, server = street.connect()
    server.reply = lambda _data: server.transport.pauseProducing()
    for piece in (b"one", b"two"):
        client.transport.write(piece)
        street.run(0.01)
    assert server.text == b"one"
    server.transport.resumeProducing()
    server.transport.pauseProducing()
    street.run(ALMOST_AT_ONCE)

    assert server.text == b"one"


def test_a_producer_is_paused_when_the_reader_does_not_read() -> None:
    """What is under way stays bounded, and everything comes in the end."""
    street = Street()
    client, server = street.connect()
    server.transport.pauseProducing()
    total = 4 * WINDOW_BYTES // len(PIECE)
    source = Source(client.transport, PIECE, total)
    client.transport.registerProducer(source, streaming=True)
    source.resumeProducing()
    street.run(1.0)
    assert source.paused
    under_way = (total - source.left) * len(PIECE)
    assert WINDOW_BYTES < under_way <= WINDOW_BYTES + BUFFER_BYTES + 2 * len(PIECE)

    server.transport.resumeProducing()
    street.run(1.0)

    assert not source.left
    assert server.text == PIECE * total
    assert not source.paused


def test_a_long_write_does_not_leave_all_at_once() -> None:
    """The window binds bytes, not writes."""
    street = Street()
    client, server = street.connect()
    server.transport.pauseProducing()
    source = Source(client.transport, b"", 0)
    client.transport.registerProducer(source, streaming=True)
    client.transport.write(b"x" * (3 * WINDOW_BYTES))
    street.run(1.0)
    assert source.paused
    client.transport.abortConnection()
    street.run(1.0)
    assert source.stopped
    server.transport.resumeProducing()
    street.run(1.0)

    assert len(server.text) <= WINDOW_BYTES


def test_a_producer_that_a_blocked_link_has_paused_goes_on_when_it_is_mended() -> None:
    """Also when all that waited fits the window, so that no read is waited for."""
    street = Street()
    client, server = street.connect()
    block(street)
    source = Source(client.transport, PIECE, 2 * BUFFER_BYTES // len(PIECE))
    client.transport.registerProducer(source, streaming=True)
    source.resumeProducing()
    street.run(1.0)
    assert source.paused
    street.network.unblock(street.client, street.server)
    street.run(1.0)

    assert not source.paused
    assert len(server.text) == 2 * BUFFER_BYTES


def test_a_producer_is_told_once_that_it_is_paused() -> None:
    """However much is written on top of that."""
    street = Street()
    client, _ = street.connect()
    block(street)
    source = Source(client.transport, b"", 0)
    client.transport.registerProducer(source, streaming=True)
    for _ in range(3):
        client.transport.write(b"x" * (BUFFER_BYTES + 1))

    assert source.pauses == 1


def test_a_producer_is_stopped_with_the_connection() -> None:
    """One that comes later is stopped at once; one that has left gets no call."""
    street = Street()
    client, server = street.connect()
    sources = [Source(end, PIECE, 0) for end in (client.transport, server.transport)]
    client.transport.registerProducer(sources[0], streaming=True)
    server.transport.registerProducer(sources[1], streaming=True)
    server.transport.unregisterProducer()
    client.transport.abortConnection()
    street.run(1.0)
    late = Source(client.transport, PIECE, 1)
    client.transport.registerProducer(late, streaming=True)

    assert [source.stopped for source in (*sources, late)] == [True, False, True]


def test_a_write_sequence_is_one_write() -> None:
    """Its parts arrive together."""
    street = Street()
    client, server = street.connect()
    end: End = client.transport
    end.writeSequence([b"a", b"", b"b"])
    street.run(ALMOST_AT_ONCE)

    assert [data for _, data in server.heard] == [b"ab"]


def test_what_a_peer_writes_to_a_full_connection_is_noticed() -> None:
    """It must wait in the outbox, which counts it."""
    street = Street()
    client, _ = street.connect()
    outbox = Outbox(client.transport)
    block(street)
    outbox.write(PIECE * (BUFFER_BYTES // len(PIECE) + 1))
    outbox.write(PIECE)
    assert not street.network.violations

    client.transport.write(PIECE)

    assert "a connection that can take no more" in str(street.network.violations)
