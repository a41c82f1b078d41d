import struct
import tracemalloc
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kvraft.peers.forwarded import Forwarded, ForwardedAnswer, PeerMessage, Published
from kvraft.peers.frames import (
    ENTRY_KIND_MAX,
    HEADER_BYTES_MAX,
    KEEP_ALIVE,
    TAIL_BYTES_MAX,
    FrameDecoder,
    WireError,
    encode,
)
from kvraft.raft.messages import (
    AppendEntries,
    AppendEntriesReply,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    InstallSnapshotReply,
    Message,
    PreVote,
    PreVoteReply,
    RequestVote,
    RequestVoteReply,
    TimeoutNow,
)
from kvraft.raft.types import RECORD_BYTES_MAX, RECORD_HEADER, TERM_MAX, Entry, encode_record

KiB = 1024
MiB = 1024 * 1024
SNAPSHOT = "0123456789abcdef" * 2


def make_frame(header: bytes, tail: bytes = b"") -> bytes:
    """Return a frame with these bytes in it, whatever they are."""
    return struct.pack(">II", len(header), len(tail)) + header + tail


def append(tail: bytes, *, term: int = 5, prev_index: int = 1, prev_term: int = 1) -> bytes:
    """Return an AppendEntries with this tail."""
    return make_frame(encode(AppendEntries(term, prev_index, prev_term, 0))[8:], tail)


def feed_in_chunks(decoder: FrameDecoder, stream: bytes, size: int) -> list[PeerMessage]:
    """Feed the stream in chunks of `size` bytes."""
    return [message for start in range(0, len(stream), size) for message in decoder.feed(stream[start : start + size])]


counts = st.integers(0, TERM_MAX)
flags = st.booleans()
snapshot_ids = st.text("0123456789abcdef", min_size=32, max_size=32)


@st.composite
def appends(draw: st.DrawFn) -> AppendEntries:
    """Any AppendEntries that an honest leader can send."""
    terms = sorted(draw(st.lists(st.integers(1, TERM_MAX), min_size=1, max_size=6)))
    prev_index = draw(st.integers(0, TERM_MAX - len(terms)))
    entries = tuple(
        Entry.create(term, prev_index + number, draw(st.integers(1, ENTRY_KIND_MAX)), draw(st.binary(max_size=50)))
        for number, term in enumerate(terms[1:], start=1)
    )
    prev_term = draw(st.integers(0, terms[0]))
    return AppendEntries(terms[-1], prev_index, prev_term, draw(counts), entries)


@st.composite
def pieces(draw: st.DrawFn) -> InstallSnapshot:
    """Any piece of a snapshot, of no bytes as well as of some."""
    data = draw(st.binary(max_size=200))
    offset = draw(st.integers(0, TERM_MAX - len(data)))
    size = draw(st.integers(offset + len(data), TERM_MAX))
    return InstallSnapshot(draw(counts), draw(snapshot_ids), draw(counts), draw(counts), size, offset, data)


messages: st.SearchStrategy[PeerMessage] = st.one_of(
    appends(),
    pieces(),
    st.builds(InstallSnapshotReply, counts, snapshot_ids, counts, flags),
    st.builds(PreVote, counts, counts, counts),
    st.builds(PreVoteReply, counts, flags),
    st.builds(RequestVote, counts, counts, counts, flags),
    st.builds(RequestVoteReply, counts, flags),
    st.builds(AppendEntriesReply, counts, flags, counts, counts, counts),
    st.builds(Heartbeat, counts, counts, counts),
    st.builds(HeartbeatReply, counts, counts),
    st.builds(TimeoutNow, counts),
    st.builds(Forwarded, snapshot_ids, counts, st.binary(max_size=200)),
    st.builds(ForwardedAnswer, snapshot_ids, counts, st.binary(max_size=200)),
    st.builds(Published, st.binary(max_size=200)),
)


@given(sent=st.lists(messages, max_size=6), cuts=st.lists(st.integers(0, 2000), max_size=20))
def test_any_messages_cut_anywhere_come_out_as_they_went_in(sent: list[PeerMessage], cuts: Sequence[int]) -> None:
    """However the network cuts the stream, the messages come out whole, in order, and equal to those sent."""
    stream = b"".join(map(encode, sent))
    places = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    decoder = FrameDecoder()

    received = [message for start, end in pairwise(places) for message in decoder.feed(stream[start:end])]

    assert received == sent


@given(sent=st.lists(messages, min_size=1, max_size=3))
def test_one_byte_at_a_time_gives_each_message_with_its_last_byte(sent: list[PeerMessage]) -> None:
    """A message comes out with its last byte: not before, and not only when the next one begins."""
    decoder = FrameDecoder()

    for message in sent:
        frame = encode(message)
        assert feed_in_chunks(decoder, frame[:-1], 1) == []
        assert decoder.feed(frame[-1:]) == [message]


@settings(max_examples=400)
@given(
    sent=st.lists(messages, min_size=1, max_size=3),
    damage=st.lists(st.tuples(st.integers(0, 400), st.integers(1, 255)), min_size=1, max_size=4),
    size=st.integers(1, 300),
)
def test_damaged_bytes_raise_wire_error_or_wait_for_more(
    sent: list[PeerMessage], damage: list[tuple[int, int]], size: int
) -> None:
    """Whatever happens to the bytes, the decoder gives messages, waits, or raises WireError, and nothing else."""
    stream = bytearray(b"".join(map(encode, sent)))
    for place, mask in damage:
        stream[place % len(stream)] ^= mask

    received: list[PeerMessage] = []
    with suppress(WireError):
        received = feed_in_chunks(FrameDecoder(), bytes(stream), size)

    assert len(received) <= len(stream) // 8


@settings(max_examples=400)
@given(header=st.binary(max_size=200), tail=st.binary(max_size=200))
def test_random_bytes_in_a_well_formed_frame_raise_wire_error(header: bytes, tail: bytes) -> None:
    """Random bytes are no message, and the only thing that they can raise is WireError."""
    assume(header or tail)
    with pytest.raises(WireError):
        FrameDecoder().feed(make_frame(header, tail))


@given(payload_length=st.sampled_from([0, 1, 4096]), place=st.integers(0, 10**6), mask=st.integers(1, 255))
def test_no_damaged_record_is_delivered(payload_length: int, place: int, mask: int) -> None:
    """A byte that changed anywhere in the tail is noticed (the checksum guards the entry end to end)."""
    record = bytearray(encode_record(5, 2, 2, b"x" * payload_length))
    record[place % len(record)] ^= mask

    with pytest.raises(WireError):
        FrameDecoder().feed(append(bytes(record)))


def test_an_entry_is_the_same_bytes_on_the_wire_as_in_the_log() -> None:
    """The tail of a frame is the entries' records, untouched, and the header says nothing about them."""
    entries = (Entry.create(3, 8, 2, b"first"), Entry.create(4, 9, 1, b""))
    message = AppendEntries(4, 7, 3, 6, entries)

    frame = encode(message)

    header_length, tail_length = struct.unpack_from(">II", frame)
    assert frame[8 + header_length :] == entries[0].record + entries[1].record
    assert tail_length == len(frame) - 8 - header_length
    assert msgspec.json.decode(frame[8 : 8 + header_length]) == {
        "type": "AppendEntries",
        "term": 4,
        "prev_index": 7,
        "prev_term": 3,
        "commit": 6,
    }


@pytest.mark.parametrize(
    "header",
    [
        b"{",
        b"null",
        b"[]",
        b"\xff",
        b'{"type":"\xff\xff"}',
        b'{"term":1}',
        b'{"type":"Nonsense","term":1}',
        b'{"type":1,"term":1}',
        b'{"type":"TimeoutNow"}',
        b'{"type":"TimeoutNow","term":"1"}',
        b'{"type":"TimeoutNow","term":true}',
        b'{"type":"TimeoutNow","term":null}',
        b'{"type":"TimeoutNow","term":1.5}',
        b'{"type":"TimeoutNow","term":-1}',
        b'{"type":"TimeoutNow","term":9007199254740992}',
        b'{"type":"TimeoutNow","term":1e400}',
        b'{"type":"TimeoutNow","term":' + b"9" * 10_000 + b"}",
        b'{"type":"TimeoutNow","term":1,"deep":' + b"[" * 60_000,
        b'{"type":"TimeoutNow","term":1}{}',
        b'{"type":"HeartbeatReply","term":1,"round":[]}',
    ],
    ids=lambda header: repr(header[:60]),
)
def test_a_header_that_is_no_message_is_a_wire_error(header: bytes) -> None:
    """JSON that is none, that is no message, or whose values no honest node can send, is refused."""
    with pytest.raises(WireError, match="no message"):
        FrameDecoder().feed(make_frame(header))


def test_an_empty_frame_is_a_sign_of_life_and_no_message() -> None:
    """It may stand between messages, and be cut anywhere; one with a tail is refused."""
    decoder, message = FrameDecoder(), TimeoutNow(1)
    stream = KEEP_ALIVE + encode(message) + KEEP_ALIVE * 2
    assert [found for byte in stream for found in decoder.feed(bytes([byte]))] == [message]
    assert FrameDecoder().feed(stream) == [message]
    with pytest.raises(WireError, match="no message"):
        FrameDecoder().feed(make_frame(b"", b"tail"))


def test_the_highest_term_is_the_last_that_is_believed() -> None:
    """A term of TERM_MAX passes; the one above it is refused."""
    assert FrameDecoder().feed(encode(TimeoutNow(TERM_MAX))) == [TimeoutNow(TERM_MAX)]
    with pytest.raises(WireError):
        FrameDecoder().feed(encode(TimeoutNow(TERM_MAX + 1)))


def test_entries_inside_the_header_are_refused() -> None:
    """Entries travel as records only: one in the JSON would have no checksum."""
    header = msgspec.json.encode(AppendEntries(5, 1, 1, 0, (Entry.create(5, 2, 2, b"x"),)))

    with pytest.raises(WireError, match="belong in the tail"):
        FrameDecoder().feed(make_frame(header))


@pytest.mark.parametrize("message", [Heartbeat(1, 1, 1), InstallSnapshotReply(1, SNAPSHOT, 0)])
def test_a_tail_on_a_message_that_has_none_is_refused(message: Message) -> None:
    """Only AppendEntries and InstallSnapshot have a tail."""
    header = encode(message)[8:]

    with pytest.raises(WireError, match=f"{type(message).__name__} came with a tail of 4 bytes"):
        FrameDecoder().feed(make_frame(header, b"tail"))


def test_the_bytes_of_a_snapshot_travel_as_they_are() -> None:
    """The tail of the frame is the data, untouched, and the header says nothing about them but where they belong."""
    data = bytes(range(256))
    message = InstallSnapshot(7, SNAPSHOT, 100, 6, size=1000, offset=744, data=data)

    frame = encode(message)

    header_length, tail_length = struct.unpack_from(">II", frame)
    assert frame[8 + header_length :] == data
    assert tail_length == len(data)
    assert msgspec.json.decode(frame[8 : 8 + header_length]) == {
        "type": "InstallSnapshot",
        "term": 7,
        "snapshot": SNAPSHOT,
        "index": 100,
        "index_term": 6,
        "size": 1000,
        "offset": 744,
    }
    assert FrameDecoder().feed(frame) == [message]


@given(sent=st.lists(pieces() | appends(), min_size=1, max_size=4), size=st.integers(1, 500))
def test_pieces_of_a_snapshot_are_whole_in_chunks_of_any_size(sent: list[PeerMessage], size: int) -> None:
    """The data of each piece come out as they went in, between entries and other pieces."""
    stream = b"".join(map(encode, sent))

    assert feed_in_chunks(FrameDecoder(), stream, size) == sent


def test_snapshot_data_inside_the_header_are_refused() -> None:
    """The bytes travel as the tail only: base64 in the JSON would be a second way to say the same."""
    header = msgspec.json.encode(InstallSnapshot(1, SNAPSHOT, 1, 1, 10, 0, b"x"))

    for tail in (b"", b"x"):
        with pytest.raises(WireError, match="belong in the tail"):
            FrameDecoder().feed(make_frame(header, tail))


@pytest.mark.parametrize("snapshot", ["", SNAPSHOT[:-1], SNAPSHOT + "0", SNAPSHOT.upper(), "../" + SNAPSHOT[3:]])
def test_a_snapshot_is_named_by_32_hex_digits(snapshot: str) -> None:
    """The name may become part of a file's name, so nothing else passes."""
    with pytest.raises(WireError, match="no message"):
        FrameDecoder().feed(encode(InstallSnapshot(1, snapshot, 1, 1, 1, 0, b"x")))


@pytest.mark.parametrize(("size", "offset"), [(9, 0), (10, 1), (0, TERM_MAX)])
def test_a_piece_beyond_the_end_of_its_snapshot_is_refused(size: int, offset: int) -> None:
    """Ten bytes must end where the snapshot ends, or before: no file grows beyond the size that was announced."""
    assert FrameDecoder().feed(encode(InstallSnapshot(1, SNAPSHOT, 1, 1, 10, 0, bytes(10))))
    with pytest.raises(WireError, match="beyond the end of a snapshot"):
        FrameDecoder().feed(encode(InstallSnapshot(1, SNAPSHOT, 1, 1, size, offset, bytes(10))))


def test_the_longest_piece_of_a_snapshot_passes_and_a_longer_one_is_not_encoded() -> None:
    """Sender and receiver keep the same limit, to the byte."""
    fits = InstallSnapshot(1, SNAPSHOT, 1, 1, TERM_MAX, 0, bytes(TAIL_BYTES_MAX))
    too_long = InstallSnapshot(1, SNAPSHOT, 1, 1, TERM_MAX, 0, bytes(TAIL_BYTES_MAX + 1))

    assert FrameDecoder().feed(encode(fits)) == [fits]
    with pytest.raises(WireError, match="tail"):
        encode(too_long)


@pytest.mark.parametrize(
    ("tail", "why"),
    [
        (encode_record(5, 3, 2, b""), "index 3 where 2 belongs"),
        (encode_record(5, 1, 2, b""), "index 1 where 2 belongs"),
        (encode_record(5, 2, 2, b"") * 2, "index 2 where 3 belongs"),
        (encode_record(6, 2, 2, b""), "has term 6"),
        (encode_record(3, 2, 2, b"") + encode_record(2, 3, 2, b""), "entry 3 has term 2"),
        (encode_record(1, 2, 2, b""), "entry 2 has term 1"),
        (encode_record(5, 2, 0, b""), "of kind 0"),
        (encode_record(5, 2, ENTRY_KIND_MAX + 1, b""), "of kind 128"),
        (encode_record(5, 2, 2, b"")[:-1], "cut short"),
        (encode_record(5, 2, 2, b"") + b"\0", "cut short"),
        (b"\0" * RECORD_HEADER.size, "impossible"),
    ],
)
def test_records_that_do_not_continue_the_log_are_refused(tail: bytes, why: str) -> None:
    """Damaged records, gaps, repetitions, impossible terms and the journal's own kinds never reach the core."""
    with pytest.raises(WireError, match=why):
        FrameDecoder().feed(append(tail, prev_term=2))


def test_an_entry_of_term_zero_is_refused() -> None:
    """Term 0 is before the first election: no leader could have proposed an entry in it."""
    with pytest.raises(WireError, match="has term 0"):
        FrameDecoder().feed(append(encode_record(0, 1, 2, b""), prev_index=0, prev_term=0))


def test_a_record_may_not_borrow_the_bytes_of_the_next_frame() -> None:
    """A tail that ends inside its last record is refused, even when the bytes after the frame would complete it."""
    record = encode_record(5, 2, 2, b"payload")
    whole = append(record)
    frame = append(record[:-3]) + record[-3:]
    assert len(frame) == len(whole)

    with pytest.raises(WireError, match="beyond the end of its frame"):
        FrameDecoder().feed(frame)


def test_indexes_end_at_the_highest_that_json_can_hold() -> None:
    """An entry after index TERM_MAX is refused; the one at TERM_MAX passes."""
    last = append(encode_record(5, TERM_MAX, 2, b""), prev_index=TERM_MAX - 1)
    beyond = append(encode_record(5, TERM_MAX + 1, 2, b""), prev_index=TERM_MAX)

    assert len(FrameDecoder().feed(last)) == 1
    with pytest.raises(WireError, match="index"):
        FrameDecoder().feed(beyond)


@pytest.mark.parametrize(
    ("header_length", "tail_length", "why"),
    [
        (HEADER_BYTES_MAX + 1, 0, "header has 65537 bytes; at most 65536"),
        (2**32 - 1, 0, "header"),
        (2, TAIL_BYTES_MAX + 1, "tail"),
        (2, 2**32 - 1, "tail"),
    ],
)
def test_a_length_above_the_limit_is_refused_at_once(header_length: int, tail_length: int, why: str) -> None:
    """Eight bytes are enough to refuse an absurd length: nothing is allocated for it and nothing waited for."""
    with pytest.raises(WireError, match=why):
        FrameDecoder().feed(struct.pack(">II", header_length, tail_length))


def test_a_length_at_the_limit_is_waited_for_but_not_allocated() -> None:
    """The longest allowed frame is only a promise: the decoder holds what arrived, not what was announced."""
    decoder = FrameDecoder()
    tracemalloc.start()
    try:
        assert decoder.feed(struct.pack(">II", HEADER_BYTES_MAX, TAIL_BYTES_MAX)) == []
        assert decoder.feed(b"x" * KiB) == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 64 * KiB


def test_tiny_chunks_of_a_huge_frame_cost_no_more_than_their_bytes() -> None:
    """A sender that cuts an unfinished frame into single bytes cannot make the decoder hold many times their size."""
    decoder = FrameDecoder()
    decoder.feed(struct.pack(">II", HEADER_BYTES_MAX, TAIL_BYTES_MAX))
    tracemalloc.start()
    try:
        for number in range(256 * KiB):
            decoder.feed(bytes((number & 1, number & 3)))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert held < 512 * KiB * 1.3


def test_a_header_of_exactly_the_limit_passes() -> None:
    """JSON may be padded up to HEADER_BYTES_MAX."""
    header = encode(TimeoutNow(1))[8:].ljust(HEADER_BYTES_MAX)

    assert FrameDecoder().feed(make_frame(header)) == [TimeoutNow(1)]


def test_the_longest_record_passes_in_small_chunks_and_is_copied_a_bounded_number_of_times() -> None:
    """64 MiB in chunks of 64 KiB: the bytes are copied four times at most, however many chunks there are (§8)."""
    payload = bytes(RECORD_BYTES_MAX - (RECORD_HEADER.size - 8))
    message = AppendEntries(5, 1, 1, 0, (Entry.create(5, 2, 2, payload),))
    frame = encode(message)
    assert len(frame) > 64 * MiB
    decoder = FrameDecoder()
    received: list[PeerMessage] = []
    copied = 0
    chunks = [frame[start : start + 64 * KiB] for start in range(0, len(frame), 64 * KiB)]
    tracemalloc.start()
    try:
        for chunk in chunks:
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            received += decoder.feed(chunk)
            copied += tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()

    assert received == [message]
    assert copied <= 4 * len(frame)


def test_after_an_error_the_decoder_takes_nothing_more() -> None:
    """The place in the stream is lost: a frame after the damage is not decoded."""
    decoder = FrameDecoder()
    with pytest.raises(WireError):
        decoder.feed(make_frame(b"nonsense"))

    with pytest.raises(WireError, match="no message"):
        decoder.feed(encode(TimeoutNow(1)))


def test_a_message_too_long_for_a_frame_is_not_encoded() -> None:
    """The sender keeps the limit that the receiver enforces."""
    entry = Entry(5, 2, 2, b"x" * (TAIL_BYTES_MAX // 8))
    fits = AppendEntries(5, 1, 1, 0, (entry,) * 8)
    too_long = AppendEntries(5, 1, 1, 0, (entry,) * 9)

    assert len(encode(fits)) > TAIL_BYTES_MAX
    with pytest.raises(WireError, match="tail"):
        encode(too_long)
