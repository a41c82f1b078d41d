"""What a client may ask of the store, encoded once at the edge.

A write becomes bytes here, when it arrives, and stays those bytes in the leader's batch, on the wire and on every disk,
until the store applies it. A batch is one log entry's payload, a MessagePack array that opens with its version::

    [1, cluster time in microseconds, [[opcode, argument, ...], ...]]

A read is no part of a batch: the leader answers it at its place between the writes, and nobody replicates it.
"""

import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Final, get_args

import msgspec

KEY_BYTES_MAX: Final = 64 * 1024
"""Longest key, in bytes."""
VALUE_BYTES_MAX: Final = 8 * 1024 * 1024
"""Longest value, in bytes; a protocol may have a lower limit of its own."""

BATCH_VERSION: Final = 1
"""The layout of a batch's payload. Which commands may stand in it is said by `kvraft.store.features`: a member that
does not know an opcode stops, and does not take the batch for a malformed one."""


class InvalidCommand(ValueError):
    """The command can never be executed; the text says what to do about it."""


class UnknownBatchVersion(ValueError):
    """A batch of a later kvraft; this one must not guess what it means."""

    needs_upgrade = True


class UnknownOpcode(ValueError):
    """A batch holds a command of a later kvraft; this one must neither guess what it does nor leave it out."""

    needs_upgrade = True


class Set(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=1):
    """Stores `value` under `key`. Its result is the new revision."""

    key: bytes
    value: bytes


class Delete(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=2):
    """Removes `key`. Its result is the number of keys removed, 1 or 0."""

    key: bytes


class Identify(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=3):
    """Gives the cluster its identity; the first one in the log holds for ever. Its result is the id that holds."""

    cluster_id: str


class SetQuota(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=4):
    """Bounds what the store holds from here on, 0 for no bound. Its result is 0.

    What is there already stays. It stands in the log so that all members decide the same about each write after it.
    """

    bytes_max: Annotated[int, msgspec.Meta(ge=0)]
    keys_max: Annotated[int, msgspec.Meta(ge=0)]


Write = Set | Delete | Identify | SetQuota

OPCODES: Final = frozenset(command.__struct_config__.tag for command in get_args(Write))
"""Every opcode that this kvraft can carry out."""


class Get(msgspec.Struct, frozen=True, gc=False):
    """Reads one key. Its result is the key's `Item`, or None."""

    key: bytes


class ListMembers(msgspec.Struct, frozen=True):
    """Tells who belongs to the cluster, as far as the node that is asked knows."""


class AddMember(msgspec.Struct, frozen=True):
    """Adds a node as a learner, who becomes a voter when it has caught up. `force`: also when that is not safe."""

    node: int
    address: str
    force: bool = False


class RemoveMember(msgspec.Struct, frozen=True):
    """Removes a node, for good: its id is never used again. `force`: also when no living majority would remain."""

    node: int
    force: bool = False


class ReplaceMember(msgspec.Struct, frozen=True):
    """Adds a node as a learner, which takes the place of an old one in one step when it has caught up."""

    old: int
    new: int
    address: str
    force: bool = False


class MoveMember(msgspec.Struct, frozen=True):
    """Lets a member be reached at another address. `incarnation`: only if it is known with that memory.

    `force`: also when nobody answers there and the others alone are no majority.
    """

    node: int
    address: str
    incarnation: str | None = None
    force: bool = False


class TransferLeadership(msgspec.Struct, frozen=True):
    """Lets another voter lead."""

    node: int


class TakeSnapshot(msgspec.Struct, frozen=True):
    """Takes a snapshot now and shortens the log, on the node that is asked."""


AdminCommand = ListMembers | AddMember | RemoveMember | ReplaceMember | MoveMember | TransferLeadership | TakeSnapshot
"""What an operator asks of a running cluster."""

Operation = bytes | Get
"""One operation of a submission: an encoded write, or a read."""


class Failure(msgspec.Struct, frozen=True, gc=False):
    """The result of a command that failed, the same on every member."""

    code: str
    message: str


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(tuple[int, int, list[Write]])
_parts_decoder = msgspec.msgpack.Decoder(list[msgspec.Raw])
_version_decoder = msgspec.msgpack.Decoder(int)
_count_decoder = msgspec.msgpack.Decoder(Annotated[int, msgspec.Meta(ge=0)])
_outline_decoder = msgspec.msgpack.Decoder(tuple[int, int, list[msgspec.Raw]])
_BATCH_HEADER: Final = struct.Struct(">BBBQBI")
BATCH_HEADER_BYTES: Final = _BATCH_HEADER.size
"""What a batch takes beside its writes, in bytes."""
_ARRAY_OF_3: Final = 0x93
_UINT64: Final = 0xCF
_ARRAY32: Final = 0xDD
_THIS_VERSION: Final = bytes((_ARRAY_OF_3, BATCH_VERSION))


def _check_key(key: bytes) -> None:
    if not key:
        raise InvalidCommand("the key is empty; name one")
    if len(key) > KEY_BYTES_MAX:
        raise InvalidCommand(f"the key has {len(key)} bytes; at most {KEY_BYTES_MAX} are allowed")


def encode_set(key: bytes, value: bytes) -> bytes:
    """Encode a `Set`.

    Raises:
        InvalidCommand: the key is empty, or key or value are too long.
    """
    if not 0 < len(key) <= KEY_BYTES_MAX:
        _check_key(key)
    if len(value) > VALUE_BYTES_MAX:
        raise InvalidCommand(f"the value has {len(value)} bytes; at most {VALUE_BYTES_MAX} are allowed")
    return _encode(Set(key, value))


def encode_delete(key: bytes) -> bytes:
    """Encode a `Delete`.

    Raises:
        InvalidCommand: the key is empty or too long.
    """
    _check_key(key)
    return _encode(Delete(key))


def encode_identify(cluster_id: str) -> bytes:
    """Encode an `Identify`."""
    return _encode(Identify(cluster_id))


def encode_set_quota(bytes_max: int, keys_max: int) -> bytes:
    """Encode a `SetQuota`; 0 for no bound."""
    return _encode(SetQuota(bytes_max, keys_max))


def get(key: bytes) -> Get:
    """Return a read of `key`.

    Raises:
        InvalidCommand: the key is empty or too long.
    """
    if not 0 < len(key) <= KEY_BYTES_MAX:
        _check_key(key)
    return Get(key)


def encode_batch(time_us: int, writes: Sequence[bytes]) -> bytes:
    """Join encoded writes to the payload of one entry, stamped with the leader's cluster time in microseconds."""
    header = _BATCH_HEADER.pack(_ARRAY_OF_3, BATCH_VERSION, _UINT64, time_us, _ARRAY32, len(writes))
    return b"".join((header, *writes))


def decode_batch(payload: bytes) -> tuple[int, list[Write]]:
    """Return the stamp and the writes of a batch.

    Raises:
        UnknownBatchVersion, UnknownOpcode: a later kvraft wrote it.
        ValueError: it is no batch.
    """
    try:
        if not payload.startswith(_THIS_VERSION):
            _check_version(payload)
        try:
            _, time_us, writes = _decoder.decode(payload)
        except msgspec.ValidationError:
            _check_opcodes(payload)
            raise
    except RecursionError as error:  # how deep is too deep differs from process to process, and no batch is deep
        raise ValueError("it is nested too deeply") from error
    return time_us, writes


def _check_version(payload: bytes) -> None:
    """Refuse an array that opens with another version, whatever else is in it."""
    parts = _parts_decoder.decode(payload)
    version = _version_decoder.decode(parts[0]) if parts else BATCH_VERSION
    if version != BATCH_VERSION:
        raise UnknownBatchVersion(f"a batch of version {version} is unknown to this kvraft; upgrade this node")


def _check_opcodes(payload: bytes) -> None:
    """Refuse a batch that cannot be decoded for holding a command of a later kvraft, whatever else is wrong with it."""
    _, _, writes = _outline_decoder.decode(payload)
    for write in writes:
        with suppress(msgspec.ValidationError):
            parts = _parts_decoder.decode(write)
            opcode = _count_decoder.decode(parts[0]) if parts else None
            if opcode is not None and opcode not in OPCODES:
                raise UnknownOpcode(f"a command of opcode {opcode} is unknown to this kvraft; upgrade this node")
