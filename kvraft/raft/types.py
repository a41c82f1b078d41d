"""The values of the log: entries and their records, and the hard state.

A *record* is the only encoding of an entry: memory, the wire and every disk hold the same bytes, so the checksum that
the leader computed protects the entry end to end::

    length  u32   bytes that follow the checksum: the rest of the header and the payload
    crc     u32   CRC-32 of the length field and of everything after the checksum
    term    u64
    index   u64
    kind    u8
    payload       length - 17 bytes, opaque to the core

All integers are big-endian.
"""

import enum
import struct
import zlib
from collections.abc import Iterator
from typing import Final

import msgspec

from kvraft.raft.errors import CorruptRecord

RECORD_HEADER: Final = struct.Struct(">IIQQB")
_LENGTH_AND_CRC: Final = struct.Struct(">II")
_BODY_HEADER: Final = struct.Struct(">QQB")

RECORD_BYTES_MAX: Final = 64 * 1024 * 1024
"""Longest record that is written or accepted, in bytes."""

PAYLOAD_BYTES_MAX: Final = RECORD_BYTES_MAX - _BODY_HEADER.size
"""Longest payload of an entry, in bytes: its record is the longest that a journal and a frame take."""

TERM_MAX: Final = 2**53 - 1
"""Highest term and index: what every JSON reader can hold without loss."""


class EntryKind(enum.IntEnum):
    """What an entry is for. The core decodes only the payload of MEMBERSHIP.

    Numbers from 128 upward are not entries: the journal uses them for records of its own.
    """

    EMPTY = 1
    """The first entry of a leader's term: commits what came before it (§8)."""
    COMMANDS = 2
    """A batch of client commands, as the state machine understands them."""
    MEMBERSHIP = 3
    """A configuration of the cluster (§6)."""
    FEATURE_LEVEL = 4
    """Raises the cluster's feature level: later entries may use what every member supports at that level."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One entry of the replicated log, with its encoded record."""

    term: int
    index: int
    kind: int
    record: bytes

    @classmethod
    def create(cls, term: int, index: int, kind: int, payload: bytes) -> "Entry":
        """Encode a new entry; `payload` is copied into its record.

        Raises:
            ValueError: the payload exceeds `PAYLOAD_BYTES_MAX`. The limits on client requests keep payloads far below.
        """
        if len(payload) > PAYLOAD_BYTES_MAX:
            raise ValueError(f"a payload of {len(payload)} bytes; an entry holds at most {PAYLOAD_BYTES_MAX}")
        return cls(term, index, kind, encode_record(term, index, kind, payload))

    @property
    def payload(self) -> bytes:
        """The bytes after the record's header."""
        return self.record[RECORD_HEADER.size :]


def encode_record(term: int, index: int, kind: int, payload: bytes) -> bytes:
    """Return one record; the journal frames its own records with it too."""
    length = RECORD_HEADER.size - _LENGTH_AND_CRC.size + len(payload)
    body = _BODY_HEADER.pack(term, index, kind)
    crc = zlib.crc32(payload, zlib.crc32(body, zlib.crc32(length.to_bytes(4, "big"))))
    return b"".join((_LENGTH_AND_CRC.pack(length, crc), body, payload))


def decode_record(buffer: bytes, offset: int = 0) -> Entry:
    """Read the record that begins at `offset`.

    Raises:
        CorruptRecord: it is cut short, its length is absurd, or its checksum is wrong.
    """
    if len(buffer) - offset < RECORD_HEADER.size:
        raise CorruptRecord(offset, "it is cut short")
    length, crc, term, index, kind = RECORD_HEADER.unpack_from(buffer, offset)
    body = offset + _LENGTH_AND_CRC.size
    end = body + length
    if not RECORD_HEADER.size - _LENGTH_AND_CRC.size <= length <= RECORD_BYTES_MAX:
        raise CorruptRecord(offset, f"its length of {length} bytes is impossible")
    if end > len(buffer):
        raise CorruptRecord(offset, "it is cut short")
    record = bytes(buffer[offset:end])
    if zlib.crc32(memoryview(record)[_LENGTH_AND_CRC.size :], zlib.crc32(record[:4])) != crc:
        raise CorruptRecord(offset, "its checksum is wrong")
    return Entry(term, index, kind, record)


def decode_records(buffer: bytes) -> Iterator[Entry]:
    """Yield every record of `buffer`, which holds whole records and nothing else.

    Raises:
        CorruptRecord: at the first record that is not whole and sound.
    """
    offset = 0
    while offset < len(buffer):
        entry = decode_record(buffer, offset)
        yield entry
        offset += len(entry.record)


class HardState(msgspec.Struct, frozen=True):
    """What a node keeps on disk beside its log (Figure 2, "persistent state on all servers").

    `commit` is a hint that spares a restarted node the wait for a leader; Figure 2 keeps it volatile. It is written
    along with a save that happens anyway and never causes one.
    """

    term: int = 0
    vote: int | None = None
    commit: int = 0
    founder: bool = False
    """Whether the node took part in the birth of its cluster. Once durable it stays; see `kvraft.raft.identity`."""


class Role(enum.Enum):
    """The role of a node (Figure 4, with the pre-candidate of thesis §9.6)."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


class SoftState(msgspec.Struct, frozen=True):
    """The node's state that is shown to users and not stored on disk."""

    role: Role
    term: int
    leader: int | None
