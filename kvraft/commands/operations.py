"""The encoding of operations that one member forwards to another to be executed there.

It is a list of pairs: 0 and a mutation as in the log, or the number of a query and its fields by their names.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from kvraft.commands.base import Mutation
from kvraft.commands.batches import AnyMutation
from kvraft.commands.expiry import TimeToLive
from kvraft.commands.key_queries import AnyKey, Exists, GetMany, Marks, Matching, Scan, TimeLeft
from kvraft.commands.leases import DescribeLease, LeaseOf, ListLeases
from kvraft.commands.queries import Count, Get, GetAt, Operation, Range

QUERIES: Final[tuple[type[Any], ...]] = (
    Get,
    GetAt,
    Range,
    Count,
    TimeToLive,
    DescribeLease,
    ListLeases,
    GetMany,
    Exists,
    TimeLeft,
    Scan,
    AnyKey,
    Matching,
    Marks,
    LeaseOf,
)
"""Every query that can be forwarded, by its number from 1 on. The meaning of a number never changes."""
_NUMBERS: Final = {query: number for number, query in enumerate(QUERIES, 1)}
_encode: Final = msgspec.msgpack.Encoder().encode
_outline: Final = msgspec.msgpack.Decoder(list[tuple[int, msgspec.Raw]]).decode
_decoders: Final = [msgspec.msgpack.Decoder(AnyMutation), *map(msgspec.msgpack.Decoder, QUERIES)]


def pack_operations(operations: Sequence[Operation]) -> bytes | None:
    """Return the bytes of operations; None: one of them cannot be forwarded."""
    numbers = [0 if isinstance(each, Mutation) else _NUMBERS.get(type(each)) for each in operations]
    if None in numbers:
        return None
    return _encode([*zip(numbers, operations, strict=True)])


def unpack_operations(content: bytes) -> list[Operation]:
    """Return the operations with these bytes.

    Raises:
        ValueError: the bytes are malformed, or hold an operation that is unknown to this kvraft.
    """
    try:
        return [_decoders[number].decode(each) for number, each in _outline(content)]
    except (msgspec.MsgspecError, IndexError, RecursionError) as error:
        raise ValueError(f"these bytes are no operations: {error}") from error
