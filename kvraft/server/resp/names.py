"""Names: which ones a connection may have, and as which server this one is known."""

from typing import Final

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
