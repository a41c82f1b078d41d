"""Cuts a stream of bytes into lines, in linear time and bounded memory."""

from typing import Final

LINES_AT_ONCE: Final = 1024
"""Lines that one client may have carried out together, so that a long chunk does not hold up everybody else."""


class LineBuffer:
    """Input that is not carried out yet.

    The owner asks for no more input while `len()` is above `line_bytes`; a read on top of that is all there can be.
    """

    def __init__(self, line_bytes: int) -> None:
        self._line_bytes = line_bytes
        self.held = bytearray()
        """What waits, to look at: whether that is anything is asked twice for every request."""
        self._has_line = False  # a line feed is somewhere in it: nobody searches for it twice
        self.overflowed = False
        """Whether the next line is too long. It is not kept, and neither is anything behind it."""

    def __len__(self) -> int:
        return len(self.held)

    def add(self, data: bytes) -> None:
        """Keep `data` for later."""
        if not self.overflowed:
            self.held += data
            self._has_line = self._has_line or b"\n" in data

    def take(self, data: bytes = b"") -> list[bytes]:
        """Return the next whole lines, `data` being behind all that is held. At most LINES_AT_ONCE; none: []."""
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
        """Return what is left at the end of all input as a line of its own, or [] when nothing is."""
        last = bytes(self.held)
        self.held.clear()
        return [last] if last else []

    def clear(self) -> None:
        """Forget everything."""
        self.held.clear()
        self._has_line = False

    def _within_limit(self, lines: list[bytes]) -> list[bytes]:
        """Return the `lines` in front of the first that is too long, and overflow if there is one."""
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
