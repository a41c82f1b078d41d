"""The policy of a client: which node to ask, what to send again, and when to give up. It does no input or output.

Requests are sent in the order in which they were submitted, pipelined on one connection to the presumed leader; answers
come back in that order. A request ends in one of these ways:

* The answer is a result or a definite error: the request ends with it.
* The node refuses for now (`NOT_LEADER`, `OVERLOADED`, `TIMEOUT`, `STOPPING`, `STATE_DIFFERS`, `BUSY`): the request
  certainly had no effect. Until its deadline it is sent again, to the hinted leader, or to a node after a back-off.
* `UNKNOWN`, or the connection ends before the answer: a read is sent again, and so is a write that has a number within
  a session, which is applied once however often it is sent. A write without a session ends with `OutcomeUnknown`: to
  send it again could apply it twice.
* Its deadline passes: it ends with `Unavailable` if it certainly had no effect, else with `OutcomeUnknown`.

A connection to a node that has answered `NOT_LEADER` is closed only after every request on it is answered, so that a
change of leader leaves no outcome unknown that the node can report.
"""

from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final

from kvraft.client.errors import ClientClosed, ClientError, InvalidRequest, Unavailable, from_answer, unknown
from kvraft.client.link import CONNECT_S, SILENCE_S, Lines, Link, MalformedAnswer
from kvraft.client.nodes import Address
from kvraft.client.requests import Answer, Effect, Request, raw
from kvraft.client.route import Route
from kvraft.client.session import UNKNOWN_TO_NODE, Session

TIMEOUT_S: Final = 10.0
"""Default time for a request including all attempts, seconds."""
PENDING_MAX: Final = 100_000
"""Most requests of one client that wait at a time."""

_AGAIN_HERE: Final = frozenset({"OVERLOADED", "BUSY"})
_AGAIN: Final = _AGAIN_HERE | {"NOT_LEADER", "STOPPING", "STATE_DIFFERS", "TIMEOUT"}
_UNKNOWN: Final = frozenset({"UNKNOWN", "INTERNAL"})
_NUMBER_REFUSED: Final = frozenset({"SESSION_EXPIRED", "NUMBER_TOO_LOW"})
_AS_OVERLOADED: Final = {"SESSIONS_FULL": "OVERLOADED", "QUOTA_EXCEEDED": "OVERLOADED"}
"""Refusals of a session that may be opened a moment later."""
_LINE_TOO_LONG: Final = "LINE_TOO_LONG"

Finished = tuple[Request[Any], Any, ClientError | None]
"""A request with its result, or with the error that it ended with."""


class Channel:
    """The requests of one client to its cluster; a `Machine`.

    Args:
        nodes: the addresses of the cluster.
        random: for the back-off.
        pending_max: most requests that wait at a time.
        exactly_once: whether writes have numbers, so that they can be sent again.
        is_cancelled: whether the caller of a request has given it up, so that it is not sent (again).
    """

    def __init__(
        self,
        nodes: Sequence[Address],
        random: Random,
        pending_max: int = PENDING_MAX,
        *,
        exactly_once: bool = False,
        is_cancelled: Callable[[Request[Any]], bool] = lambda _: False,
    ) -> None:
        self.route: Final = Route(nodes, random)
        self.link: Link | None = None
        self._pending_max = pending_max
        self._is_cancelled = is_cancelled
        self._queue: deque[Request[Any]] = deque()
        """Requests to send, in order."""
        self._owed: deque[Request[Any]] = deque()
        """Requests that were sent on this connection and are not answered, in order."""
        self._again: list[Request[Any]] = []
        """Requests that were refused for now; the next step puts them at the front of the queue."""
        self._output: list[bytes] = []
        self._lines = Lines()
        self._is_leaving = False
        """Whether this connection is closed as soon as every request on it is answered."""
        self._hold_until = 0.0
        """Before this time nothing is sent, and no connection is made."""
        self._heard_at = 0.0
        """When the node last sent something, or was sent a request while it owed no answer."""
        self._soonest = float("inf")
        """A lower bound of all deadlines."""
        self._session = Session() if exactly_once else None
        self._waits_for_session = False
        """Whether the first request of the queue, and so all after it, must wait for the session."""
        self._finished: list[Finished] = []
        self._is_closed = False
        self.silence_s = SILENCE_S
        """Longest silence of a node that owes an answer, seconds; longer on a connection that waits for a lock."""

    # --- called by a shell -------------------------------------------------------------------------------------------

    def take_finished(self) -> list[Finished]:
        """Return the requests that have ended since the last call."""
        finished, self._finished = self._finished, []
        return finished

    def take_output(self) -> bytes:
        """Return the bytes to send now, and clear them."""
        output, self._output = self._output, []
        return b"".join(output)

    def wake_at(self) -> float | None:
        """Return when `woken` must be called at the latest, None for never."""
        if not (self._queue or self._owed):
            return None
        link, soonest = self.link, self._soonest
        if link is None:
            return min(soonest, self._hold_until)
        if not link.is_connected:
            return min(soonest, link.begun_at + CONNECT_S)
        if self._owed:
            soonest = min(soonest, self._heard_at + self.silence_s)
        can_send = self._queue and not self._is_leaving and not self._waits_for_session
        return min(soonest, self._hold_until) if can_send else soonest

    # --- events ------------------------------------------------------------------------------------------------------

    def submit(self, request: Request[Any], now: float, timeout_s: float = TIMEOUT_S) -> None:
        """Queue or send a request; it ends after `timeout_s` at the latest.

        Raises:
            InvalidRequest: it has ended already. A request holds what became of it, so each is executed once.
        """
        if request.is_over:
            raise InvalidRequest("this request has been executed; make a new one")
        if self._is_closed:
            self._end(request, ClientClosed("the client is closed; make another one"))
            return
        if len(self._queue) + len(self._owed) + len(self._again) >= self._pending_max:
            self._end(request, Unavailable(f"{self._pending_max} requests wait already; wait for some of them"))
            return
        request.deadline = deadline = now + timeout_s
        self._soonest = min(self._soonest, deadline)
        link = self.link
        can_send = link is not None and link.is_connected and not self._is_leaving and now >= self._hold_until
        if can_send and not self._queue and (self._session is None or self._session.admits(request)):
            self._send(request, now)
        else:
            self._queue.append(request)
            self._step(now)

    def connected(self, now: float) -> None:
        """The connection is made: send KEEP, and right after it the requests that wait."""
        assert self.link is not None, "a connection was made that was not asked for"
        self.link.is_connected = True
        keep = raw(b"KEEP", Effect.NONE)
        keep.is_over = True
        keep.deadline = float("inf")
        self._send(keep, now)
        self._step(now)

    def lost(self, now: float) -> None:
        """The connection is lost: turn to another node, and send again or end what was not answered."""
        if self.link is None:
            return
        was_used = not self.link.is_connected or bool(self._owed)
        self._drop()
        # The close of an idle connection, as when its node stops, needs no back-off.
        pause_s = self.route.failed()
        if was_used:
            self._hold_until = now + pause_s
        self._step(now)

    def received(self, data: bytes, now: float) -> None:
        """The node has sent `data`: the next answers, in order."""
        self._heard_at = now
        try:
            answers = self._lines.feed(data)
        except MalformedAnswer:
            self.lost(now)
            return
        owed, finished = self._owed, self._finished
        succeeded = False
        for answer in answers:
            if not owed:  # an answer without a request: no kvraft node, or one that is closing
                self.lost(now)
                return
            request = owed.popleft()
            if "error" in answer:
                self._refused(request, answer, now)
                continue
            if self._session is not None and request is self._session.opening:
                self._session.opened(answer)
            elif not request.is_over:
                succeeded = request.is_over = True
                if request.number and self._session is not None:
                    self._session.settled(request)
                try:
                    finished.append((request, request.read(answer), None))
                except (KeyError, ValueError, TypeError, AttributeError) as error:
                    finished.append((request, None, unknown(f"the answer {answer} is not understood ({error!r})")))
        if succeeded and not self._is_leaving:
            self.route.succeeded()
        self._step(now)

    def woken(self, now: float) -> None:
        """Time has passed: end requests past their deadline, and drop a connection that is silent for too long."""
        if now >= self._soonest:
            self._expire(now)
        link = self.link
        if link is not None and (
            (not link.is_connected and now >= link.begun_at + CONNECT_S)
            or (link.is_connected and self._owed and now >= self._heard_at + self.silence_s)
        ):
            self.lost(now)
        else:
            self._step(now)

    def close(self) -> None:
        """Close the client: requests that were not sent end with `ClientClosed`, writes that were sent are unknown."""
        self._is_closed = True
        self._drop()
        for request in self._queue:
            self._give_up(request, ClientClosed("the client was closed before this was sent"))
        self._queue.clear()

    # --- sending -----------------------------------------------------------------------------------------------------

    def _step(self, now: float) -> None:
        """Do what can be done now: close the connection, connect, or send."""
        if self._is_leaving and not self._owed:
            self._drop()
        if self._again and not self._is_leaving:
            self._queue.extendleft(reversed(self._again))
            self._again.clear()
        if not self._queue or now < self._hold_until or self._is_closed:
            return
        if self.link is None:
            self.link = Link(self.route.node, now)
        elif self.link.is_connected and not self._is_leaving:
            self._send_queue(now)

    def _send_queue(self, now: float) -> None:
        """Send the queue, up to the first write that needs a session, or needs an earlier write to be answered."""
        queue, session = self._queue, self._session
        self._waits_for_session = False
        while queue:
            request = queue[0]
            if not request.is_over and self._is_cancelled(request):
                self._end(request, ClientClosed("it was cancelled before it was sent"))
            if session is not None and not request.is_over and not session.admits(request):
                self._waits_for_session = True
                opening = session.begin()
                if opening is not None:
                    self._send(opening, now)
                return
            queue.popleft()
            if not request.is_over:
                self._send(request, now)

    def _send(self, request: Request[Any], now: float) -> None:
        if not self._owed:
            self._heard_at = now
        self._owed.append(request)
        number = request.number
        self._output.append(
            b"#%d:%d %b\n" % (request.session, number, request.line) if number else request.line + b"\n"
        )

    # --- the end of a request ----------------------------------------------------------------------------------------

    def _refused(self, request: Request[Any], answer: Answer, now: float) -> None:
        """Handle an error: end the request with it, or send the request again."""
        code = answer["error"]
        session = self._session
        if session is not None and request is session.opening:
            session.not_opened(is_supported=code not in UNKNOWN_TO_NODE)
            if code in UNKNOWN_TO_NODE:
                return
            code = _AS_OVERLOADED.get(code, code)
        elif code in _UNKNOWN and request.number:
            request.may_have_happened = True
        elif code in _NUMBER_REFUSED and session is not None:
            self._renumber(session, request, answer)
            return
        is_again = code in _AGAIN or (code in _UNKNOWN and (request.effect is Effect.NONE or request.number))
        if not is_again:
            self._end(request, from_answer(answer))
            if code == _LINE_TOO_LONG:  # the connection closes, and what was sent after it is not carried out
                self._again += self._owed
                self._owed.clear()
                self._is_leaving = True
            return
        request.refusal = answer
        if not request.is_over:
            self._again.append(request)
        # Only the first refusal of a connection counts: the others have the same cause.
        if code in _AGAIN_HERE:
            if now >= self._hold_until:
                self._hold_until = now + self.route.pause()
        elif not self._is_leaving:
            self._is_leaving = True
            pause_s = self.route.hinted(answer.get("leader_hint")) if code == "NOT_LEADER" else self.route.failed()
            self._hold_until = max(self._hold_until, now + pause_s)

    def _renumber(self, session: Session, request: Request[Any], answer: Answer) -> None:
        """The node dropped a number's answer: the request was not applied now, but may have been when sent first."""
        if answer["error"] == "SESSION_EXPIRED":
            session.expired(request)
        session.settled(request)
        if request.may_have_happened:
            self._end(request, lost_answer(request))
        elif not request.is_over:
            request.number = 0
            self._again.append(request)

    def _drop(self) -> None:
        """Close the connection; requeue unanswered requests that may be sent again, in order, and end the others."""
        self.link = None
        self._is_leaving = False
        self._lines = Lines()
        self._output.clear()
        owed, self._owed = self._owed, deque()
        again, self._again = self._again, []
        for request in owed:
            if self._session is not None and request is self._session.opening:
                self._session.not_opened()
            if request.is_over:
                continue
            if (request.effect is Effect.NONE or request.number) and not self._is_closed:
                request.may_have_happened = request.effect is not Effect.NONE
                again.append(request)
            else:
                self._end(request, lost_answer(request))
        self._queue.extendleft(reversed(again))

    def _expire(self, now: float) -> None:
        self._queue = deque(request for request in self._queue if not self._has_expired(request, now))
        for request in self._owed:
            if request.deadline <= now and not request.is_over:
                self._end(request, _too_late(request) if request.effect is Effect.NONE else lost_answer(request))
        self._soonest = min(
            (
                request.deadline
                for some in (self._queue, self._owed, self._again)
                for request in some
                if not request.is_over
            ),
            default=float("inf"),
        )

    def _has_expired(self, request: Request[Any], now: float) -> bool:
        if request.deadline > now:
            return False
        self._give_up(request, _too_late(request))
        return True

    def _give_up(self, request: Request[Any], error: ClientError) -> None:
        """End a request that is not in flight."""
        if not request.is_over:
            self._end(request, lost_answer(request) if request.may_have_happened else error)

    def _end(self, request: Request[Any], error: ClientError) -> None:
        if not request.is_over:
            request.is_over = True
            self._finished.append((request, None, error))
            if request.number and self._session is not None:
                self._session.settled(request)


def lost_answer(request: Request[Any]) -> ClientError:
    """Return the error for a request that may have been sent, and whose answer will not come."""
    if request.effect is Effect.NONE:
        return Unavailable("the answer did not come; try again")
    return unknown("the answer did not come, or the connection ended before it")


def _too_late(request: Request[Any]) -> ClientError:
    if request.refusal is None:
        return Unavailable("no node was reached in time that leads; are the nodes running, and the addresses right?")
    last = from_answer(request.refusal)
    return Unavailable(f"not carried out in time; the last refusal: {last}", last.code, request.refusal)
