"""The interface between a client's policy and its input and output, and the split of received bytes into answers.

A `Machine` is such a policy. It does no input or output: a shell does that for it. The shell keeps one connection to
the address in `link`, calls a method for each event with the current time, writes what `take_output` returns, and calls
`woken` at the time `wake_at` at the latest.
"""

from typing import Any, Final, Protocol

import msgspec

from kvraft.client.nodes import Address

CONNECT_S: Final = 1.0
"""Longest wait for a connection to one node, seconds."""
SILENCE_S: Final = 3.0
"""Longest silence of a node that owes an answer, seconds. It may be paused or cut off, and another node may lead."""
ANSWER_BYTES_MAX: Final = 256 * 1024 * 1024
"""Longest answer that is accepted. The limits of nodes are much lower."""

_decode_lines: Final = msgspec.json.Decoder(dict[str, Any]).decode_lines


class MalformedAnswer(Exception):
    """The received bytes are no answer of a kvraft node."""


class Link:
    """A connection that a machine asks for: its shell closes any other connection and makes this one."""

    __slots__ = ("address", "begun_at", "is_connected")

    def __init__(self, address: Address, now: float) -> None:
        self.address: Final = address
        self.begun_at: Final = now
        self.is_connected = False


class Machine(Protocol):
    """The client's side of a connection, without input and output. Times are in seconds, and never decrease."""

    @property
    def link(self) -> Link | None:
        """The connection to have now, None for none. A different object means a new connection."""
        ...

    def connected(self, now: float) -> None:
        """The connection is made."""
        ...

    def lost(self, now: float) -> None:
        """The connection is lost, or could not be made."""
        ...

    def received(self, data: bytes, now: float) -> None:
        """The node has sent `data`."""
        ...

    def woken(self, now: float) -> None:
        """The time `wake_at` has come."""
        ...

    def take_output(self) -> bytes:
        """Return the bytes to send now, and clear them."""
        ...

    def wake_at(self) -> float | None:
        """Return the time at which `woken` must be called at the latest; None: never."""
        ...


class Lines:
    """Splits received bytes into answers, in linear time."""

    __slots__ = ("_held", "_size")

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """Return the answers that `data` completes.

        Raises:
            MalformedAnswer: a line is no answer, or is longer than ANSWER_BYTES_MAX.
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
