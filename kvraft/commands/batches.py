"""Batches: the mutations that share one entry of the log.

A batch is one log entry's payload, a MessagePack array that opens with its version::

    [1, cluster time in microseconds, [[opcode, argument, ...], ...]]
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any, Final, Union

import msgspec

from kvraft.commands.base import Mutation
from kvraft.commands.blocks import BLOCK_TAGS, Block
from kvraft.commands.expiry import Expire
from kvraft.commands.locks import Guarded
from kvraft.commands.mutations import MUTATIONS, OPCODES, Once, opcode
from kvraft.commands.transactions import RELATIONS, STEP_TAGS, Target, Transact

BATCH_VERSION: Final = 1
"""The layout of a batch's payload. `MUTATIONS` lists the commands that it may hold. A member that finds an unknown
opcode stops; it does not treat the batch as malformed."""


class UnknownBatchVersion(ValueError):
    """A batch of a later kvraft; this one must not guess what it means."""

    needs_upgrade = True


class UnknownOpcode(ValueError):
    """A batch holds a command of a later kvraft; this one must neither guess what it does nor leave it out."""

    needs_upgrade = True


DecodedBatch = tuple[int, list[Mutation]]
"""The stamp of a batch, in microseconds of cluster time, and its mutations."""

AnyMutation: Any = Union[MUTATIONS]  # noqa: UP007 - of a tuple
_decoder: msgspec.msgpack.Decoder[tuple[int, int, list[Mutation]]] = msgspec.msgpack.Decoder(
    tuple[int, int, list[AnyMutation]]
)
_parts_decoder = msgspec.msgpack.Decoder(list[msgspec.Raw])
_any_decoder = msgspec.msgpack.Decoder(list[Any])
_version_decoder = msgspec.msgpack.Decoder(int)
_count_decoder = msgspec.msgpack.Decoder(Annotated[int, msgspec.Meta(ge=0)])
_outline_decoder = msgspec.msgpack.Decoder(tuple[int, int, list[msgspec.Raw]])
BATCH_HEADER_BYTES: Final = 16
"""Most bytes of a batch in addition to its mutations: an array's head, the version, the stamp, another head."""
_TARGETS: Final = frozenset(Target)
_GUARDED: Final = frozenset({opcode(Transact), opcode(Expire)})
"""Commands that a lock can guard."""
_ONCE_PARTS: Final = 1 + len(Once.__struct_fields__)
_ARRAY_OF_3: Final = 0x93
_THIS_VERSION: Final = bytes((_ARRAY_OF_3, BATCH_VERSION))
_encode: Final = msgspec.msgpack.Encoder().encode


def encode_batch(time_us: int, mutations: Sequence[Mutation]) -> bytes:
    """Return the payload of one entry, stamped with the leader's cluster time in microseconds."""
    return _encode((BATCH_VERSION, time_us, mutations))


def decode_batch(payload: bytes) -> DecodedBatch:
    """Return the stamp and the mutations of a batch.

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
    except RecursionError as error:  # the limit differs from process to process; no valid batch comes near it
        raise ValueError("it is nested too deeply") from error
    return time_us, writes


def _check_version(payload: bytes) -> None:
    """Raise for an array that begins with another version, whatever else is in it.

    Raises:
        UnknownBatchVersion: a later kvraft wrote it.
    """
    parts = _parts_decoder.decode(payload)
    version = _version_decoder.decode(parts[0]) if parts else BATCH_VERSION
    if version != BATCH_VERSION:
        raise UnknownBatchVersion(f"a batch of version {version} is unknown to this kvraft; upgrade this node")


def _check_opcodes(payload: bytes) -> None:
    """Raise for a batch that holds a command of a later kvraft, even if something else in it is malformed too.

    Raises:
        UnknownOpcode: it holds one.
    """
    _, _, writes = _outline_decoder.decode(payload)
    for write in writes:
        _check_opcode(write)


def _check_opcode(write: msgspec.Raw) -> None:
    with suppress(msgspec.ValidationError):
        parts = _parts_decoder.decode(write)
        found = _count_decoder.decode(parts[0]) if parts else None
        if found is not None and found not in OPCODES:
            raise UnknownOpcode(f"a command of opcode {found} is unknown to this kvraft; upgrade this node")
        part = write
        if found == opcode(Guarded):
            part, found = _guarded_part(parts)
        if (found == opcode(Transact) and _has_unknown_parts(part)) or (
            found == opcode(Block) and _has_unknown_commands(part)
        ):
            raise UnknownOpcode("a part of a transaction is unknown to this kvraft; upgrade this node")
        if found == opcode(Once) and len(parts) == _ONCE_PARTS:
            _check_opcode(parts[-1])


def _guarded_part(parts: Sequence[msgspec.Raw]) -> tuple[msgspec.Raw, int]:
    """Return the command that a lock guards, and its opcode, if they can be read at all."""
    write = parts[-1]
    inner = _parts_decoder.decode(write)
    if not inner:
        return write, opcode(Guarded)
    found = _count_decoder.decode(inner[0])
    if found not in _GUARDED:
        raise UnknownOpcode(f"a guarded command of opcode {found} is unknown to this kvraft; upgrade this node")
    return write, found


def _has_unknown_parts(content: msgspec.Raw) -> bool:
    """Whether a `Transact` that cannot be decoded holds an operation or a comparison that is unknown to this kvraft."""
    match _any_decoder.decode(content):
        case [_, [*compares], [*then], [*otherwise]]:
            return _any_unknown(compares, then, otherwise)
    return False


def _has_unknown_commands(content: msgspec.Raw) -> bool:
    """Whether a `Block` that cannot be decoded holds a command that is unknown to this kvraft."""
    match _any_decoder.decode(content):
        case [_, _, [*commands]]:
            for command in commands:
                match command:
                    case [int(tag), *_] if tag not in BLOCK_TAGS:
                        return True
                    case [tag, *_] if tag == opcode(Transact) and _has_unknown_parts(msgspec.Raw(_encode(command))):
                        return True
    return False


def _any_unknown(compares: Sequence[Any], *lists: Sequence[Any]) -> bool:
    for compare in compares:
        match compare:
            case [_, int(target), int(relation), _] if target not in _TARGETS or relation not in RELATIONS:
                return True
    for step in (step for steps in lists for step in steps):
        match step:
            case [int(tag), *_] if tag not in STEP_TAGS:
                return True
            case [9, [*inner], [*then], [*otherwise]]:
                if _any_unknown(inner, then, otherwise):
                    return True
    return False
