r"""Patterns of keys as Redis reads them: `*`, `?`, `[a-z]`, `[^a-z]`, and `\` before what stands for itself.

A pattern is cut at its stars into pieces, each of a fixed length. To find each piece at the first place after the one
before it is enough, so the work grows with the length of the key times that of the pattern, and never faster.
"""

import re
from functools import lru_cache
from typing import Final

PATTERN_BYTES_MAX: Final = 1024
"""Longest pattern, bytes."""
_KEPT: Final = 64
"""How many compiled patterns are cached."""
_ALL: Final = frozenset(range(256))
_SIGN: Final = 0x80
"""Bytes from here on count as negative in a range, as they do for Redis."""


class Pattern:
    """A compiled pattern."""

    def __init__(self, text: bytes) -> None:
        pieces = [_compiled(piece) for piece in _pieces(text)]
        self._first, self._first_length = pieces[0]
        self._middle = [piece for piece, length in pieces[1:-1] if length]
        self._last, self._last_length = pieces[-1]
        self._has_star = len(pieces) > 1
        self.prefix = _literal(text)
        """The prefix of all keys that it matches."""

    def matches(self, key: bytes) -> bool:
        """Whether it matches the complete key."""
        if not self._first.match(key):
            return False
        if not self._has_star:
            return len(key) == self._first_length
        place, end = self._first_length, len(key) - self._last_length
        for piece in self._middle:
            found = piece.search(key, place, max(end, 0))
            if found is None:
                return False
            place = found.end()
        return place <= end and self._last.match(key, end) is not None


@lru_cache(_KEPT)
def pattern(text: bytes) -> Pattern:
    """Return the compiled pattern."""
    return Pattern(text)


Piece = list[int | frozenset[int] | None]
"""For each byte of a key: the byte or the set of bytes that it must be; None: any."""


def _pieces(text: bytes) -> list[Piece]:
    pieces: list[Piece] = [[]]
    place = 0
    while place < len(text):
        byte = text[place : place + 1]
        place += 1
        if byte == b"*":
            pieces.append([])
        elif byte == b"?":
            pieces[-1].append(None)
        elif byte == b"[":
            allowed, place = _class(text, place)
            pieces[-1].append(allowed)
        else:
            if byte == b"\\" and place < len(text):
                byte = text[place : place + 1]
                place += 1
            pieces[-1].append(byte[0])
    return pieces


def _class(text: bytes, place: int) -> tuple[frozenset[int], int]:
    """Return the bytes between brackets that begin at a place, and the place after them; no end is needed."""
    negated = text[place : place + 1] == b"^"
    place += negated
    found: set[int] = set()
    while place < len(text):
        if text[place] == ord("\\") and place + 1 < len(text):
            found.add(text[place + 1])
            place += 2
        elif text[place] == ord("]"):
            break
        elif text[place + 1 : place + 2] == b"-" and place + 2 < len(text):
            low, high = sorted(map(_signed, (text[place], text[place + 2])))
            found.update(number % (2 * _SIGN) for number in range(low, high + 1))
            place += 3
        else:
            found.add(text[place])
            place += 1
    allowed = _ALL - found if negated else frozenset(found)
    return allowed, min(place + 1, len(text))


def _signed(byte: int) -> int:
    return byte - 2 * _SIGN if byte >= _SIGN else byte


def _compiled(piece: Piece) -> tuple[re.Pattern[bytes], int]:
    parts = []
    for allowed in piece:
        if allowed is None:
            parts.append(b".")
        elif isinstance(allowed, int):
            parts.append(re.escape(bytes((allowed,))))
        elif allowed:
            parts.append(_class_of(allowed))
        else:
            parts.append(b"(?!)")
    return re.compile(b"".join(parts), re.DOTALL), len(piece)


def _class_of(allowed: frozenset[int]) -> bytes:
    """Return a class of `re`, in few ranges: it is compiled in a time that grows with what it names."""
    forbidden = _ALL - allowed
    if forbidden and len(forbidden) < len(allowed):
        return b"[^%b]" % _ranges(forbidden)
    return b"[%b]" % _ranges(allowed)


def _ranges(members: frozenset[int]) -> bytes:
    parts = []
    for first in sorted(members):
        if first - 1 not in members:
            last = first
            while last + 1 in members:
                last += 1
            parts.append(b"\\x%02x" % first if last == first else b"\\x%02x-\\x%02x" % (first, last))
    return b"".join(parts)


def _literal(text: bytes) -> bytes:
    first = _pieces(text)[0]
    literal = bytearray()
    for allowed in first:
        if not isinstance(allowed, int):
            break
        literal.append(allowed)
    return bytes(literal)
