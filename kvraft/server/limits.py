"""What a client may cost this node, and how long it may take."""

from typing import Final

import attrs
from attrs.validators import gt

from kvraft.config import Limits

CONFIGURED: Final = Limits()
"""What config.json sets has its defaults there."""


@attrs.frozen(kw_only=True)
class ServerLimits:
    """The limits of the client port: sizes in bytes, times in seconds."""

    clients: int = attrs.field(default=CONFIGURED.clients, validator=gt(0))
    """Client connections that may be open at once. Peers are not counted."""

    silent: int = attrs.field(default=1024, validator=gt(0))
    """Connections that may be open and have not sent a byte, or are refused; the oldest makes room for the newest."""

    connections: int | None = None
    """Connections that may be open at once, whoever speaks; beyond it a new one is closed without a word. None: any."""

    line_bytes: int = attrs.field(default=CONFIGURED.line_bytes, validator=gt(0))
    """Longest line, without its line feed. Of input that waits, a connection holds 64 KiB (one read) more at most."""

    client_outbox_bytes: int = attrs.field(default=CONFIGURED.client_outbox_bytes, validator=gt(0))
    """Answers that may wait for one client that has to read first; who lets more wait is dropped."""

    watch_bytes: int = attrs.field(default=CONFIGURED.watch_bytes, validator=gt(0))
    """Events that may wait for one client that has to read first; watches that have more to tell are ended."""

    watches: int = attrs.field(default=1_000, validator=gt(0))
    """Watches that one client may have on one connection."""

    first_byte_s: float = attrs.field(default=10.0, validator=gt(0))
    """Until a new connection has said what it speaks."""

    idle_s: float = attrs.field(default=60.0, validator=gt(0))
    """Since the last whole request (since the connection was made, before the first), until a connection is closed."""

    silence_s: float = attrs.field(default=0.1, validator=gt(0))
    """Without input behind the last of several answers, until the connection closes."""

    stall_s: float = attrs.field(default=30.0, validator=gt(0))
    """For a client to read what was written to it, before it is dropped."""

    linger_s: float = attrs.field(default=1.0, validator=gt(0))
    """For a client to close its side, once it was told everything and ours is closed."""
