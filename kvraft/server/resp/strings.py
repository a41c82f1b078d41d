"""Commands on the values of keys."""

from typing import Final

from kvraft.commands import Item, Operation, Outcome, append, get_key, long_double, set_key
from kvraft.commands.integers import INTEGER_MIN
from kvraft.commands.key_queries import get_many
from kvraft.commands.strings import (
    Presence,
    add_float,
    add_integer,
    get_and_expire,
    set_if,
    set_many,
    set_range,
    take_key,
)
from kvraft.commands.transactions import APPENDED_BYTES_MAX
from kvraft.server.resp import encoding
from kvraft.server.resp.encoding import INTEGER, NULL_2, NULL_3, OK, OK_BYTES, Reply
from kvraft.server.resp.errors import NOT_A_FLOAT, TOO_LONG, RespError, arity_text
from kvraft.server.resp.expiry_arguments import SECONDS, ValueOptions, integer, positive_time
from kvraft.server.resp.table import Arguments, Command

Request = tuple[Operation, Reply]
_SET_OPTIONS: Final = frozenset({b"NX", b"XX", b"GET", b"KEEPTTL", *SECONDS})
_GETEX_OPTIONS: Final = frozenset({b"PERSIST", *SECONDS})


def _value_2(item: Item | None) -> bytes:
    return NULL_2 if item is None else encoding.bulk(item.value)


def _value_3(item: Item | None) -> bytes:
    return NULL_3 if item is None else encoding.bulk(item.value)


VALUE: Final[Reply] = (_value_2, _value_3)
"""The value of an `Item`, or null."""


def _values_2(items: list[Item | None]) -> bytes:
    return encoding.array([*map(_value_2, items)])


def _values_3(items: list[Item | None]) -> bytes:
    return encoding.array([*map(_value_3, items)])


def _length(item: Item | None) -> bytes:
    return encoding.integer(0 if item is None else len(item.value))


def _first_result(outcome: Outcome) -> bytes:
    number = outcome.results[0]
    assert isinstance(number, int), "a counter or a length"
    return encoding.integer(number)


_SET: Final[Reply] = (
    lambda done: OK_BYTES if done else NULL_2,
    lambda done: OK_BYTES if done else NULL_3,
)
_FIRST: Final[Reply] = (_first_result, _first_result)
_LENGTH: Final[Reply] = (_length, _length)


def _get(arguments: Arguments) -> Request:
    return get_key(arguments[1]), VALUE


def _set(arguments: Arguments) -> Request:
    if len(arguments) == 3:  # noqa: PLR2004 - without options, as most often
        return set_key(arguments[1], arguments[2]), OK
    options = ValueOptions(arguments, 3, _SET_OPTIONS)
    presence = Presence.ANY
    if b"NX" in options.found:
        presence = Presence.ABSENT
    elif b"XX" in options.found:
        presence = Presence.PRESENT
    returns_old = b"GET" in options.found
    operation = set_if(
        arguments[1], arguments[2], ttl_us=options.ttl_us("set"), presence=presence, returns_old=returns_old
    )
    return operation, VALUE if returns_old else _SET


def _setnx(arguments: Arguments) -> Request:
    return set_if(arguments[1], arguments[2], presence=Presence.ABSENT), INTEGER


def _setex(arguments: Arguments) -> Request:
    ttl_us = positive_time(arguments[2], 1_000, "setex", absolute=False)
    return set_if(arguments[1], arguments[3], ttl_us=ttl_us), OK


def _psetex(arguments: Arguments) -> Request:
    ttl_us = positive_time(arguments[2], 1, "psetex", absolute=False)
    return set_if(arguments[1], arguments[3], ttl_us=ttl_us), OK


def _getset(arguments: Arguments) -> Request:
    return set_if(arguments[1], arguments[2], returns_old=True), VALUE


def _getdel(arguments: Arguments) -> Request:
    return take_key(arguments[1]), VALUE


def _getex(arguments: Arguments) -> Request:
    options = ValueOptions(arguments, 2, _GETEX_OPTIONS)
    if not options.found:
        return get_key(arguments[1]), VALUE
    ttl_us = options.ttl_us("getex")
    assert ttl_us is not None, "GETEX has no KEEPTTL"
    return get_and_expire(arguments[1], ttl_us), VALUE


def _mget(arguments: Arguments) -> Request:
    return get_many(list(arguments[1:])), (_values_2, _values_3)


def _pairs(arguments: Arguments, name: str) -> list[tuple[bytes, bytes]]:
    if len(arguments) % 2 == 0:
        raise RespError(arity_text(name))
    return list(zip(arguments[1::2], arguments[2::2], strict=True))


def _mset(arguments: Arguments) -> Request:
    return set_many(_pairs(arguments, "mset")), OK


def _msetnx(arguments: Arguments) -> Request:
    return set_many(_pairs(arguments, "msetnx"), only_new=True), INTEGER


def _append(arguments: Arguments) -> Request:
    return append(arguments[1], arguments[2]), _FIRST


def _strlen(arguments: Arguments) -> Request:
    return get_key(arguments[1]), _LENGTH


def _incr(arguments: Arguments) -> Request:
    return add_integer(arguments[1]), INTEGER


def _decr(arguments: Arguments) -> Request:
    return add_integer(arguments[1], -1), INTEGER


def _incrby(arguments: Arguments) -> Request:
    return add_integer(arguments[1], integer(arguments[2])), INTEGER


def _decrby(arguments: Arguments) -> Request:
    by = integer(arguments[2])
    if by == INTEGER_MIN:
        raise RespError("ERR decrement would overflow")
    return add_integer(arguments[1], -by), INTEGER


def _bulk_text(text: str) -> bytes:
    return encoding.bulk(text.encode())


def _incrbyfloat(arguments: Arguments) -> Request:
    try:
        long_double.read(arguments[2])
    except long_double.NoNumber:
        raise RespError(NOT_A_FLOAT) from None
    return add_float(arguments[1], arguments[2]), (_bulk_text, _bulk_text)


def _getrange(arguments: Arguments) -> Request:
    start, end = integer(arguments[2]), integer(arguments[3])

    def cut(item: Item | None) -> bytes:
        return encoding.bulk(_part(b"" if item is None else item.value, start, end))

    return get_key(arguments[1]), (cut, cut)


def _part(value: bytes, start: int, end: int) -> bytes:
    """Return a part of a value, both ends included, each counted from the end where it is negative."""
    if start < 0 and end < 0 and start > end:
        return b""
    first = max(0, start + len(value)) if start < 0 else start
    last = max(0, end + len(value)) if end < 0 else end
    return value[first : last + 1]


def _setrange(arguments: Arguments) -> Request:
    offset, value = integer(arguments[2]), arguments[3]
    if offset < 0:
        raise RespError("ERR offset is out of range")
    if value and offset + len(value) > APPENDED_BYTES_MAX:
        raise RespError(TOO_LONG)
    return set_range(arguments[1], offset, value), INTEGER


_ONE: Final = (1, 1, 1)
_ALL: Final = (1, -1, 1)
_EACH_SECOND: Final = (1, -1, 2)
_READ: Final = ("readonly", "fast")
_WRITE: Final = ("write", "denyoom", "fast")
_SLOW_WRITE: Final = ("write", "denyoom")

# fmt: off
COMMANDS: Final = tuple(
    Command(
        name=name, arity=arity, flags=flags, keys=keys, read=read, group="string", since=since, summary=summary,
        is_heavy=is_heavy,
    )
    for name, arity, flags, keys, read, since, summary, is_heavy in (
        ("get", 2, _READ, _ONE, _get, "1.0.0", "Get the value of a key", False),
        ("set", -3, _SLOW_WRITE, _ONE, _set, "1.0.0", "Set the string value of a key", False),
        ("setnx", 3, _WRITE, _ONE, _setnx, "1.0.0", "Set the value of a key, only if the key does not exist", False),
        ("setex", 4, _SLOW_WRITE, _ONE, _setex, "2.0.0", "Set the value and expiration of a key", False),
        ("psetex", 4, _SLOW_WRITE, _ONE, _psetex, "2.6.0",
         "Set the value and expiration in milliseconds of a key", False),
        ("getset", 3, _WRITE, _ONE, _getset, "1.0.0",
         "Set the string value of a key and return its old value", False),
        ("getdel", 2, ("write", "fast"), _ONE, _getdel, "6.2.0", "Get the value of a key and delete the key", False),
        ("getex", -2, ("write", "fast"), _ONE, _getex, "6.2.0",
         "Get the value of a key and optionally set its expiration", False),
        ("mget", -2, _READ, _ALL, _mget, "1.0.0", "Get the values of all the given keys", True),
        ("mset", -3, _SLOW_WRITE, _EACH_SECOND, _mset, "1.0.1", "Set multiple keys to multiple values", True),
        ("msetnx", -3, _SLOW_WRITE, _EACH_SECOND, _msetnx, "1.0.1",
         "Set multiple keys to multiple values, only if none of the keys exist", True),
        ("append", 3, _WRITE, _ONE, _append, "2.0.0", "Append a value to a key", True),
        ("strlen", 2, _READ, _ONE, _strlen, "2.2.0", "Get the length of the value stored in a key", False),
        ("incr", 2, _WRITE, _ONE, _incr, "1.0.0", "Increment the integer value of a key by one", False),
        ("decr", 2, _WRITE, _ONE, _decr, "1.0.0", "Decrement the integer value of a key by one", False),
        ("incrby", 3, _WRITE, _ONE, _incrby, "1.0.0",
         "Increment the integer value of a key by the given amount", False),
        ("decrby", 3, _WRITE, _ONE, _decrby, "1.0.0",
         "Decrement the integer value of a key by the given number", False),
        ("incrbyfloat", 3, _WRITE, _ONE, _incrbyfloat, "2.6.0",
         "Increment the float value of a key by the given amount", True),
        ("getrange", 4, ("readonly",), _ONE, _getrange, "2.4.0",
         "Get a substring of the string stored at a key", False),
        ("substr", 4, ("readonly",), _ONE, _getrange, "1.0.0",
         "Get a substring of the string stored at a key", False),
        ("setrange", 4, _SLOW_WRITE, _ONE, _setrange, "2.2.0",
         "Overwrite part of a string at key starting at the specified offset", True),
    )
)
# fmt: on
