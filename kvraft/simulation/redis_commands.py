"""The commands that simulated Redis clients send, the operations that they are, and how their results are shown."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final

from kvraft.commands import Delete, Get, Item, Mutation, Outcome, Query, Set, append
from kvraft.commands.key_queries import Exists, GetMany, TimeLeft
from kvraft.commands.keys import ChangeExpiry, DeleteMany, When, copy_key, move_key
from kvraft.commands.strings import (
    AS_BEFORE,
    AddFloat,
    GetAndExpire,
    Increment,
    Presence,
    SetMany,
    SetRange,
    Take,
    set_if,
)

KEYS: Final = (b"_r1", b"_r2", b"_r3", b"_r4")
NUMBERS: Final = (b"_r8", b"_r9")
"""Keys that hold numbers, as a rule."""
TTLS_MS: Final = (20, 50, 300, 1_500)
"""Times to live, one of these, milliseconds."""

Show = Callable[[Any], Any]
"""Makes the reply of a result, as hiredis reads it."""


def ok(_result: Any) -> bytes:
    """Show OK, whatever the result."""
    return b"OK"


def same(result: Any) -> Any:
    """Show a result that is a reply."""
    return result


def _value(item: Item | None) -> bytes | None:
    return None if item is None else item.value


def _ok_or_nothing(result: int) -> bytes | None:
    return b"OK" if result else None


def _first(outcome: Outcome) -> Any:
    return outcome.results[0]


def _values(items: Sequence[Item | None]) -> list[bytes | None]:
    return [*map(_value, items)]


def milliseconds(left_us: int) -> int:
    """Show a time left, in whole milliseconds begun."""
    return left_us if left_us < 0 else -(-left_us // 1_000)


def draw_command(draws: Random, value: bytes) -> tuple[Sequence[bytes], Mutation | Query, Show]:
    """Return a random command, the operation that it is, and how its result is shown."""
    key, other = draws.sample(KEYS, 2)
    number = draws.choice((*NUMBERS, *NUMBERS, key))
    ttl_ms = draws.choice(TTLS_MS)
    ttl, ttl_us = b"%d" % ttl_ms, ttl_ms * 1_000
    amount, half = draws.randrange(-3, 9), draws.choice((b"0.5", b"-1.5", b"2"))
    begin = draws.randrange(6)
    condition, when = draws.choice(
        ((b"NX", When.HAS_NONE), (b"XX", When.HAS_ONE), (b"GT", When.LATER), (b"LT", When.EARLIER))
    )
    commands: Sequence[tuple[Sequence[bytes], Mutation | Query, Show]] = (
        ((b"SET", key, value), Set(key, value), ok),
        ((b"SET", number, b"%d" % amount), Set(number, b"%d" % amount), ok),
        ((b"SET", key, value, b"NX"), set_if(key, value, presence=Presence.ABSENT), _ok_or_nothing),
        (
            (b"SET", key, value, b"XX", b"KEEPTTL"),
            set_if(key, value, ttl_us=AS_BEFORE, presence=Presence.PRESENT),
            _ok_or_nothing,
        ),
        ((b"SET", key, value, b"KEEPTTL"), set_if(key, value, ttl_us=AS_BEFORE), _ok_or_nothing),
        ((b"SET", key, value, b"PX", ttl), set_if(key, value, ttl_us=ttl_us), _ok_or_nothing),
        ((b"SETNX", key, value), set_if(key, value, presence=Presence.ABSENT), same),
        ((b"PSETEX", key, ttl, value), set_if(key, value, ttl_us=ttl_us), ok),
        ((b"GETSET", key, value), set_if(key, value, returns_old=True), _value),
        ((b"GETDEL", key), Take(key), _value),
        ((b"GETEX", key, b"PX", ttl), GetAndExpire(key, ttl_us), _value),
        ((b"GETEX", key, b"PERSIST"), GetAndExpire(key, 0), _value),
        ((b"MSET", key, value, other, value), SetMany([(key, value), (other, value)], only_new=False), ok),
        (
            (b"MSET", key, b"a", other, b"b", key, value),
            SetMany([(key, b"a"), (other, b"b"), (key, value)], False),
            ok,
        ),
        ((b"MSETNX", key, value, other, value), SetMany([(key, value), (other, value)], only_new=True), same),
        ((b"APPEND", key, value[:1]), append(key, value[:1]), _first),
        ((b"SETRANGE", key, b"%d" % begin, value[:3]), SetRange(key, begin, value[:3]), same),
        ((b"INCR", number), Increment(number, 1), same),
        ((b"INCR", NUMBERS[0]), Increment(NUMBERS[0], 1), same),
        ((b"INCRBY", number, b"%d" % amount), Increment(number, amount), same),
        ((b"DECR", number), Increment(number, -1), same),
        ((b"INCRBYFLOAT", NUMBERS[1], half), AddFloat(NUMBERS[1], half), str.encode),
        ((b"DEL", key), Delete(key), same),
        ((b"DEL", key, other, key), DeleteMany([key, other, key]), same),
        ((b"PEXPIRE", key, ttl), ChangeExpiry(key, ttl_us, When.ALWAYS), same),
        ((b"PEXPIRE", key, ttl, condition), ChangeExpiry(key, ttl_us, when), same),
        ((b"PERSIST", key), ChangeExpiry(key, 0, When.ALWAYS), same),
        ((b"RENAME", key, other), move_key(key, other), ok),
        ((b"RENAMENX", key, other), move_key(key, other, replaces=False), same),
        ((b"COPY", key, other), copy_key(key, other), same),
        ((b"COPY", key, other, b"REPLACE"), copy_key(key, other, replaces=True), same),
        ((b"GET", key), Get(key), _value),
        ((b"GET", number), Get(number), _value),
        ((b"MGET", *KEYS, NUMBERS[0]), GetMany([*KEYS, NUMBERS[0]]), _values),
        ((b"EXISTS", key, other, key), Exists([key, other, key]), same),
        ((b"STRLEN", key), Get(key), lambda item: 0 if item is None else len(item.value)),
        ((b"GETRANGE", key, b"1", b"-2"), Get(key), lambda item: b"" if item is None else item.value[1:-1]),
        ((b"PTTL", key), TimeLeft(key), milliseconds),
    )
    return draws.choice(commands)
