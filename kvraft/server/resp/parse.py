"""Cuts what a Redis client sends into commands: arrays of byte strings, or lines of words.

hiredis reads whole chunks of them at once. It is given no input that it would have to keep, and none that lets it
reserve memory for what has not arrived. It accepts more than a server must, so what it makes of a chunk is checked as a
whole, and everything unusual (a command that has arrived in part, long arrays, other types, mistakes) is read again by
`Framer`, which is exact and slow. What waits is one command that has not arrived as a whole, of at most `bytes_max`.
"""

import re
from itertools import chain
from typing import Final

import hiredis

ARGUMENTS_MAX: Final = 128 * 1024
"""Most arguments of one command, its name included. Redis allows eight times as many."""
INLINE_BYTES_MAX: Final = 1_024
"""Longest command that is written as a line of words, without its end."""
HEADER_BYTES_MAX: Final = 32
"""Longest line that holds a length, without its end."""

Command = list[bytes]

_LONG_ARRAY: Final = re.compile(rb"\*[0-9]{5}").search
_LONG_AGGREGATE: Final = re.compile(rb"[~>%|][0-9]{5}").search
_AGGREGATES: Final = (b"~", b">", b"%", b"|")
_NOTHING_LEFT: Final = object()
_MARK: Final = b":0\r\n"
_ARGUMENT: Final = b"\r\n$"


class ProtocolViolation(Exception):
    """What the client sends is no command, and nothing after it can be read. The text is Redis' own."""


class Framer:
    """Reads commands from input that arrives in pieces of any size; the work is linear in the input."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._input = bytearray()
        self._position = 0
        """Where that begins which was not read yet; what stands before is dropped once for each piece."""
        self._awaited = 0
        """Arguments that the command still lacks; 0 between two commands."""
        self._length: int | None = None
        """Of the argument whose content is read; None: its header is awaited."""
        self._arguments: Command = []
        self._taken = 0
        """Bytes of this command that were read already."""

    @property
    def held(self) -> int:
        """Bytes of a command that has not arrived as a whole."""
        return self._taken + len(self._input) - self._position

    def feed(self, data: bytes) -> Command | None:
        """Take input; return the next command, or None while none is whole.

        Raises:
            ProtocolViolation: it is none.
        """
        del self._input[: self._position]
        self._position = 0
        self._input += data
        while True:
            if self._length is None:
                line = self._take_line()
                if line is None:
                    return None
                if self._awaited:
                    self._begin_argument(line)
                elif words := self._begin_command(line):
                    return words
            elif len(self._input) < self._position + self._length + 2:
                return None
            else:
                self._end_argument(self._length)
                if self._awaited == 0:
                    command, self._arguments, self._taken = self._arguments, [], 0
                    return command

    def take_rest(self) -> bytes:
        """Return the input after the last command, and keep nothing."""
        rest = bytes(self._input[self._position :])
        self._input.clear()
        self._position = 0
        return rest

    def _take_line(self) -> bytes | None:
        """Return the next header; None while its end has not arrived."""
        begin = self._position
        if not self._awaited and len(self._input) > begin and self._input[begin] not in b"*\r":
            return self._take_inline()
        end = self._input.find(b"\r\n", begin, begin + HEADER_BYTES_MAX + 2)
        if end >= 0:
            self._position = end + 2
            self._taken += end + 2 - begin
            return bytes(self._input[begin:end])
        waiting = len(self._input) - begin
        if waiting:
            first, wanted = self._input[begin], b"$" if self._awaited else b"*"
            if first not in (*wanted, ord("\r")):
                raise ProtocolViolation(_expected(wanted, first))
            if waiting > HEADER_BYTES_MAX + 1:
                raise ProtocolViolation("too big bulk count string" if self._awaited else "too big mbulk count string")
        return None

    def _take_inline(self) -> bytes | None:
        """Return a line of words; None while its end has not arrived."""
        begin = self._position
        end = self._input.find(b"\n", begin, begin + INLINE_BYTES_MAX + 2)
        if end < 0:
            if len(self._input) - begin > INLINE_BYTES_MAX + 1:
                raise ProtocolViolation("too big inline request")
            return None
        self._position = end + 1
        return bytes(self._input[begin:end])

    def _begin_command(self, line: bytes) -> Command | None:
        """Take the header of a command; return a command of a line, which is whole."""
        begun, self._taken = self._taken, 0
        if not line.startswith(b"*"):
            return line.split()  # of a blank line, which Redis skips too, nothing is left
        count = _number(line[1:])
        if count is None or count > ARGUMENTS_MAX:
            raise ProtocolViolation("invalid multibulk length")
        if count > 0:
            self._awaited, self._taken = count, begun
        return None

    def _begin_argument(self, line: bytes) -> None:
        if not line.startswith(b"$"):
            raise ProtocolViolation(_expected(b"$", line[0] if line else ord("\r")))
        length = _number(line[1:])
        if length is None or length < 0 or length > self._bytes_max:
            raise ProtocolViolation("invalid bulk length")
        if self._taken + length > self._bytes_max:
            raise ProtocolViolation(f"a command has at most {self._bytes_max} bytes here, see limits.line_bytes")
        self._length = length

    def _end_argument(self, length: int) -> None:
        begin = self._position
        self._arguments.append(bytes(self._input[begin : begin + length]))
        self._position += length + 2  # Redis does not look either at the two bytes that end an argument
        self._taken += length + 2
        self._length = None
        self._awaited -= 1


def _expected(wanted: bytes, found: int) -> str:
    return f"expected '{wanted.decode()}', got '{chr(found)}'"


def _number(digits: bytes) -> int | None:
    """Return the number in a header, written as Redis writes it, or None."""
    unsigned = digits.removeprefix(b"-")
    if not unsigned.isdigit() or (unsigned[:1] == b"0" and digits != b"0"):
        return None
    return int(digits)


class CommandReader:
    """Reads all commands of a chunk at once."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._framer = Framer(bytes_max)
        self._reader = _new_reader()
        self.violation: str | None = None
        """Why nothing more can be read, in Redis' words."""

    @property
    def held(self) -> int:
        """Bytes of a command that has not arrived as a whole."""
        return self._framer.held

    def take(self, data: bytes) -> list[Command]:
        """Return the commands that `data` completes; see `violation` afterwards."""
        if self.violation is not None:
            return []
        if not self._framer.held:
            commands = self._read_at_once(data)
            if commands is not None:
                return commands
        return self._read_exactly(data)

    def _read_at_once(self, data: bytes) -> list[Command] | None:
        """Return the commands of `data` if it holds nothing else, and all of them are usual ones; else None."""
        if _LONG_ARRAY(data) or (any(kind in data for kind in _AGGREGATES) and _LONG_AGGREGATE(data)):
            return None
        reader = self._reader
        gets = reader.gets
        commands: list[Command] = []
        try:
            reader.feed(data)
            while (command := gets()) is not _NOTHING_LEFT:
                commands.append(command)
            # A number of our own: if it does not come back alone, it has become part of a command that was cut.
            reader.feed(_MARK)
            if type(gets()) is int and _are_commands(commands, data):
                return commands
        except (hiredis.ProtocolError, TypeError):  # TypeError: something else than arrays of byte strings
            pass
        self._reader = _new_reader()
        return None

    def _read_exactly(self, data: bytes) -> list[Command]:
        """Return the commands of `data`, whatever it is; keep the beginning of one that has not arrived as a whole."""
        commands: list[Command] = []
        framer = self._framer
        try:
            if framer.held:
                command = framer.feed(data)
                if command is None:
                    return commands
                commands.append(command)
                data = framer.take_rest()
            # Most often only the last command is cut: then those before it are read at once.
            last = data.rfind(b"\r\n*") + 2
            if last >= 2:  # noqa: PLR2004 - found
                before = self._read_at_once(data[:last])
                if before is not None:
                    commands += before
                    data = data[last:]
            while (command := framer.feed(data)) is not None:
                commands.append(command)
                data = b""
        except ProtocolViolation as violation:
            self.violation = str(violation)
        return commands

    def clear(self) -> None:
        """Drop what is held."""
        self._framer = Framer(self._bytes_max)


def _new_reader() -> hiredis.Reader:
    return hiredis.Reader(notEnoughData=_NOTHING_LEFT)


def _are_commands(commands: list[Command], data: bytes) -> bool:
    """Whether all of `commands`, of which `data` consists, are arrays of at least one bulk string.

    hiredis gives simple strings and big numbers as bytes, too: those do not begin with a `$`. So there must be a `$`
    for each argument, and none within one.

    Raises:
        TypeError: something is neither an array nor a byte string.
    """
    content = b"".join(chain.from_iterable(commands))
    return all(commands) and sum(map(len, commands)) == data.count(_ARGUMENT) and _ARGUMENT not in content
