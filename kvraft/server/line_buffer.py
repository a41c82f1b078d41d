"""Cuts a stream of bytes into lines, in linear time and bounded memory."""

from typing import Final

LINES_AT_ONCE: Final = 1024
"""Most lines of one client that are executed together, so that a long chunk does not delay other clients."""


class LineBuffer:
    """Input that is not executed yet.

    The owner pauses reading while `len()` is above `line_bytes`, so at most one read is held beyond that.
    """

    def __init__(self, line_bytes: int) -> None:
        self._line_bytes = line_bytes
        self.held = bytearray()
        """The held bytes; public because the session checks it twice for every request."""
        self._has_line = False  # whether it holds a line feed, to search for it only once
        self.overflowed = False
        """Whether the next line is too long. It is dropped, and so is all input after it."""

    def __len__(self) -> int:
        return len(self.held)

    def add(self, data: bytes) -> None:
        """Keep `data` for later."""
        if not self.overflowed:
            self.held += data
            self._has_line = self._has_line or b"\n" in data

    def take(self, data: bytes = b"") -> list[bytes]:
        """Return the next complete lines of the held input and `data` after it, at most LINES_AT_ONCE; none: []."""
        if self.overflowed:
            return []
        if self.held:
            self.add(data)
            if not self._has_line:
                return self._within_limit([])
            data = bytes(self.held)
            self.held.clear()
        elif not data:
            return []
        lines = data.split(b"\n", LINES_AT_ONCE)
        rest = lines.pop()
        if rest:
            self.held += rest
        self._has_line = len(lines) == LINES_AT_ONCE and b"\n" in rest
        return lines if len(data) <= self._line_bytes else self._within_limit(lines)

    def take_last(self) -> list[bytes]:
        """Return the rest at the end of all input as a line, or [] when there is none."""
        last = bytes(self.held)
        self.held.clear()
        return [last] if last else []

    def clear(self) -> None:
        """Drop all held input."""
        self.held.clear()
        self._has_line = False

    def _within_limit(self, lines: list[bytes]) -> list[bytes]:
        """Return the `lines` before the first that is too long, and overflow if there is one."""
        for position, line in enumerate(lines):
            if len(line) > self._line_bytes:
                self._overflow()
                return lines[:position]
        if not self._has_line and len(self.held) > self._line_bytes:
            self._overflow()
        return lines

    def _overflow(self) -> None:
        self.clear()
        self.overflowed = True
