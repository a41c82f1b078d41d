import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from kvraft.peers.outbox import PIECE_BYTES, Outbox, OutboxFull
from tests.peers.twins import MemoryTransport

LIMIT = 1000


def make_outbox(limit: int = LIMIT) -> tuple[Outbox, MemoryTransport]:
    """Return an outbox and the transport that it feeds."""
    transport = MemoryTransport(Clock())
    return Outbox(transport, limit), transport


def test_bytes_for_a_ready_transport_do_not_wait() -> None:
    """While the transport takes bytes the outbox holds none."""
    outbox, transport = make_outbox()

    outbox.write(b"one")
    outbox.write(b"two")

    assert transport.writes == [b"one", b"two"]
    assert outbox.waiting == 0


def test_what_comes_while_the_transport_is_full_follows_in_one_write() -> None:
    """A paused transport is left alone and its bytes are counted; when it has room they leave in order."""
    outbox, transport = make_outbox()
    outbox.pauseProducing()
    outbox.write(b"one")
    outbox.write(b"two")
    assert (transport.writes, outbox.waiting) == ([], 6)

    outbox.resumeProducing()
    outbox.write(b"three")

    assert transport.writes == [b"onetwo", b"three"]
    assert outbox.waiting == 0


def test_the_limit_binds_what_waits_behind_the_write_under_way() -> None:
    """Exactly the limit may wait after the first write; one byte more is too much."""
    outbox, _ = make_outbox()
    outbox.pauseProducing()
    outbox.write(b"x" * 10 * LIMIT)

    outbox.write(b"y" * LIMIT)

    with pytest.raises(OutboxFull, match="11001 bytes wait") as full:
        outbox.write(b"z")
    assert full.value.waiting == 11 * LIMIT + 1


def test_the_longest_message_passes_an_empty_outbox_and_counts_as_it_leaves() -> None:
    """One write above the limit is fed to the transport piece by piece, as often as that has room."""
    outbox, transport = make_outbox()
    data = bytes(range(256)) * (5 * PIECE_BYTES // 512)  # two pieces and a half
    transport_is_full_after(transport, 1)

    outbox.write(data)
    assert outbox.waiting == len(data) - PIECE_BYTES
    outbox.resumeProducing()
    outbox.resumeProducing()

    assert b"".join(transport.writes) == data
    assert list(map(len, transport.writes)) == [PIECE_BYTES, PIECE_BYTES, PIECE_BYTES // 2]
    assert outbox.waiting == 0


def transport_is_full_after(transport: MemoryTransport, writes: int) -> None:
    """Make the transport pause its producer with every `writes`th write, as a slow socket does."""
    plain = transport.write

    def write(data: bytes) -> None:
        plain(data)
        if len(transport.writes) % writes == 0:
            assert transport.producer is not None
            transport.producer.pauseProducing()

    transport.write = write  # type: ignore[method-assign]


@given(
    steps=st.lists(
        st.one_of(st.binary(min_size=1, max_size=300_000), st.just("pause"), st.just("resume")), max_size=12
    ),
    full_after=st.integers(1, 4),
)
def test_every_byte_leaves_once_and_in_order(steps: list[bytes | str], full_after: int) -> None:
    """Whenever the transport pauses and resumes, the stream is the writes joined, and the count is what is missing."""
    outbox, transport = make_outbox(1 << 30)
    transport_is_full_after(transport, full_after)
    written = b""

    for step in steps:
        if isinstance(step, bytes):
            outbox.write(step)
            written += step
        elif step == "pause":
            outbox.pauseProducing()
        else:
            outbox.resumeProducing()
        assert transport.value() == written[: len(written) - outbox.waiting]

    while outbox.waiting:
        outbox.resumeProducing()
    assert transport.value() == written


def test_a_lost_connection_takes_its_outbox_with_it() -> None:
    """What waited is dropped, and what comes later is not kept."""
    outbox, transport = make_outbox()
    outbox.pauseProducing()
    outbox.write(b"waits")

    outbox.stopProducing()
    outbox.write(b"late")
    outbox.resumeProducing()

    assert (transport.writes, outbox.waiting) == ([], 0)


def test_a_closed_outbox_leaves_the_transport_free_to_close() -> None:
    """A transport with a producer never closes by loseConnection: the outbox steps back, once."""
    outbox, transport = make_outbox()
    outbox.pauseProducing()
    outbox.write(b"waits")

    outbox.close()
    outbox.close()

    assert transport.producer is None
    assert outbox.waiting == 0
