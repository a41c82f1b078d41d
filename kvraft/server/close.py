"""When a client's connection closes by itself, and how: no answer is lost on the way.

Tools for one request (`echo 'GET a' | nc host 8080`) wait until the server closes, and people who type several lines
want all of them answered. So:

* nothing closes while an answer is owed;
* behind a client's half-close the connection closes after the last answer;
* one request alone is answered and closed;
* several lines are all answered, in order, and the connection closes after a short silence;
* `KEEP` makes it stay, and so does a watch as long as it stands, even after the client's half-close;
* without it a connection closes `idle_s` after its last whole request at the latest: neither letters nor blank lines
  keep it open.

Closing takes three steps. A close with input unread makes the kernel send a reset, and a reset makes the client's
kernel throw away answers that the client has not read yet. So our side closes first, input is read and dropped until
the client's side closes too, and only then the connection is given up.
"""

from collections.abc import Callable

from twisted.internet.interfaces import IConsumer, IDelayedCall, IPushProducer, IReactorTime, ITCPTransport

from kvraft.server.limits import ServerLimits


class IClientTransport(ITCPTransport, IConsumer, IPushProducer):
    """What Twisted's TCP connections are: they half-close, have a producer, and can be paused."""


class ClosingRule:
    """Decides when to close one connection. It must be told what happens, and calls `close` at most once."""

    def __init__(self, clock: IReactorTime, limits: ServerLimits, close: Callable[[], None]) -> None:
        self._clock = clock
        self._limits = limits
        self._close = close
        self._timer: IDelayedCall | None = None
        self.is_settled = False
        """Whether everything is answered; input makes it False, and what was decided is decided anew later."""
        self._asked = 0  # requests at the last decision
        self._asked_at = clock.seconds()
        self.requests = 0
        """Requests so far. Blank lines are none."""
        self.keeps = False
        """Whether the client asked for the connection to stay."""
        self.watches = False
        """Whether the client is told of changes: the connection stays meanwhile."""
        self.client_finished = False
        """Whether the client has closed its side: no more input comes."""

    def settled(self, *, line_begun: bool) -> None:
        """Note that nothing is owed and no whole line waits. `line_begun`: a piece of a line does."""
        if self.watches:
            pass
        elif self.client_finished:
            self._close()
        elif self.keeps:
            pass
        elif self.requests == 1 and not line_begun:
            # Not at once: at the end of this turn, when a second line that is already here has been read.
            self._close_after(0)
        else:
            left_s = self._idle_left_s()
            self._close_after(left_s if self.requests == 0 else min(left_s, self._limits.silence_s))

    def _idle_left_s(self) -> float:
        """Return how long the client may wait with its next whole request; the time begins when all is answered."""
        now = self._clock.seconds()
        if self.requests != self._asked:
            self._asked, self._asked_at = self.requests, now
        return max(0.0, self._asked_at + self._limits.idle_s - now)

    def stop(self) -> None:
        """Decide nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close_after(self, delay_s: float) -> None:
        self.is_settled = True
        if self._timer is None:
            self._timer = self._clock.callLater(delay_s, self._expired)
        else:
            self._timer.reset(delay_s)

    def _expired(self) -> None:
        self._timer = None
        if self.is_settled:
            self._close()


class LingeringClose:
    """Carries out the close of one connection, whose protocol passes on what happens and drops all further input."""

    def __init__(self, transport: IClientTransport, clock: IReactorTime, limits: ServerLimits) -> None:
        self._transport = transport
        self._limits = limits
        self._clock = clock
        self._timer: IDelayedCall | None = None
        self._our_side_closed = False

    def begin(self, *, client_finished: bool) -> None:
        """Send what is written, then close our side; all of it when the client's is closed already."""
        self._timer = self._clock.callLater(self._limits.stall_s, self._expired)
        if client_finished:
            self._transport.loseConnection()
        else:
            self._transport.loseWriteConnection()

    def our_side_closed(self) -> None:
        """Everything is sent: the client has until the deadline to close its side."""
        self._our_side_closed = True
        if self._timer is not None:
            self._timer.reset(self._limits.linger_s)

    def client_finished(self) -> None:
        """No input is left that could turn the close into a reset."""
        self._transport.loseConnection()

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
