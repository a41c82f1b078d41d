"""Published messages: a client publishes at one member, and the subscribers at all members receive the message.

Messages are not stored, and not in the log. A message is sent once to every connected member, except to one for which
too many bytes wait already. So the core's messages never wait long after clients' messages, and no link is aborted
because of them. Everything that is published in one turn of the reactor shares a frame.

These frames are sent from feature level 3 on, when every member supports them.
"""

from collections.abc import Callable
from typing import Final

import msgspec
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from kvraft.peers.forwarded import Published
from kvraft.raft import MessageRefused
from kvraft.replica.state import State

PUBLISHING_LEVEL: Final = 3
"""The feature level from which on every member supports these frames."""
FRAME_BYTES: Final = 256 * 1024
"""A frame with so many bytes of channel names and messages is sent at once."""
OUTBOX_BYTES_MAX: Final = 2 * 1024 * 1024
"""A member for which more bytes wait is sent no published messages."""

Tell = Callable[[bytes, bytes], object]

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[tuple[bytes, bytes]]).decode


class Publishing:
    """Sends published messages to the other members, and takes theirs."""

    def __init__(self, state: State, clock: IReactorTime) -> None:
        self._state = state
        self._clock = clock
        self._tells: list[Tell] = []
        self._waiting: list[tuple[bytes, bytes]] = []
        """(channel, message) of what is sent at the end of this turn."""
        self._bytes = 0
        self._flush: IDelayedCall | None = None

    def follow(self, tell: Tell) -> None:
        """Call `tell` with the channel and the content of each message from another member."""
        self._tells.append(tell)

    def publish(self, channel: bytes, message: bytes) -> None:
        """Send a message to the other members, if they support it."""
        if self._state.store.feature_level < PUBLISHING_LEVEL:
            return
        self._waiting.append((channel, message))
        self._bytes += len(channel) + len(message)
        if self._bytes >= FRAME_BYTES:
            self._send()
        elif self._flush is None:
            self._flush = self._clock.callLater(0, self._flushed)

    def _flushed(self) -> None:
        self._flush = None
        if self._waiting:
            self._send()

    def _send(self) -> None:
        message = Published(_encode(self._waiting))
        self._waiting, self._bytes = [], 0
        self._state.peers.send(
            [
                (peer, message)
                for peer, status in self._state.peers.status().items()
                if status.connected and status.outbox_bytes <= OUTBOX_BYTES_MAX
            ]
        )

    def received(self, published: Published) -> None:
        """Take messages of another member.

        Raises:
            MessageRefused: no correct member can have sent it.
        """
        try:
            messages = _decode(published.data)
        except msgspec.MsgspecError as error:
            raise MessageRefused(f"messages of channels cannot be read: {error}") from error
        for channel, message in messages:
            for tell in self._tells:
                tell(channel, message)

    def stop(self) -> None:
        """Send nothing more."""
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
