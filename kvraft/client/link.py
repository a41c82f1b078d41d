"""What every conversation with a node has in common: one connection at a time, and chunks of bytes cut into answers.

A `Machine` does no input or output. It is told what happens, with the time, and says what it wants: a shell keeps one
connection to where `link` says, writes what `take_output` returns, and calls `woken` at `wake_at` at the latest.
"""

from typing import Any, Final, Protocol

import msgspec

from kvraft.client.nodes import Address

CONNECT_S: Final = 1.0
"""Longest wait for a connection to one node."""
SILENCE_S: Final = 3.0
"""Longest silence of a node that owes an answer: it may be paused or cut off, and another one may lead by now."""
ANSWER_BYTES_MAX: Final = 256 * 1024 * 1024
"""Longest answer that is taken. A node's own limits are far below."""

_decode_lines: Final = msgspec.json.Decoder(dict[str, Any]).decode_lines


class MalformedAnswer(Exception):
    """What came is no line of a kvraft node."""


class Link:
    """A connection that is wanted: a shell that has another one, or none, drops it and makes this one."""

    __slots__ = ("address", "begun_at", "is_connected")

    def __init__(self, address: Address, now: float) -> None:
        self.address: Final = address
        self.begun_at: Final = now
        self.is_connected = False


class Machine(Protocol):
    """One side of a conversation, without input and output. Times are in seconds, and never go back."""

    @property
    def link(self) -> Link | None:
        """The connection that is wanted now, None for none. Another object is another connection."""
        ...

    def connected(self, now: float) -> None:
        """The connection stands."""
        ...

    def lost(self, now: float) -> None:
        """There is no connection: it could not be made, or has ended."""
        ...

    def received(self, data: bytes, now: float) -> None:
        """The node has sent `data`."""
        ...

    def woken(self, now: float) -> None:
        """Time has passed."""
        ...

    def take_output(self) -> bytes:
        """Return what is to be sent now, once."""
        ...

    def wake_at(self) -> float | None:
        """Return when `woken` must be called at the latest, None for never."""
        ...


class Lines:
    """Cuts what is received into answers, in linear time."""

    __slots__ = ("_held", "_size")

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """Return the answers that `data` completes.

        Raises:
            MalformedAnswer: it is none, or longer than any.
        """
        end = data.rfind(b"\n") + 1
        if not end:
            self._held.append(data)
            self._size += len(data)
            if self._size > ANSWER_BYTES_MAX:
                raise MalformedAnswer
            return []
        whole = data
        if self._held or end < len(data):
            whole = b"".join((*self._held, data[:end]))
            self._held = [data[end:]] if end < len(data) else []
            self._size = len(data) - end
        try:
            return _decode_lines(whole)
        except msgspec.MsgspecError:
            raise MalformedAnswer from None
