"""When the server closes a client's connection, and how it does so without losing an answer.

Tools for one request (`echo 'GET a' | nc host 8080`) wait until the server closes, and people who type several lines
expect an answer to each. So:

* no connection closes while an answer is owed;
* after a client's half-close the connection closes after the last answer;
* after a single request the connection closes with its answer;
* several lines are all answered, in order, and the connection closes after a short silence;
* `KEEP` keeps the connection open, and so does a watch until it ends, even after the client's half-close;
* without `KEEP` a connection closes at the latest `idle_s` after its last complete request: neither letters nor blank
  lines keep it open.

Closing takes three steps. A close with unread input makes the kernel send a reset, and a reset makes the client's
kernel discard answers that the client has not read yet. So the server closes its side first, then reads and drops
input until the client closes its side too, and only then closes the connection.
"""

from collections.abc import Callable

from twisted.internet.interfaces import IConsumer, IDelayedCall, IPushProducer, IReactorTime, ITCPTransport

from kvraft.net.write_now import half_close_now
from kvraft.server.limits import ServerLimits


class IClientTransport(ITCPTransport, IConsumer, IPushProducer):
    """The interface of Twisted's TCP connections: they half-close, have a producer, and can be paused."""


class ClosingRule:
    """Decides when to close one connection. Its owner reports events; it calls `close` at most once."""

    def __init__(self, clock: IReactorTime, limits: ServerLimits, close: Callable[[], None]) -> None:
        self._clock = clock
        self._limits = limits
        self._close = close
        self._timer: IDelayedCall | None = None
        self.is_settled = False
        """Whether everything is answered; new input sets it to False, and the rule decides again later."""
        self._asked = 0  # requests at the last decision
        self._asked_at = clock.seconds()
        self.requests = 0
        """Requests so far, without blank lines."""
        self.keeps = False
        """Whether the client asked to keep the connection open."""
        self.watches = False
        """Whether the client has a watch, which keeps the connection open."""
        self.client_finished = False
        """Whether the client has closed its side: no more input comes."""

    def settled(self, *, line_begun: bool) -> None:
        """Called when no answer is owed and no complete line waits. `line_begun`: a part of a line waits."""
        if self.watches:
            pass
        elif self.client_finished:
            self._close()
        elif self.keeps:
            pass
        elif self.requests == 1 and not line_begun:
            # Close at the end of this turn, after a second line that has already arrived has been read.
            self._close_after(0)
        else:
            left_s = self._idle_left_s()
            self._close_after(left_s if self.requests == 0 else min(left_s, self._limits.silence_s))

    def _idle_left_s(self) -> float:
        """Return the time left for the next complete request; it begins when all earlier ones are answered."""
        now = self._clock.seconds()
        if self.requests != self._asked:
            self._asked, self._asked_at = self.requests, now
        return max(0.0, self._asked_at + self._limits.idle_s - now)

    def stop(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close_after(self, delay_s: float) -> None:
        self.is_settled = True
        self.stop()  # Twisted finds a call to make it earlier by a search through all of them
        self._timer = self._clock.callLater(delay_s, self._expired)

    def _expired(self) -> None:
        self._timer = None
        if self.is_settled:
            self._close()


class LingeringClose:
    """Closes one connection, whose protocol reports events and drops all further input."""

    def __init__(self, transport: IClientTransport, clock: IReactorTime, limits: ServerLimits) -> None:
        self._transport = transport
        self._limits = limits
        self._clock = clock
        self._timer: IDelayedCall | None = None
        self._our_side_closed = False

    def begin(self, *, client_finished: bool) -> None:
        """Send all output, then close our side, or the connection if the client's side is closed already."""
        if not client_finished:
            half_close_now(self._transport)
        self._wait()
        if client_finished:
            self._transport.loseConnection()

    def our_side_closed(self) -> None:
        """All output is sent: the client has until the deadline to close its side."""
        self._our_side_closed = True
        if self._timer is not None:
            self._wait()

    def client_finished(self) -> None:
        """No input is left that could turn the close into a reset."""
        self._transport.loseConnection()

    def _wait(self) -> None:
        self.stop()
        limits = self._limits
        self._timer = self._clock.callLater(limits.linger_s if self._our_side_closed else limits.stall_s, self._expired)

    def stop(self) -> None:
        """Stop waiting: the connection is lost."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expired(self) -> None:
        self._timer = None
        if self._our_side_closed:
            self._transport.loseConnection()
        else:
            self._transport.abortConnection()
