"""The encoding of messages between nodes as frames.

A frame is a JSON header that a person can read in a packet capture, and a tail of raw bytes::

    header length  u32, big-endian
    tail length    u32, big-endian
    header         JSON: the message, tagged with its type
    tail           the records of an AppendEntries, one after the other, as they stand in the log,
                   or the bytes of a snapshot, or the data of a frame in `forwarded`

A frame in which both lengths are 0 holds no message: it shows that the connection carries something (see
`kvraft.peers.keepalive`).

The tail holds bytes that the leader has encoded once, or read from its disk: no base64, no second checksum, no copy of
an entry field by field. Every other message has an empty tail. The decoder does not trust the other end: a frame that
no correct node can have made raises `WireError`, and memory is allocated only for bytes that have arrived.
"""

import struct
from typing import Final

import msgspec

from kvraft.peers.forwarded import Forwarded, ForwardedAnswer, PeerMessage, Published
from kvraft.raft.errors import CorruptRecord
from kvraft.raft.messages import AppendEntries, InstallSnapshot
from kvraft.raft.types import RECORD_BYTES_MAX, TERM_MAX, Entry, decode_record

HEADER_BYTES_MAX: Final = 64 * 1024
"""Longest header that is sent or accepted, in bytes."""

TAIL_BYTES_MAX: Final = RECORD_BYTES_MAX + 8 * 1024 * 1024
"""Longest tail that is sent or accepted, in bytes: the longest record, and room for the batch it ends."""

ENTRY_KIND_MAX: Final = 127
"""Highest kind of an entry; those above are the journal's own records and are never sent."""

_PREFIX: Final = struct.Struct(">II")

KEEP_ALIVE: Final = _PREFIX.pack(0, 0)
"""A frame without a message. Earlier versions refuse it, so it is sent only to a peer whose hello says `keepalive`."""

_encode_header: Final = msgspec.json.Encoder().encode
_header_decoder: Final[msgspec.json.Decoder[PeerMessage]] = msgspec.json.Decoder(PeerMessage)

_WITH_DATA: Final = (InstallSnapshot, Forwarded, ForwardedAnswer, Published)
"""Messages whose `data` travel as the tail."""


class WireError(Exception):
    """Bytes that no correct node sends, or a message that fits no frame; the connection should be dropped."""


def encode(message: PeerMessage) -> bytes:
    """Return the message's frame.

    Raises:
        WireError: header or tail would be longer than a frame may be.
    """
    if type(message) is AppendEntries and message.entries:
        header = _encode_header(msgspec.structs.replace(message, entries=()))
        records = [entry.record for entry in message.entries]
        tail_length = sum(map(len, records))
        _check_lengths(len(header), tail_length)
        return b"".join((_PREFIX.pack(len(header), tail_length), header, *records))
    if isinstance(message, _WITH_DATA) and message.data:
        header = _encode_header(msgspec.structs.replace(message, data=b""))
        _check_lengths(len(header), len(message.data))
        return b"".join((_PREFIX.pack(len(header), len(message.data)), header, message.data))
    header = _encode_header(message)
    _check_lengths(len(header), 0)
    return _PREFIX.pack(len(header), 0) + header


class FrameDecoder:
    """Decodes a stream of bytes into messages, in time linear in the bytes, for any division of the stream into chunks.

    It holds at most one unfinished frame, so about `HEADER_BYTES_MAX + TAIL_BYTES_MAX` bytes and one chunk.
    """

    def __init__(self) -> None:
        self._held = bytearray()
        """The beginning of one frame. It holds only bytes that have arrived, whatever length the prefix claims."""
        self._needed = _PREFIX.size
        """Bytes that must be held before decoding can continue: a whole prefix, then the whole frame."""
        self._failed: WireError | None = None

    def feed(self, data: bytes) -> list[PeerMessage]:
        """Take the next bytes of the stream and return the messages that they complete.

        After an error the position in the stream is lost: every further call raises it again. Complete messages in the
        same chunk before the bad frame are dropped, as the network may drop any message.

        Raises:
            WireError: the stream holds something that no correct node sends.
        """
        if self._failed is not None:
            raise self._failed
        if self._held or len(data) < self._needed:
            self._held += data
            if len(self._held) < self._needed:
                return []
            data = bytes(self._held)
            self._held = bytearray()
        try:
            return self._decode_frames(data)
        except WireError as error:
            self._failed = error
            raise

    def _decode_frames(self, data: bytes) -> list[PeerMessage]:
        messages: list[PeerMessage] = []
        offset = 0
        self._needed = _PREFIX.size
        while (left := len(data) - offset) >= _PREFIX.size:
            header_length, tail_length = _PREFIX.unpack_from(data, offset)
            if header_length > HEADER_BYTES_MAX or tail_length > TAIL_BYTES_MAX:
                _check_lengths(header_length, tail_length)
            frame_length = _PREFIX.size + header_length + tail_length
            if left < frame_length:
                self._needed = frame_length
                break
            if frame_length > _PREFIX.size:
                messages.append(_decode_frame(data, offset + _PREFIX.size, header_length, tail_length))
            offset += frame_length
        if left:
            self._held += memoryview(data)[offset:]
        return messages


def _check_lengths(header_length: int, tail_length: int) -> None:
    if header_length > HEADER_BYTES_MAX:
        raise WireError(f"a frame's header has {header_length} bytes; at most {HEADER_BYTES_MAX} are allowed")
    if tail_length > TAIL_BYTES_MAX:
        raise WireError(f"a frame's tail has {tail_length} bytes; at most {TAIL_BYTES_MAX} are allowed")


def _decode_frame(data: bytes, offset: int, header_length: int, tail_length: int) -> PeerMessage:
    tail = offset + header_length
    try:
        message = _header_decoder.decode(memoryview(data)[offset:tail])
    except (ValueError, RecursionError) as error:
        # ValueError is msgspec's own errors and, for text that is not UTF-8, Python's.
        raise WireError(f"a frame's header is no message: {error}") from error
    if type(message) is InstallSnapshot:
        if message.data:
            raise WireError("the header of an InstallSnapshot holds data; they belong in the tail")
        if message.offset + tail_length > message.size:
            raise WireError(
                f"{tail_length} bytes at offset {message.offset} reach beyond the end of a snapshot of {message.size}"
            )
        return msgspec.structs.replace(message, data=data[tail : tail + tail_length])
    if isinstance(message, Forwarded | ForwardedAnswer | Published):
        if message.data:
            raise WireError(f"the header of a {type(message).__name__} holds data; they belong in the tail")
        return msgspec.structs.replace(message, data=data[tail : tail + tail_length])
    if type(message) is not AppendEntries:
        if tail_length:
            raise WireError(f"a {type(message).__name__} came with a tail of {tail_length} bytes; it has none")
        return message
    if message.entries:
        raise WireError("the header of an AppendEntries holds entries; they belong in the tail")
    if not tail_length:
        return message
    return msgspec.structs.replace(message, entries=_decode_tail(message, data, tail, tail + tail_length))


def _decode_tail(message: AppendEntries, data: bytes, offset: int, end: int) -> tuple[Entry, ...]:
    """Read the records of data[offset:end], which must continue the log after the message's previous entry."""
    entries: list[Entry] = []
    index = message.prev_index
    term = max(message.prev_term, 1)  # Every entry has the term of an election, and the first election's term is 1.
    while offset < end:
        try:
            entry = decode_record(data, offset)
        except CorruptRecord as error:
            raise WireError(f"entry {index + 1} came damaged: {error.why}") from error
        offset += len(entry.record)
        index += 1
        if entry.index != index or index > TERM_MAX:
            raise WireError(f"an entry has index {entry.index} where {index} belongs")
        if not term <= entry.term <= message.term:
            raise WireError(
                f"entry {index} has term {entry.term}, which is not between the previous entry's term {term} "
                f"and its message's term {message.term}"
            )
        if not 0 < entry.kind <= ENTRY_KIND_MAX:
            raise WireError(f"entry {index} is of kind {entry.kind}, which is no kind of entry")
        term = entry.term
        entries.append(entry)
    if offset != end:
        raise WireError(f"entry {index} reaches beyond the end of its frame")
    return tuple(entries)
