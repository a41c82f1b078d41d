"""The arguments of a line, one after the other: words, JSON strings and numbers."""

import binascii
import re
from typing import Final

import msgspec

from kvraft.commands import InvalidCommand

BASE64: Final = b'base64"'
"""The beginning of an argument in base64, which ends at the next double quote. Answers show bytes that are not UTF-8 in
base64 as well."""
_QUOTED: Final = (b'"', BASE64[:1])
"""The first bytes of arguments that may be quoted."""
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"')
_decode_string = msgspec.json.Decoder(str).decode
_INTEGER: Final = re.compile(rb"-?\d{1,19}")
_SECONDS: Final = re.compile(rb"(\d{1,10})(?:\.(\d{1,6}))?")
_MICROSECONDS: Final = 1_000_000


class WrongUsage(Exception):
    """The syntax of a command is wrong."""


class Arguments:
    """The part of a line after the command. Arguments are separated by single spaces.

    An argument that begins with a double quote is a JSON string, which may contain spaces and line feeds. One that
    begins with `base64` and a double quote may contain any bytes. Any other is used as it is.
    """

    def __init__(self, content: bytes | None) -> None:
        self._content = content or b""
        self._place = None if content is None else 0
        """Where the next argument begins; None: there is none, not even an empty one.

        What is left is not copied for each argument: that would take a time that grows with the square of their number.
        """

    def __bool__(self) -> bool:
        return self._place is not None

    def _next(self) -> int:
        """Return where the next argument begins.

        Raises:
            WrongUsage: there is none.
        """
        if self._place is None:
            raise WrongUsage
        return self._place

    def word(self) -> bytes:
        """Return the next argument as it is."""
        begin, content = self._place, self._content
        if begin is None:
            raise WrongUsage
        end = content.find(b" ", begin)
        if end < 0:
            self._place = None
            return content[begin:]
        self._place = end + 1
        return content[begin:end]

    def keyword(self) -> bytes:
        """Return the next argument in capitals."""
        return self.word().upper()

    def text(self) -> bytes:
        """Return the next argument, a key for instance."""
        begin, content = self._next(), self._content
        if content[begin : begin + 1] not in _QUOTED:  # as most are
            return self.word()
        if content.startswith(BASE64, begin):
            begin += len(BASE64)
            end = content.find(b'"', begin)
            if end < 0:
                raise InvalidCommand('an argument that begins with base64" ends with a double quote, and this does not')
            self._go_on(end + 1)
            return from_base64(content[begin:end])
        if not content.startswith(b'"', begin):
            return self.word()
        match = _STRING.match(content, begin)
        if match is None:
            raise InvalidCommand("an argument that begins with a double quote is a JSON string, and it does not end")
        self._go_on(match.end())
        return string(match[0])

    def _go_on(self, place: int) -> None:
        """Continue after a closing double quote."""
        if place == len(self._content):
            self._place = None
        elif self._content.startswith(b" ", place):
            self._place = place + 1
        else:
            raise InvalidCommand("a space must follow the double quote at the end of an argument")

    def rest(self) -> bytes:
        """Return all that is left as it is."""
        content = self._content[self._next() :]
        self._place = None
        return content

    def remainder(self) -> bytes:
        """Return all that is left as one argument, such as a value with spaces; one in quotes must be the whole."""
        if not self._content.startswith((b'"', BASE64), self._next()):
            return self.rest()
        content = self.text()
        self.end()
        return content

    def number(self) -> int:
        """Return the next argument, a whole number."""
        word = self.word()
        if not _INTEGER.fullmatch(word):
            raise WrongUsage
        return int(word)

    def seconds(self) -> int:
        """Return the next argument, seconds with at most six decimals, in microseconds."""
        match = _SECONDS.fullmatch(self.word())
        if not match:
            raise WrongUsage
        return int(match[1]) * _MICROSECONDS + int((match[2] or b"").ljust(6, b"0"))

    def end(self) -> None:
        """Check that no argument is left.

        Raises:
            WrongUsage: there is one.
        """
        if self._place is not None:
            raise WrongUsage


def from_base64(encoded: str | bytes) -> bytes:
    """Return the bytes that are encoded in base64.

    Raises:
        InvalidCommand: it is not base64.
    """
    try:
        return binascii.a2b_base64(encoded, strict_mode=True)
    except ValueError as error:
        raise InvalidCommand(f"this is no base64: {error}") from None


def string(token: bytes) -> bytes:
    """Return the content of a JSON string, in UTF-8.

    Raises:
        InvalidCommand: it is not a JSON string.
    """
    try:
        return _decode_string(token).encode()
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise InvalidCommand(f"an argument that begins with a double quote must be a JSON string: {error}") from None
