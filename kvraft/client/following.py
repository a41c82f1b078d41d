"""The policy of a watch: it goes on after each failure, on any node, and tells each event once. No input or output.

Events are handed on by whole revisions: where a connection ends between two events of one transaction, the first is
not told, and both are asked for again.
"""

from collections import deque
from collections.abc import Sequence
from random import Random
from typing import Any, Final

from kvraft.client.errors import ClientClosed, ClientError, from_answer
from kvraft.client.link import CONNECT_S, SILENCE_S, Lines, Link, MalformedAnswer
from kvraft.client.nodes import Address
from kvraft.client.quoting import argument, quoted
from kvraft.client.route import Route
from kvraft.client.values import Event, Text, read_event, to_bytes

WATCH_SILENCE_S: Final = 15.0
"""Longest silence of a node that serves a watch: it tells its progress every 10 s, and with thousands of watches a
second later (docs/watches.md)."""
EVENTS_HELD_MAX: Final = 1_000
"""Events that wait for the caller before the connection is read no further."""

_FINAL: Final = frozenset({"COMPACTED", "INVALID", "USAGE", "UNKNOWN_COMMAND", "LEVEL_TOO_LOW", "LINE_TOO_LONG"})
"""Errors that a watch meets on every node alike."""


def watch_key(key: Text) -> bytes:
    """Return how a watch of a key is written."""
    name = to_bytes(key)
    return b"WATCH " + (quoted(name) if name.upper() == b"PREFIX" else argument(name))


def watch_prefix(start: Text) -> bytes:
    """Return how a watch of all keys that begin so is written."""
    return b"WATCH PREFIX " + argument(to_bytes(start))


class Following:
    """One watch; a `Machine`.

    Args:
        written: the command, without the revision from which it begins.
        first: the revision from which it begins; None: what comes from now on.
        with_previous: whether events tell what stood there before.
        nodes: where the cluster is.
        random: for the choice of nodes and the back-off.
    """

    def __init__(
        self,
        written: bytes,
        first: int | None,
        nodes: Sequence[Address],
        random: Random,
        *,
        with_previous: bool = False,
    ) -> None:
        self._route = Route(nodes, random)
        self._written = written
        self._with_previous = with_previous
        self._random = random
        self.link: Link | None = None
        self.events: deque[Event] = deque()
        """What is to be told; the shell takes it from the left."""
        self.error: ClientError | None = None
        """Why it has ended, for the caller to see after the events."""
        self.revision: int | None = None
        """The revision that the store had when the watch stood first; None until it does."""
        self.next_revision = first
        """The first revision that was not told completely."""
        self._partial: list[Event] = []
        """Those of a revision of which another one follows."""
        self._output: list[bytes] = []
        self._lines = Lines()
        self._hold_until = 0.0
        self._heard_at = 0.0
        self._stands = False
        """Whether this connection's node has taken the watch."""

    @property
    def is_full(self) -> bool:
        """Whether the caller has to take events before more are read."""
        return len(self.events) >= EVENTS_HELD_MAX

    def take_output(self) -> bytes:
        """Return what is to be sent now, once."""
        output, self._output = self._output, []
        return b"".join(output)

    def wake_at(self) -> float | None:
        """Return when `woken` must be called at the latest."""
        if self.error is not None:
            return None
        if self.link is None:
            return self._hold_until
        if not self.link.is_connected:
            return self.link.begun_at + CONNECT_S
        return self._heard_at + (WATCH_SILENCE_S if self._stands else SILENCE_S)

    def connected(self, now: float) -> None:
        """The connection stands: ask."""
        assert self.link is not None, "a connection was made that nobody wanted"
        self.link.is_connected = True
        self._heard_at = now
        from_ = b"" if self.next_revision is None else b" FROM %d" % self.next_revision
        self._output.append(self._written + from_ + (b" PREV" if self._with_previous else b"") + b"\n")

    def lost(self, now: float) -> None:
        """There is no connection any more: go on at another node."""
        if self.link is not None:
            self._go_on(now, self._route.failed())

    def received(self, data: bytes, now: float) -> None:
        """The node has sent `data`."""
        self._heard_at = now
        link = self.link
        try:
            for answer in self._lines.feed(data):
                self._take(answer, now)
                if self.link is not link:
                    return
        except (MalformedAnswer, KeyError, ValueError, TypeError):
            self.lost(now)

    def woken(self, now: float) -> None:
        """Time has passed."""
        if self.error is not None:
            return
        wake_at = self.wake_at()
        if self.link is not None and wake_at is not None and now >= wake_at and not self.is_full:
            self.lost(now)
        if self.link is None and now >= self._hold_until:
            self.link = Link(self._route.node, now)

    def resumed(self, now: float) -> None:
        """The caller has taken events, and the connection is read again: what was silence was ours."""
        self._heard_at = now

    def close(self) -> None:
        """End it."""
        self.link = None
        if self.error is None:
            self.error = ClientClosed("the watch was closed")

    # --- what a node says --------------------------------------------------------------------------------------------

    def _take(self, answer: dict[str, Any], now: float) -> None:
        event = answer.get("event")
        if event is None:
            self._take_other(answer, now)
        elif event == "PROGRESS":
            self.next_revision = answer["revision"] + 1
        else:
            told = read_event(answer)
            self._partial.append(told)
            if not told.more:
                self.events.extend(self._partial)
                self._partial.clear()
                self.next_revision = told.revision + 1

    def _take_other(self, answer: dict[str, Any], now: float) -> None:
        """Take the answer to the request, or the end of the watch."""
        code = answer.get("error")
        if code is None:
            self._stands = True
            self._route.succeeded()
            if self.revision is None:
                self.revision = answer["revision"]
            if self.next_revision is None:
                self.next_revision = answer["revision"] + 1
        elif code in _FINAL:
            self.error = from_answer(answer)
            self.link = None
        elif code == "SLOW_WATCHER":  # the rest was told; nothing is wrong with the node
            self._go_on(now, 0.0)
        else:
            self._go_on(now, self._route.failed())

    def _go_on(self, now: float, pause_s: float) -> None:
        self.link = None
        self._lines = Lines()
        self._partial.clear()
        self._output.clear()
        self._stands = False
        self._hold_until = now + pause_s
        self.woken(now)
