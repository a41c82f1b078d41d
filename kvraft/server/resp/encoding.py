"""Replies of Redis, in the version of the protocol that a client has chosen."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from kvraft.server.dialect import Answer

RESP2: Final = 2
RESP3: Final = 3

Reply = tuple[Answer, Answer]
"""The reply to a command, in RESP2 and in RESP3."""

Encode = Callable[[Any, int], bytes]
"""Makes a reply of a result and the version of the protocol."""

NULL_2: Final = b"$-1\r\n"
NULL_ARRAY_2: Final = b"*-1\r\n"
NULL_3: Final = b"_\r\n"

OK_BYTES: Final = b"+OK\r\n"
OK: Final[Reply] = (OK_BYTES, OK_BYTES)
"""The reply of a command that can only succeed."""


def reply(encode: Encode) -> Reply:
    """Return the reply that `encode` makes of a result."""
    return (partial(_swapped, encode, RESP2), partial(_swapped, encode, RESP3))


def _swapped(encode: Encode, protocol: int, result: Any) -> bytes:
    return encode(result, protocol)


def constant(data: bytes) -> Reply:
    """Return the reply that is always the same."""
    return (data, data)


def simple(text: str) -> bytes:
    """Return a simple string."""
    return b"+%b\r\n" % text.encode()


def integer(number: int) -> bytes:
    """Return a number."""
    return b":%d\r\n" % number


INTEGER: Final[Reply] = (integer, integer)


def bulk(content: bytes) -> bytes:
    """Return a byte string."""
    return b"$%d\r\n%b\r\n" % (len(content), content)


def null(protocol: int) -> bytes:
    """Return the reply that stands for nothing where a byte string may stand."""
    return NULL_2 if protocol == RESP2 else NULL_3


def null_array(protocol: int) -> bytes:
    """Return the reply that stands for nothing where an array may stand."""
    return NULL_ARRAY_2 if protocol == RESP2 else NULL_3


def bulk_or_null(content: bytes | None, protocol: int) -> bytes:
    """Return a byte string, or nothing."""
    return null(protocol) if content is None else bulk(content)


def array(replies: Sequence[bytes]) -> bytes:
    """Return an array of replies."""
    return b"*%d\r\n%b" % (len(replies), b"".join(replies))


def set_(replies: Sequence[bytes], protocol: int) -> bytes:
    """Return a set of replies; RESP2 has arrays for them."""
    return b"%b%d\r\n%b" % (b"*" if protocol == RESP2 else b"~", len(replies), b"".join(replies))


def mapping(pairs: Sequence[tuple[bytes, bytes]], protocol: int) -> bytes:
    """Return pairs of replies as a map; RESP2 has flat arrays for them."""
    content = b"".join(key + value for key, value in pairs)
    return b"*%d\r\n%b" % (2 * len(pairs), content) if protocol == RESP2 else b"%%%d\r\n%b" % (len(pairs), content)


def push(replies: Sequence[bytes], protocol: int) -> bytes:
    """Return a push: a message that is no reply to a command. RESP2 has arrays for it."""
    return b"%b%d\r\n%b" % (b"*" if protocol == RESP2 else b">", len(replies), b"".join(replies))


def verbatim(text: str, protocol: int) -> bytes:
    """Return text for people."""
    content = text.encode()
    return bulk(content) if protocol == RESP2 else b"=%d\r\ntxt:%b\r\n" % (len(content) + 4, content)


def bulks(texts: Iterable[bytes | str]) -> bytes:
    """Return an array of byte strings."""
    return array([bulk(text.encode() if isinstance(text, str) else text) for text in texts])


def text_map(texts: Mapping[str, str], protocol: int) -> bytes:
    """Return a map whose keys and values are byte strings."""
    return mapping([(bulk(key.encode()), bulk(value.encode())) for key, value in texts.items()], protocol)


def error(text: str) -> bytes:
    """Return an error, whose first word programs look at. Line breaks would end it."""
    return b"-%b\r\n" % text.replace("\r", " ").replace("\n", " ").encode()
