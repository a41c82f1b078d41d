"""Messages of channels: what a client publishes at one member reaches the subscribers at all of them.

Nothing of it is stored, and it is not in the log. A message goes once to every member to which there is a connection;
one to which too many bytes wait already does not get it. So the core's messages never wait long after those of clients,
and a link is never given up because of them. All that is published in one turn of the reactor shares a frame.

Frames of this kind are sent from feature level 3 on: every member knows them then.
"""

from collections.abc import Callable
from typing import Final

import msgspec
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from kvraft.peers.forwarded import Published
from kvraft.raft import MessageRefused
from kvraft.replica.state import State

PUBLISHING_LEVEL: Final = 3
"""The feature level from which on members know these frames."""
FRAME_BYTES: Final = 256 * 1024
"""A frame that holds so many bytes of channels and messages takes no more."""
OUTBOX_BYTES_MAX: Final = 2 * 1024 * 1024
"""A member to which more bytes wait gets no messages of channels."""

Tell = Callable[[bytes, bytes], object]

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[tuple[bytes, bytes]]).decode


class Publishing:
    """Passes messages on to the other members, and takes theirs."""

    def __init__(self, state: State, clock: IReactorTime) -> None:
        self._state = state
        self._clock = clock
        self._tells: list[Tell] = []
        self._waiting: list[tuple[bytes, bytes]] = []
        """What leaves at the end of this turn."""
        self._bytes = 0
        self._flush: IDelayedCall | None = None

    def follow(self, tell: Tell) -> None:
        """Call `tell` with channel and content of each message that comes from another member."""
        self._tells.append(tell)

    def publish(self, channel: bytes, message: bytes) -> None:
        """Pass a message on, as far as that is possible."""
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
            MessageRefused: no honest member can have sent it.
        """
        try:
            messages = _decode(published.data)
        except msgspec.MsgspecError as error:
            raise MessageRefused(f"messages of channels cannot be read: {error}") from error
        for channel, message in messages:
            for tell in self._tells:
                tell(channel, message)

    def stop(self) -> None:
        """Pass nothing on any more."""
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
