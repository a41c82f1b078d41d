"""Detects a connection that is open and carries nothing.

A proxy, a tunnel or a stateful firewall can keep a connection open at both ends and pass no byte. TCP does not detect
that: the proxy acknowledges the bytes. A new connection would work, but none is dialed while the old one is open.

So each end sends something every `INTERVAL_S`, and drops the connection after `MISSED_MAX` intervals without a byte
from the other end. The dialer sends frames; when it has none to send, it sends `frames.KEEP_ALIVE`, a frame without a
message. The acceptor, which otherwise sends nothing after its welcome, sends a blank line. A member of an earlier
version would close the connection at such bytes, so an end sends them only if the other's hello or welcome says
`"keepalive": true`.

If only one direction fails, the end that receives nothing drops the connection. The other end then receives nothing
either and drops it too: after at most twice `MISSED_MAX + 1` intervals, 5 s, the dialer dials again.
"""

from typing import Final

INTERVAL_S: Final = 0.5
"""Between two signs of life on a connection, in seconds."""

MISSED_MAX: Final = 4
"""Most intervals in a row without a byte from the other end. Intervals are counted, and not seconds: while
this process is blocked they count as one, because bytes that arrived meanwhile are not read yet."""

ACCEPTOR_SAYS: Final = b"\n"
"""What the acceptor sends: a blank line."""

SILENT: Final = f"nothing has come on it for {MISSED_MAX * INTERVAL_S:g} s"
"""Why a connection is dropped, for the log."""


class Watch:
    """Counts the intervals in a row without a byte on one connection."""

    __slots__ = ("_missed",)

    def __init__(self) -> None:
        self._missed = 0

    def heard(self) -> None:
        """Record that bytes have arrived."""
        self._missed = 0

    def is_over(self) -> bool:
        """Count the end of an interval; return whether the connection must be dropped."""
        self._missed += 1
        return self._missed > MISSED_MAX
