"""Results as bytes: kept in the store for writes that are sent again, and sent from one node to another.

A result is packed as MessagePack. None, integers and strings are packed as they are; every other result is an array
that begins with its kind. Snapshots hold this layout, so the meaning of a kind never changes.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from kvraft.commands.item import Item
from kvraft.commands.model import (
    Answers,
    Failure,
    Granted,
    LeasePage,
    LeaseState,
    Outcome,
    Page,
    Queued,
    Result,
    Scanned,
)

_ITEM: Final = 0
_FAILURE: Final = 1
_PAGE: Final = 2
_OUTCOME: Final = 3
_LEASE: Final = 4
_LEASES: Final = 5
_ANSWERS: Final = 6
_SCANNED: Final = 7
_LIST: Final = 8
_GRANTED: Final = 9
_QUEUED: Final = 10
_BY_FIELDS: Final[dict[int, type[Any]]] = {_LEASE: LeaseState, _GRANTED: Granted, _QUEUED: Queued}
"""The results that are encoded as their kind, followed by their fields."""
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder().decode


def pack_result(result: Result) -> bytes:
    """Return the bytes of a result; `unpack_result` reverses it."""
    return _encode(result if type(result) is int else _packed(result))  # a revision or a number is the common case


def unpack_result(content: bytes) -> Any:
    """Return the result with these bytes.

    Raises:
        ValueError: they are no result.
    """
    try:
        return _unpacked(_decode(content))
    except (msgspec.MsgspecError, TypeError, RecursionError) as error:
        raise ValueError(f"these bytes are no result: {error}") from error


def pack_results(results: Sequence[Result]) -> bytes:
    """Return the bytes of several results."""
    return _encode([*map(_packed, results)])


def exceeds(results: Iterable[Result], bytes_max: int) -> bool:
    """Whether the keys and values in some results have more bytes than `bytes_max`; it packs and copies nothing."""
    left = bytes_max
    for result in results:
        if result is not None and type(result) is not int:
            left -= content_bytes(result)
            if left < 0:
                return True
    return False


def content_bytes(result: Any) -> int:
    """Return how many bytes of keys and values a result holds."""
    match result:
        case Item():
            return len(result.value)
        case Page():
            return sum(len(key) + len(item.value) for key, item in result.items)
        case Scanned():
            return sum(map(len, result.keys))
        case Outcome():
            return sum(map(content_bytes, result.results))
        case Answers():
            return sum(map(content_bytes, result.results or ()))
        case list():
            return sum(map(content_bytes, result))
    return 0


def unpack_results(content: bytes) -> list[Any]:
    """Return the results with these bytes.

    Raises:
        ValueError: they are no results.
    """
    try:
        return [*map(_unpacked, _decode(content))]
    except (msgspec.MsgspecError, TypeError, RecursionError) as error:
        raise ValueError(f"these bytes are no results: {error}") from error


def _packed(result: Any) -> Any:
    match result:
        case Item():
            return (_ITEM, *msgspec.structs.astuple(result))
        case tuple():
            return (_ITEM, *result)
        case Failure():
            return (_FAILURE, result.code, result.message, result.details)
        case Page():
            return (_PAGE, result.revision, result.items, result.following)
        case Outcome():
            return (_OUTCOME, result.succeeded, result.revision, [*map(_packed, result.results)])
        case LeaseState():
            return (_LEASE, *msgspec.structs.astuple(result))
        case LeasePage():
            return (_LEASES, [*map(_packed, result.leases)], result.last)
        case Answers():
            return (_ANSWERS, None if result.results is None else [*map(_packed, result.results)])
        case Scanned():
            return (_SCANNED, result.following, result.keys)
        case Granted() | Queued():
            return (_GRANTED if isinstance(result, Granted) else _QUEUED, *msgspec.structs.astuple(result))
        case list():
            return (_LIST, [*map(_packed, result)])
    return result


def _unpacked(content: Any) -> Any:
    match content:
        case [0, value, created, modified, version]:
            return Item(value, created, modified, version)
        case [0, revision, deadline]:
            return revision, deadline
        case [1, str(code), str(message), details]:
            return Failure(code, message, details)
        case [2, int(revision), list(items), following]:
            return Page(revision, [(key, Item(*item)) for key, item in items], following)
        case [3, bool(succeeded), int(revision), list(results)]:
            return Outcome(succeeded, revision, [*map(_unpacked, results)])
        case [5, list(leases), last]:
            return LeasePage([*map(_unpacked, leases)], last)
        case [6, results]:
            return Answers(None if results is None else [*map(_unpacked, results)])
        case [7, int(following), list(keys)]:
            return Scanned(following, keys)
        case [8, list(results)]:
            return [*map(_unpacked, results)]
        case [int(kind), *fields] if kind in _BY_FIELDS and len(fields) == len(_BY_FIELDS[kind].__struct_fields__):
            return _BY_FIELDS[kind](*fields)
        case None | int() | str():
            return content
    raise ValueError("these bytes are no result")
