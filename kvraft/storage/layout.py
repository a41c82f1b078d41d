"""The bytes of a segment: the journal's own records, and how the end of a save is recognised.

Every record is framed as `kvraft.raft.types` frames an entry; kinds from 128 upward are the journal's own::

    segment   header record, then saves, then zeros up to the preallocated size
    save      entry records as they came (may be none) or one mark, then one seal
    header    term 0, index = the segment's number; kind 128; payload:
                  u16 format version   u64 size of the file   i64 node id   16 bytes incarnation
                  u64 number of the last save before this segment   u64 last index before this segment
    seal      term = hard state's term, index = the number of the save; kind 129; payload:
                  i64 vote or -1   u64 commit   u64 offset where the save begins   u32 zero pieces
                  16 bytes incarnation   0xFF
              the highest bit of the commit index says that the node is a founder
    mark      term and index of the last entry that a durable snapshot covers; no payload; kind 130, the log continues
              after it as it was, or 131, the log is empty and begins after it

Format 2 adds marks, and its first segment may have a number above 1, when earlier ones were deleted after a mark.
Format 3 adds founders. In format 4 the name of the journal is a hash of its incarnation. All four formats are read. A
new journal has format 4. An older one keeps its format until it must record something that only format 2 or 3 can, and
then begins a new segment. So until then a downgrade to the version of kvraft that wrote it is possible; afterwards that
version refuses the journal instead of ignoring the record. It never gets format 4, since its name must not change.

The **end mark** of a save is the incarnation at the end of its seal. It is random, and from format 4 on no other node
and no client ever sees it, so no client can write a value that looks like one: after an interrupted save such a value
would look like the end of a later save, and thus like damage. Either half of it is enough to recognise it, so that one
wrong byte does not hide it.

**Pieces** are the units that a disk writes as a whole: a save is cut at every multiple of 512 bytes in its file. A
piece that was not written reads as zeros. The seal holds the number of pieces that consist of zeros, since values may
consist of zeros, so that a missing piece is detected. The closing 0xFF ensures that the last piece is never all zeros.
"""

import struct
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from typing import Final

import attrs
import msgspec

from kvraft.raft.errors import CorruptRecord
from kvraft.raft.types import RECORD_HEADER, Entry, HardState, decode_record, encode_record

FORMAT_VERSION: Final = 4
"""The latest format, used for a new journal."""
FORMAT_VERSION_MIN: Final = 1
"""The oldest format that is read."""
FORMAT_VERSION_MARKS: Final = 2
"""The first format with marks."""
FORMAT_VERSION_FOUNDERS: Final = 3
"""The first format with founders."""
FORMAT_VERSION_HASHED_NAMES: Final = 4
"""The first format in which the name of a journal is a hash of its incarnation; only new journals get it."""

KIND_OWN_MIN: Final = 128
"""Lowest kind of a record that is the journal's own and no entry."""
KIND_SEGMENT: Final = 128
KIND_SEAL: Final = 129
KIND_COMPACTED: Final = 130
KIND_RESET: Final = 131

SECTOR_BYTES: Final = 512
"""The largest unit that every disk writes completely or not at all."""

INCARNATION_BYTES: Final = 16
_MARK_HALF_BYTES: Final = INCARNATION_BYTES // 2
_CLOSING: Final = 0xFF
_CLOSING_BYTES: Final = 1
_FOUNDER: Final = 1 << 63
"""A bit in the field of the commit index, which is never so high."""

_VERSION: Final = struct.Struct(">H")
_SEGMENT: Final = struct.Struct(f">Qq{INCARNATION_BYTES}sQQ")
_SEAL: Final = struct.Struct(f">qQQI{INCARNATION_BYTES}sB")

HEADER_BYTES: Final = RECORD_HEADER.size + _VERSION.size + _SEGMENT.size
SEAL_BYTES: Final = RECORD_HEADER.size + _SEAL.size
MARK_BYTES: Final = RECORD_HEADER.size

_ZERO_SECTOR: Final = bytes(SECTOR_BYTES)


class UnknownFormat(Exception):
    """A sound header of an unknown format version, whose number is the only argument."""


class SegmentHeader(msgspec.Struct, frozen=True):
    """The first record of a segment."""

    number: int
    size: int
    """Length of the whole file, in bytes: a shorter file was truncated from outside."""
    node_id: int
    incarnation: bytes
    """Drawn with the journal; the end mark of each save."""
    saves: int
    """Number of the last save before this segment."""
    last_index: int
    """Last index of the log before this segment."""
    version: int = FORMAT_VERSION

    @property
    def name(self) -> str:
        """The journal's name, hex: what other nodes and clients are told as the incarnation of this node."""
        if self.version < FORMAT_VERSION_HASHED_NAMES:
            return self.incarnation.hex()
        return sha256(self.incarnation).digest()[:INCARNATION_BYTES].hex()


@attrs.frozen
class Seal:
    """The record that ends a save."""

    number: int
    hard_state: HardState
    start: int
    zero_pieces: int
    incarnation: bytes


def encode_header(header: SegmentHeader) -> bytes:
    """Return the header's record, HEADER_BYTES long."""
    payload = _VERSION.pack(header.version) + _SEGMENT.pack(
        header.size, header.node_id, header.incarnation, header.saves, header.last_index
    )
    return encode_record(0, header.number, KIND_SEGMENT, payload)


def decode_header(data: bytes) -> SegmentHeader:
    """Read the record at the beginning of a segment.

    Raises:
        CorruptRecord: it is no header.
        UnknownFormat: it is one that another version of kvraft wrote.
    """
    record = decode_record(data)
    payload = record.payload
    if record.kind != KIND_SEGMENT or len(payload) < _VERSION.size:
        raise CorruptRecord(0, "the file does not begin like a segment of a journal")
    (version,) = _VERSION.unpack_from(payload)
    if not FORMAT_VERSION_MIN <= version <= FORMAT_VERSION:
        raise UnknownFormat(version)
    if len(record.record) != HEADER_BYTES:
        raise CorruptRecord(0, "the header has the wrong length")
    size, node_id, incarnation, saves, last_index = _SEGMENT.unpack_from(payload, _VERSION.size)
    return SegmentHeader(record.index, size, node_id, incarnation, saves, last_index, version)


def format_for(hard_state: HardState) -> int:
    """Return the first format that can hold this hard state."""
    return FORMAT_VERSION_FOUNDERS if hard_state.founder else FORMAT_VERSION_MIN


def encode_mark(kind: int, index: int, term: int) -> bytes:
    """Return the record that marks where the log begins, MARK_BYTES long."""
    return encode_record(term, index, kind, b"")


def encode_seal(number: int, hard_state: HardState, start: int, zero_pieces: int, incarnation: bytes) -> bytes:
    """Return the seal's record, SEAL_BYTES long."""
    vote = -1 if hard_state.vote is None else hard_state.vote
    commit = hard_state.commit | _FOUNDER if hard_state.founder else hard_state.commit
    payload = _SEAL.pack(vote, commit, start, zero_pieces, incarnation, _CLOSING)
    return encode_record(hard_state.term, number, KIND_SEAL, payload)


def decode_seal(record: Entry) -> Seal:
    """Decode `record` as a seal.

    Raises:
        CorruptRecord: it is none; the offset in the error has no meaning.
    """
    if record.kind != KIND_SEAL or len(record.record) != SEAL_BYTES:
        raise CorruptRecord(0, "it is no seal")
    vote, commit, start, zero_pieces, incarnation, closing = _SEAL.unpack(record.payload)
    if closing != _CLOSING:
        raise CorruptRecord(0, "its closing byte is wrong")
    hard_state = HardState(record.term, None if vote == -1 else vote, commit & ~_FOUNDER, bool(commit & _FOUNDER))
    return Seal(record.index, hard_state, start, zero_pieces, incarnation)


def count_zero_pieces(save: bytes, start: int) -> int:
    """Count the pieces of a save at offset `start` of its file that consist of zeros."""
    length = len(save)
    head = min(-start % SECTOR_BYTES, length)
    tail = head + (length - head) // SECTOR_BYTES * SECTOR_BYTES
    count = 0
    if head and save.count(0, 0, head) == head:
        count += 1
    if tail < length and save.count(0, tail) == length - tail:
        count += 1
    if save.find(_ZERO_SECTOR, head, tail) >= 0:  # rare, so the pieces are checked one by one only then
        count += sum(save.startswith(_ZERO_SECTOR, at) for at in range(head, tail, SECTOR_BYTES))
    return count


def join_save(records: list[bytes], number: int, hard_state: HardState, start: int, incarnation: bytes) -> bytes:
    """Return the bytes of one save that will stand at offset `start` of its file."""
    records.append(encode_seal(number, hard_state, start, 0, incarnation))
    save = b"".join(records)
    zero_pieces = count_zero_pieces(save, start)
    if zero_pieces:
        # Writing the count and the checksum does not change the number of zero pieces: the pieces that hold them also
        # hold the seal's length or its closing byte.
        save = save[:-SEAL_BYTES] + encode_seal(number, hard_state, start, zero_pieces, incarnation)
    return save


def find_seals(data: bytes, start: int, incarnation: bytes) -> Iterator[Seal]:
    """Yield every sound seal of this incarnation in `data` after `start`, whatever bytes surround it."""
    behind = _CLOSING_BYTES + INCARNATION_BYTES
    at = data.find(incarnation, start)
    while at >= 0:
        begin = at + behind - SEAL_BYTES
        if begin >= start:
            with suppress(CorruptRecord):  # the bytes of the incarnation may occur elsewhere
                yield decode_seal(decode_record(data, begin))
        at = data.find(incarnation, at + 1)


def find_end_mark(data: bytes, start: int, incarnation: bytes) -> int | None:
    """Return the end of the first save after `start` that has either half of its end mark; None without one.

    The end may lie after the end of `data`.
    """
    ends = []
    for half in (0, _MARK_HALF_BYTES):
        at = data.find(incarnation[half : half + _MARK_HALF_BYTES], start)
        if at >= 0:
            ends.append(at - half + INCARNATION_BYTES + _CLOSING_BYTES)
    return min(ends, default=None)
