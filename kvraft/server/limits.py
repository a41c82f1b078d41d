"""The limits of what a client may cost this node, in bytes and in time."""

from typing import Final

import attrs
from attrs.validators import gt

from kvraft.config import Limits

CONFIGURED: Final = Limits()
"""The defaults of the limits that config.json sets."""


@attrs.frozen(kw_only=True)
class ServerLimits:
    """The limits of the client port: sizes in bytes, times in seconds."""

    clients: int = attrs.field(default=CONFIGURED.clients, validator=gt(0))
    """Client connections that may be open at once. Peers are not counted."""

    silent: int = attrs.field(default=1024, validator=gt(0))
    """Connections that may be open and have sent nothing, or are refused; the oldest is dropped for a new one."""

    connections: int | None = None
    """Connections of all kinds that may be open at once; beyond it a new one is closed without an answer. None: any."""

    line_bytes: int = attrs.field(default=CONFIGURED.line_bytes, validator=gt(0))
    """Longest line, without its line feed. A connection holds at most 64 KiB (one read) more of unexecuted input."""

    client_outbox_bytes: int = attrs.field(default=CONFIGURED.client_outbox_bytes, validator=gt(0))
    """Answers that may wait for one client that does not read; a client with more is dropped."""

    watch_bytes: int = attrs.field(default=CONFIGURED.watch_bytes, validator=gt(0))
    """Events that may wait for one client that does not read; watches with more are ended."""

    watches: int = attrs.field(default=1_000, validator=gt(0))
    """Watches that one client may have on one connection."""

    first_byte_s: float = attrs.field(default=10.0, validator=gt(0))
    """Longest wait for the first byte of a new connection, which selects its protocol."""

    idle_s: float = attrs.field(default=60.0, validator=gt(0))
    """Time after the last complete request, or after the connection was made, until an idle connection is closed."""

    silence_s: float = attrs.field(default=0.1, validator=gt(0))
    """Time without input after the last of several answers, until the connection closes."""

    stall_s: float = attrs.field(default=30.0, validator=gt(0))
    """Longest time for a client to read pending output, before it is dropped."""

    linger_s: float = attrs.field(default=1.0, validator=gt(0))
    """Longest time for a client to close its side, once all output is sent and our side is closed."""
