"""Commands on the values of keys."""

from typing import Final

from kvraft.commands import Item, Operation, get_key, set_key
from kvraft.server.resp import encoding
from kvraft.server.resp.encoding import NULL_2, NULL_3, OK, Reply
from kvraft.server.resp.errors import SYNTAX, RespError
from kvraft.server.resp.table import Arguments, Command


def _value_2(item: Item | None) -> bytes:
    return NULL_2 if item is None else encoding.bulk(item[0])


def _value_3(item: Item | None) -> bytes:
    return NULL_3 if item is None else encoding.bulk(item[0])


VALUE: Final[Reply] = (_value_2, _value_3)
"""The value of an `Item`, or null."""


def _get(arguments: Arguments) -> tuple[Operation, Reply]:
    return get_key(arguments[1]), VALUE


def _set(arguments: Arguments) -> tuple[Operation, Reply]:
    if len(arguments) > 3:  # noqa: PLR2004 - with options
        raise RespError(SYNTAX)
    return set_key(arguments[1], arguments[2]), OK


COMMANDS: Final = (
    Command(
        name="get",
        arity=2,
        flags=("readonly", "fast"),
        keys=(1, 1, 1),
        read=_get,
        group="string",
        summary="Get the value of a key",
    ),
    Command(
        name="set",
        arity=-3,
        flags=("write", "denyoom"),
        keys=(1, 1, 1),
        read=_set,
        group="string",
        summary="Set the string value of a key",
    ),
)
