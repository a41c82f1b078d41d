"""Names: which ones a connection may have, and as which server this one is known."""

from collections.abc import Sequence
from typing import Final

from kvraft.commands.glob import PATTERN_BYTES_MAX
from kvraft.commands.strings import MANY_KEYS_MAX
from kvraft.server.resp.errors import RespError

REDIS_VERSION: Final = "7.0.15"
"""The version of Redis whose commands are spoken, for clients that look at it."""

_CHARACTERS: Final = frozenset(range(ord("!"), ord("~") + 1))
NAME_BYTES_MAX: Final = 1024
"""Longest name of a connection; Redis has no bound."""


def check_name(name: bytes, words: str = "Client names cannot contain spaces, newlines or special characters.") -> None:
    """Refuse a name that CLIENT LIST could not show.

    Raises:
        RespError: it has other characters than visible ones, or is too long.
    """
    if not _CHARACTERS.issuperset(name):
        raise RespError(f"ERR {words}")
    if len(name) > NAME_BYTES_MAX:
        raise RespError(f"ERR a name has at most {NAME_BYTES_MAX} bytes")


def check_patterns(*patterns: bytes) -> None:
    """Refuse patterns that take long to be compiled.

    Raises:
        RespError: they are too long together.
    """
    if sum(map(len, patterns)) > PATTERN_BYTES_MAX:
        raise RespError(f"ERR a pattern has at most {PATTERN_BYTES_MAX} bytes")


def check_count(names: Sequence[bytes]) -> None:
    """Refuse a command that asks about too many commands or connections.

    Raises:
        RespError: there are too many.
    """
    if len(names) > MANY_KEYS_MAX:
        raise RespError(f"ERR a command names at most {MANY_KEYS_MAX}, and not {len(names)}; send several")
