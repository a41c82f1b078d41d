"""The bytes of a snapshot file, and how they are verified.

Everything is framed as `kvraft.raft.types` frames an entry, with kinds that no entry and no record of the journal has::

    file      header, chunks (none is fine), footer, and nothing after it
    header    term and index of the last entry that the snapshot covers; kind 144; payload:
                  u16 format version   JSON: {"id": …, "state": …}
    chunk     term 0, index = its number from 1 on; kind 145; payload: bytes that only the store understands
    footer    term 0, index = count of chunks; kind 146; payload:
                  u64 bytes in all chunks   u64 offset of the footer   u32 CRC-32 of the file before the footer
                  16 bytes snapshot id

Every record has a checksum of its own, so damage is found where it is; the footer's finds records that are sound but
belong to another file, or stand in another order, and a file without a footer was never finished.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Final

import attrs
import msgspec

from kvraft.raft.errors import CorruptRecord
from kvraft.raft.types import RECORD_HEADER, Entry, decode_record, encode_record
from kvraft.storage.files import File

SNAPSHOT_FORMAT_VERSION: Final = 1

KIND_SNAPSHOT_HEADER: Final = 144
KIND_SNAPSHOT_CHUNK: Final = 145
KIND_SNAPSHOT_FOOTER: Final = 146

CHUNK_BYTES_MAX: Final = 1024 * 1024
"""Longest payload of a chunk, in bytes."""
SNAPSHOT_HEADER_BYTES_MAX: Final = 1024 * 1024
"""Longest payload of a header, in bytes: a configuration of the largest cluster is far below."""
SNAPSHOT_BYTES_MAX: Final = 1024 * 1024 * 1024 * 1024
"""Largest file that is taken from another node, in bytes."""

ID_BYTES: Final = 16
_PAYLOAD_BYTES_MAX: Final = max(CHUNK_BYTES_MAX, SNAPSHOT_HEADER_BYTES_MAX)
_VERSION: Final = struct.Struct(">H")
_FOOTER: Final = struct.Struct(f">QQI{ID_BYTES}s")
_LENGTH_BYTES: Final = 4
_UNCOUNTED_BYTES: Final = 8
"""The length and the checksum of a record, which its length does not count."""


class SnapshotHeader(msgspec.Struct, frozen=True):
    """What a snapshot says of itself; the storage needs only the first three."""

    id: str
    """A random UUID, 32 lower-case hex digits: two nodes' snapshots at one index have the same content but not the same
    bytes, so a transfer that goes on must go on with the same file."""
    index: int
    """The last entry that it covers."""
    term: int
    """The term of that entry."""
    state: dict[str, object] = {}
    """Anything that JSON can hold: configuration, feature level, revision, cluster time, checksum, count of keys…"""


class _HeaderBody(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    id: str
    state: dict[str, object]


_encode_body: Final = msgspec.json.Encoder().encode
_decode_body: Final = msgspec.json.Decoder(_HeaderBody).decode


class SnapshotCorrupt(Exception):
    """Bytes that are no sound snapshot; `offset` says where in the file."""

    def __init__(self, offset: int, why: str) -> None:
        super().__init__(f"at offset {offset}: {why}")
        self.offset = offset
        self.why = why


class UnknownSnapshotFormat(SnapshotCorrupt):
    """A sound header of a format version that is not ours."""


@attrs.frozen
class SnapshotChunk:
    """One chunk as it was read, and where the next record begins."""

    payload: bytes
    next_offset: int


def is_snapshot_id(text: str) -> bool:
    """Whether `text` is 32 lower-case hex digits, and therefore safe in the name of a file."""
    return len(text) == 2 * ID_BYTES and not text.strip("0123456789abcdef")


def encode_snapshot_header(header: SnapshotHeader) -> bytes:
    """Return the record that a file begins with.

    Raises:
        ValueError: it is longer than SNAPSHOT_HEADER_BYTES_MAX.
    """
    payload = _VERSION.pack(SNAPSHOT_FORMAT_VERSION) + _encode_body(_HeaderBody(header.id, header.state))
    if len(payload) > SNAPSHOT_HEADER_BYTES_MAX:
        raise ValueError(f"a header of {len(payload)} bytes is longer than {SNAPSHOT_HEADER_BYTES_MAX}")
    return encode_record(header.term, header.index, KIND_SNAPSHOT_HEADER, payload)


def encode_chunk(number: int, payload: bytes) -> bytes:
    """Return the record of a chunk."""
    return encode_record(0, number, KIND_SNAPSHOT_CHUNK, payload)


def encode_footer(snapshot_id: str, chunks: int, chunk_bytes: int, offset: int, crc: int) -> bytes:
    """Return the record that ends a file."""
    payload = _FOOTER.pack(chunk_bytes, offset, crc, bytes.fromhex(snapshot_id))
    return encode_record(0, chunks, KIND_SNAPSHOT_FOOTER, payload)


def decode_snapshot_header(record: Entry) -> SnapshotHeader:
    """Read the header that `record` is.

    Raises:
        SnapshotCorrupt: it is none.
        UnknownSnapshotFormat: it is one that another version of kvraft wrote.
    """
    payload = record.payload
    if record.kind != KIND_SNAPSHOT_HEADER or len(payload) < _VERSION.size:
        raise SnapshotCorrupt(0, "the file does not begin like a snapshot")
    (version,) = _VERSION.unpack_from(payload)
    if version != SNAPSHOT_FORMAT_VERSION:
        raise UnknownSnapshotFormat(0, f"it has the format {version}, and this kvraft reads {SNAPSHOT_FORMAT_VERSION}")
    try:
        body = _decode_body(payload[_VERSION.size :])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SnapshotCorrupt(0, f"the header cannot be read ({error})") from None
    if not is_snapshot_id(body.id):
        raise SnapshotCorrupt(0, "its id is not 32 hex digits")
    return SnapshotHeader(body.id, record.index, record.term, body.state)


def read_record(file: File, offset: int) -> Entry:
    """Read the record at `offset`, never more than a record of a snapshot can be long.

    Raises:
        SnapshotCorrupt: there is no whole and sound one.
        OSError: the disk could not be read.
    """
    head = file.read(offset, RECORD_HEADER.size)
    length = int.from_bytes(head[:_LENGTH_BYTES], "big") + _UNCOUNTED_BYTES
    if len(head) == RECORD_HEADER.size and length > RECORD_HEADER.size + _PAYLOAD_BYTES_MAX:
        raise SnapshotCorrupt(offset, f"its length of {length} bytes is impossible")
    if length > RECORD_HEADER.size:
        head += file.read(offset + len(head), length - len(head))
    try:
        return decode_record(head)
    except CorruptRecord as broken:
        raise SnapshotCorrupt(offset, broken.why) from None


def read_chunk(file: File, offset: int) -> SnapshotChunk | None:
    """Read the chunk at `offset`, 0 for the first; None when the footer is there.

    Raises:
        SnapshotCorrupt: there is neither.
        OSError: the disk could not be read.
    """
    record = read_record(file, offset)
    if offset == 0:
        decode_snapshot_header(record)
        offset = len(record.record)
        record = read_record(file, offset)
    if record.kind == KIND_SNAPSHOT_FOOTER:
        return None
    if record.kind != KIND_SNAPSHOT_CHUNK:
        raise SnapshotCorrupt(offset, f"a record of kind {record.kind} does not belong here")
    return SnapshotChunk(record.payload, offset + len(record.record))


def scan(file: File) -> Iterator[tuple[int, Entry]]:
    """Yield each record up to the footer with its offset, verified in all that can be known when it is read.

    Raises:
        SnapshotCorrupt: as soon as something is wrong.
        OSError: the disk could not be read.
    """
    offset, number, chunk_bytes, crc = 0, 0, 0, 0
    record = read_record(file, 0)
    snapshot_id = decode_snapshot_header(record).id
    while record.kind != KIND_SNAPSHOT_FOOTER:
        yield offset, record
        crc = zlib.crc32(record.record, crc)
        offset += len(record.record)
        record = read_record(file, offset)
        if record.kind == KIND_SNAPSHOT_CHUNK:
            number += 1
            chunk_bytes += len(record.record) - RECORD_HEADER.size
            if record.index != number or record.term:
                raise SnapshotCorrupt(offset, f"chunk {record.index} stands where chunk {number} should")
        elif record.kind != KIND_SNAPSHOT_FOOTER:
            raise SnapshotCorrupt(offset, f"a record of kind {record.kind} does not belong here")
    if record.record != encode_footer(snapshot_id, number, chunk_bytes, offset, crc):
        raise SnapshotCorrupt(offset, "the footer is not the one of what stands before it")
    yield offset, record


def verify(file: File) -> SnapshotHeader:
    """Read a whole file and return its header.

    Raises:
        SnapshotCorrupt: anything in it is not as it was written.
        OSError: the disk could not be read.
    """
    header: SnapshotHeader | None = None
    end = 0
    for offset, record in scan(file):
        header = header or decode_snapshot_header(record)
        end = offset + len(record.record)
    assert header is not None, "a scan that ends has seen the header"
    if (size := file.size()) != end:
        raise SnapshotCorrupt(end, f"{size - end} bytes stand after the footer")
    return header
