"""Writes keys and values into lines of the protocol: unquoted where possible, else quoted. See docs/protocol.md."""

import base64
import json
import re
from typing import Any, Final

_NEEDS_QUOTES: Final = re.compile(rb'[ \r\n]|\A(?:"|base64")|\A\Z')
_VALUE_NEEDS_QUOTES: Final = re.compile(rb'\n|\r\Z|\A(?:"|base64")')


def quoted(content: bytes) -> bytes:
    """Return an argument in quotes: as a JSON string if it is UTF-8, else as base64."""
    try:
        return json.dumps(content.decode()).encode()
    except UnicodeDecodeError:
        return b'base64"%b"' % base64.b64encode(content)


def argument(content: bytes) -> bytes:
    """Return a key, or another argument that ends at a space, as it is written on a line: quoted if it must be."""
    return quoted(content) if _NEEDS_QUOTES.search(content) else content


def last_argument(content: bytes) -> bytes:
    """Return a value that takes the rest of its line, quoted if it must be; for the commands that accept quotes."""
    return quoted(content) if _VALUE_NEEDS_QUOTES.search(content) else content


def is_plain_key(content: bytes) -> bool:
    """Whether a key can be written in SET, GET and DELETE, which accept no quotes."""
    return bool(content) and not (b" " in content or b"\n" in content or content.endswith(b"\r"))


def is_plain_value(content: bytes) -> bool:
    """Whether a value can be written in SET, which accepts no quotes."""
    return not (b"\n" in content or content.endswith(b"\r"))


def member(name: str, content: bytes) -> dict[str, Any]:
    """Return bytes as a member of a JSON object: as text if they are UTF-8, else as base64."""
    try:
        return {name: content.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(content).decode()}


def range_member(name: str, start: bytes, end: bytes | None) -> dict[str, Any]:
    """Return the start and the end of a range as a member of a JSON object; `end` None: no end."""
    try:
        return {name: [start.decode(), None if end is None else end.decode()]}
    except UnicodeDecodeError:
        both = [None if each is None else base64.b64encode(each).decode() for each in (start, end)]
        return {f"{name}_base64": both}
