"""Answers of the line protocol: one JSON object a line, byte for byte as promised."""

import base64
from typing import Final

import msgspec

from kvraft.commands import Item
from kvraft.errors import NotLeaderRefusal, RequestFailed

OK: Final = b'{"status":"OK"}\n'
PONG: Final = b'{"status":"PONG"}\n'
NO_VALUE: Final = b'{"value":null}\n'

_encode = msgspec.json.Encoder().encode


def error(code: str, message: str) -> bytes:
    """Return the line that says what went wrong, and what to do about it."""
    return b'{"error":%b,"message":%b}\n' % (_encode(code), _encode(message))


def refusal(reason: RequestFailed) -> bytes:
    """Return the line for a request that has no result."""
    if isinstance(reason, NotLeaderRefusal):
        return b'{"error":"NOT_LEADER","leader_hint":%b}\n' % _encode(reason.leader_hint)
    return error(reason.code, str(reason))


def status(description: dict[str, object]) -> bytes:
    """Return the line that describes this node."""
    return _encode(description) + b"\n"


def value(content: bytes) -> bytes:
    """Return the line for a value: as text where it is UTF-8, else in base64."""
    try:
        return b'{"value":%b}\n' % _encode(content.decode())
    except UnicodeDecodeError:
        return b'{"value_base64":"%b"}\n' % base64.b64encode(content)


def found(item: Item | None) -> bytes:
    """Return the line for what stands under a key."""
    return NO_VALUE if item is None else value(item[0])
