"""Notices a connection that is open and carries nothing.

A proxy, a tunnel or a stateful firewall can keep a connection open at both ends and pass no byte. TCP does not notice:
the proxy acknowledges what it is sent. A new connection would work, but as long as the old one stands nobody dials.

So each end sends something every `INTERVAL_S` and gives the connection up after `MISSED_MAX` intervals in which nothing
came. The dialer sends frames; where it has none to send it sends `frames.KEEP_ALIVE`, a frame without a message. The
acceptor, which sends nothing after its welcome, sends a blank line. A member of a version that does not know this would
close the connection, so both begin only where the other's hello or welcome says `"keepalive": true`.

If only one direction fails, the end that receives nothing drops the connection. The other end then receives nothing
either and drops it too: after at most twice `MISSED_MAX + 1` intervals, 5 s, the dialer dials again.
"""

from typing import Final

INTERVAL_S: Final = 0.5
"""Between two signs of life on a connection, in seconds."""

MISSED_MAX: Final = 4
"""So many intervals in a row may pass without a byte from the other end. Intervals are counted, and not seconds: those
that pass while this process is held up count as one, for what came meanwhile is not read yet."""

ACCEPTOR_SAYS: Final = b"\n"
"""What the acceptor sends: a blank line."""

SILENT: Final = f"nothing has come on it for {MISSED_MAX * INTERVAL_S:g} s"
"""Why a connection is given up, for the log."""


class Watch:
    """Counts the intervals in which nothing came on one connection."""

    __slots__ = ("_missed",)

    def __init__(self) -> None:
        self._missed = 0

    def heard(self) -> None:
        """Note that something came."""
        self._missed = 0

    def is_over(self) -> bool:
        """Note the end of an interval; return whether the connection is to be given up."""
        self._missed += 1
        return self._missed > MISSED_MAX
