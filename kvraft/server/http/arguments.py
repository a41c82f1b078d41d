"""The parameters of a query, each read by its type. An error names the parameter and what is wrong with it."""

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from kvraft.commands import InvalidCommand
from kvraft.server.http.routes import Route

_INTEGER: Final = re.compile(rb"-?\d{1,19}")
_SECONDS: Final = re.compile(rb"(\d{1,10})(?:\.(\d{1,6}))?")
_MICROSECONDS: Final = 1_000_000
_TRUE: Final = frozenset({b"", b"1", b"true", b"yes"})
_FALSE: Final = frozenset({b"0", b"false", b"no"})
_SHOWN: Final = 40
"""Most bytes of a wrong value that an error repeats."""


class Arguments:
    """What a query says.

    Raises:
        InvalidCommand: it has a parameter that the route does not take, or one twice.
    """

    def __init__(self, query: bytes, route: Route) -> None:
        self._values: dict[str, bytes] = {}
        for piece in filter(None, query.split(b"&")):
            name, _, value = (unquote_to_bytes(part.replace(b"+", b" ")) for part in piece.partition(b"="))
            text = name.decode(errors="replace")
            if text not in route.names:
                known = ", ".join(sorted(route.names)) or "none"
                raise InvalidCommand(f"there is no parameter {text[:_SHOWN]!r} here; there are: {known}")
            if text in self._values:
                raise InvalidCommand(f"the parameter {text} stands there twice; once is enough")
            self._values[text] = value

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def text(self, name: str) -> bytes | None:
        """Return a parameter as it is; None: it is not there."""
        return self._values.get(name)

    def flag(self, name: str) -> bool:
        """Return whether a parameter is there, and is not false."""
        value = self._values.get(name)
        if value is None or value.lower() in _FALSE:
            return False
        if value.lower() in _TRUE:
            return True
        raise InvalidCommand(f"{name} is true or false, and not {_shown(value)}")

    def number(self, name: str) -> int | None:
        """Return a whole number."""
        value = self._values.get(name)
        if value is None:
            return None
        if not _INTEGER.fullmatch(value):
            raise InvalidCommand(f"{name} is a whole number, and not {_shown(value)}")
        return int(value)

    def revision(self, name: str) -> int | None:
        """Return a revision."""
        number = self.number(name)
        if number is not None and number < 0:
            raise InvalidCommand(f"{name} is a revision, and these are never negative")
        return number

    def seconds(self, name: str) -> int | None:
        """Return seconds with at most six decimals, in microseconds."""
        value = self._values.get(name)
        if value is None:
            return None
        match = _SECONDS.fullmatch(value)
        if not match:
            raise InvalidCommand(f"{name} is a number of seconds such as 2.5, and not {_shown(value)}")
        return int(match[1]) * _MICROSECONDS + int((match[2] or b"").ljust(6, b"0"))


def _shown(value: bytes) -> str:
    return repr(value[:_SHOWN].decode(errors="replace"))
