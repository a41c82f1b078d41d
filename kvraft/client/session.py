"""The session of a client: its writes have numbers, so that one that is sent again is applied once."""

import enum
from typing import Any, Final

from kvraft.client.requests import Answer, Effect, Request, raw

WINDOW: Final = 128
"""Most writes of a session in flight: the cluster keeps the answers to this many numbers."""
TTL_S: Final = 60
"""Time after which an unused session expires, seconds. The next write opens another."""

UNKNOWN_TO_NODE: Final = frozenset({"UNKNOWN_COMMAND", "USAGE", "INVALID", "LEVEL_TOO_LOW"})
"""Answers to SESSION of nodes whose version does not support sessions."""


class _State(enum.Enum):
    NONE = enum.auto()
    OPENING = enum.auto()
    OPEN = enum.auto()
    UNSUPPORTED = enum.auto()
    """The nodes do not support sessions: writes have no numbers, and one whose answer is lost is unknown."""


class Session:
    """The numbers of a client's writes."""

    def __init__(self) -> None:
        self._state = _State.NONE
        self._id = 0
        self._next = 1
        self._under_way: dict[int, Request[Any]] = {}
        """Requests that have a number and no answer, the lowest number first."""
        self.opening: Request[Answer] | None = None
        """The request that opens the session, while it is in flight."""

    def begin(self) -> Request[Answer] | None:
        """Return the request that opens a session, if one is needed and none is in flight."""
        if self._state is not _State.NONE:
            return None
        self._state = _State.OPENING
        self.opening = raw(b"SESSION TTL %d" % TTL_S, Effect.NONE)
        self.opening.is_over = True  # it has no caller
        self.opening.deadline = float("inf")
        return self.opening

    def opened(self, answer: Answer) -> None:
        """The session is open."""
        self.opening = None
        self._id, self._next = answer["client"], 1
        self._under_way.clear()
        self._state = _State.OPEN

    def not_opened(self, *, is_supported: bool = True) -> None:
        """The session was refused, or the answer is lost."""
        self.opening = None
        self._state = _State.NONE if is_supported else _State.UNSUPPORTED

    def admits(self, request: Request[Any]) -> bool:
        """Return whether a request may be sent now; give it a number if it needs one."""
        if request.effect is not Effect.ONCE or request.number or self._state is _State.UNSUPPORTED:
            return True
        if self._state is not _State.OPEN:
            return False
        if self._under_way and self._next - next(iter(self._under_way)) >= WINDOW:
            return False
        request.session, request.number = self._id, self._next
        self._under_way[self._next] = request
        self._next += 1
        return True

    def settled(self, request: Request[Any]) -> None:
        """A request with a number has ended: it will not be sent again."""
        if self._under_way.get(request.number) is request:
            del self._under_way[request.number]

    def expired(self, request: Request[Any]) -> None:
        """The session of a request has expired: the next write opens another one."""
        if request.session == self._id and self._state is _State.OPEN:
            self._state = _State.NONE
            self._under_way.clear()
