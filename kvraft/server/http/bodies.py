"""Bodies that are JSON objects, each a class of its own. An error says what is wrong with the body."""

from typing import TypeVar

import msgspec

from kvraft.commands import InvalidCommand
from kvraft.commands.expiry import SECOND_US, TTL_US_MAX

T = TypeVar("T")


def read(content: bytes, kind: type[T]) -> T:
    """Return what a body says.

    Raises:
        InvalidCommand: it is no such object.
    """
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidCommand(f"the body must be a JSON object: {error}") from None


def microseconds(seconds: float, name: str) -> int:
    """Return seconds as microseconds.

    Raises:
        InvalidCommand: they are far too many, or less than none.
    """
    if not 0 <= seconds <= TTL_US_MAX / SECOND_US:
        raise InvalidCommand(f"{name} must be a number of seconds")
    return round(seconds * SECOND_US)


def text(content: str) -> bytes:
    """Return a text in UTF-8.

    Raises:
        InvalidCommand: it cannot be written so.
    """
    try:
        return content.encode()
    except UnicodeEncodeError:
        raise InvalidCommand("a string holds half of a surrogate pair, which is no character") from None
