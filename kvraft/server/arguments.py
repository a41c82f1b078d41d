"""The arguments of a line, one after the other: words, JSON strings and numbers."""

import binascii
import re
from typing import Final

import msgspec

from kvraft.commands import InvalidCommand

BASE64: Final = b'base64"'
"""The beginning of an argument in base64, which ends at the next double quote. Answers show bytes that are not UTF-8 in
base64 as well."""
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
        self._rest = content
        """What is left; None: nothing, not even an empty argument."""

    def __bool__(self) -> bool:
        return self._rest is not None

    def word(self) -> bytes:
        """Return the next argument as it is."""
        if self._rest is None:
            raise WrongUsage
        word, space, rest = self._rest.partition(b" ")
        self._rest = rest if space else None
        return word

    def keyword(self) -> bytes:
        """Return the next argument in capitals."""
        return self.word().upper()

    def text(self) -> bytes:
        """Return the next argument, a key for instance."""
        if self._rest is None:
            raise WrongUsage
        if self._rest.startswith(BASE64):
            encoded, quote, rest = self._rest[len(BASE64) :].partition(b'"')
            if not quote:
                raise InvalidCommand('an argument that begins with base64" ends with a double quote, and this does not')
            self._begin(rest)
            return from_base64(encoded)
        if not self._rest.startswith(b'"'):
            return self.word()
        match = _STRING.match(self._rest)
        if match is None:
            raise InvalidCommand("an argument that begins with a double quote is a JSON string, and it does not end")
        self._begin(self._rest[match.end() :])
        return string(match[0])

    def _begin(self, rest: bytes) -> None:
        """Continue with `rest`, which follows a closing double quote."""
        if rest and not rest.startswith(b" "):
            raise InvalidCommand("a space must follow the double quote at the end of an argument")
        self._rest = rest[1:] if rest else None

    def rest(self) -> bytes:
        """Return all that is left as it is."""
        if self._rest is None:
            raise WrongUsage
        content, self._rest = self._rest, None
        return content

    def remainder(self) -> bytes:
        """Return all that is left as one argument, such as a value with spaces; one in quotes must be the whole."""
        if self._rest is None or not self._rest.startswith((b'"', BASE64)):
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
        if self._rest is not None:
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
