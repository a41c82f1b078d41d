"""When keys expire, as Redis commands say it: in seconds or milliseconds, from now on or by the wall clock.

The cluster has no wall clock. This node, which leads, makes an absolute time relative to its own wall clock when it
reads the command, and absolute again when it answers. So such a time is as exact as the clocks of two leaders agree.
"""

import time
from typing import Final

from kvraft.commands.integers import INTEGER_MAX, INTEGER_MIN, read_integer
from kvraft.commands.strings import AS_BEFORE, NEVER, PASSED, TTL_US_LONGEST
from kvraft.server.resp.errors import NOT_AN_INTEGER, SYNTAX, RespError
from kvraft.server.resp.table import Arguments

SECOND_MS: Final = 1_000
_MS_US: Final = 1_000

SECONDS: Final = {b"EX": 1_000, b"PX": 1, b"EXAT": 1_000, b"PXAT": 1}
"""The options that name a time, and the milliseconds of their unit."""
ABSOLUTE: Final = frozenset({b"EXAT", b"PXAT"})


def now_ms() -> int:
    """Return this node's wall clock time, milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def integer(word: bytes) -> int:
    """Return the number that a word is, written as Redis reads it.

    Raises:
        RespError: it is none.
    """
    number = read_integer(word)
    if number is None:
        raise RespError(NOT_AN_INTEGER)
    return number


def invalid_time(name: str) -> RespError:
    """Return the error for a time to live that Redis refuses."""
    return RespError(f"ERR invalid expire time in '{name}' command")


def ttl_us(milliseconds: int) -> int:
    """Return the time to live of a key that expires after so many milliseconds."""
    return min(milliseconds * _MS_US, TTL_US_LONGEST) if milliseconds > 0 else PASSED


def milliseconds_left(left_us: int) -> int:
    """Return a time to live in whole milliseconds, the last one begun counted as well."""
    return -(-left_us // _MS_US)


def positive_time(word: bytes, unit_ms: int, name: str, *, absolute: bool) -> int:
    """Return the time to live that a word gives to the command SET or one like it.

    Raises:
        RespError: it is no number, not above 0, or too large.
    """
    number = integer(word)
    now = now_ms()
    if not 0 < number <= INTEGER_MAX // unit_ms or (not absolute and number * unit_ms > INTEGER_MAX - now):
        raise invalid_time(name)
    return ttl_us(number * unit_ms - (now if absolute else 0))


def any_time(word: bytes, unit_ms: int, name: str, *, absolute: bool) -> int:
    """Return the time to live that a word gives to the command EXPIRE or one like it.

    Raises:
        RespError: it is no number, or too large.
    """
    number, now = integer(word), now_ms()
    is_possible = -(-INTEGER_MIN // unit_ms) <= number <= INTEGER_MAX // unit_ms
    if not is_possible or (not absolute and number * unit_ms > INTEGER_MAX - now):
        raise invalid_time(name)
    return ttl_us(number * unit_ms - (now if absolute else 0))


class ValueOptions:
    """The options of SET or GETEX."""

    def __init__(self, arguments: Arguments, place: int, allowed: frozenset[bytes]) -> None:
        """Read them.

        Raises:
            RespError: they are not written so, or contradict each other.
        """
        self.found: set[bytes] = set()
        self._time: tuple[bytes, bytes] | None = None
        while place < len(arguments):
            option = arguments[place].upper()
            place += 1
            if option not in allowed or self._contradicts(option):
                raise RespError(SYNTAX)
            self.found.add(option)
            if option in SECONDS:
                if place == len(arguments):
                    raise RespError(SYNTAX)
                self._time = (option, arguments[place])
                place += 1

    def _contradicts(self, option: bytes) -> bool:
        return any(option in group and self.found & (group - {option}) for group in _EXCLUSIVE)

    def ttl_us(self, name: str) -> int | None:
        """Return the time to live that they give.

        Raises:
            RespError: it cannot be.
        """
        if self._time is not None:
            option, word = self._time
            return positive_time(word, SECONDS[option], name, absolute=option in ABSOLUTE)
        return AS_BEFORE if b"KEEPTTL" in self.found else NEVER


_EXCLUSIVE: Final = (frozenset({b"NX", b"XX"}), frozenset({b"KEEPTTL", b"PERSIST", *SECONDS}))
