"""The policy of a watch: it continues after each failure, on any node, and delivers each event once. It does no I/O.

Events are delivered by whole revisions: if a connection ends between two events of one transaction, the first is
discarded, and both are asked for again.
"""

from collections import deque
from collections.abc import Sequence
from random import Random
from typing import Any, Final

from kvraft.client.errors import ClientClosed, ClientError, from_answer
from kvraft.client.link import CONNECT_S, SILENCE_S, Lines, Link, MalformedAnswer
from kvraft.client.nodes import Address
from kvraft.client.numbers import first_revision
from kvraft.client.quoting import argument, quoted
from kvraft.client.route import Route
from kvraft.client.values import Event, Text, read_event, to_bytes

WATCH_SILENCE_S: Final = 15.0
"""Longest silence of a node that serves a watch, seconds: the node sends its progress every 10 s, and up to a second
later with thousands of watches (docs/watches.md)."""
EVENTS_HELD_MAX: Final = 1_000
"""Events that wait for the caller before reading from the connection is paused."""

_FINAL: Final = frozenset({"COMPACTED", "INVALID", "USAGE", "UNKNOWN_COMMAND", "LEVEL_TOO_LOW", "LINE_TOO_LONG"})
"""Errors that every node would answer: the watch ends with them."""


def watch_key(key: Text) -> bytes:
    """Return the command that watches a key."""
    name = to_bytes(key)
    return b"WATCH " + (quoted(name) if name.upper() == b"PREFIX" else argument(name))


def watch_prefix(start: Text) -> bytes:
    """Return the command that watches all keys with a prefix."""
    return b"WATCH PREFIX " + argument(to_bytes(start))


class Following:
    """One watch; a `Machine`.

    Args:
        written: the command, without the revision from which it begins.
        first: the revision from which it begins; None: the next one.
        with_previous: whether events hold the item before the change.
        nodes: the addresses of the cluster.
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
        """Events to deliver; the shell takes them from the left."""
        self.error: ClientError | None = None
        """The error with which the watch has ended; the caller gets it after the events."""
        self.revision: int | None = None
        """The revision of the store when the first node accepted the watch; None before that."""
        self.next_revision = first_revision(first)
        """The first revision that was not delivered completely."""
        self._partial: list[Event] = []
        """Events of a revision whose last event has not arrived."""
        self._output: list[bytes] = []
        self._lines = Lines()
        self._hold_until = 0.0
        self._heard_at = 0.0
        self._stands = False
        """Whether the node of this connection has accepted the watch."""
        self._is_held_up = False
        """Whether so many events wait for the caller that the connection is not read: its silence says nothing then."""

    @property
    def is_full(self) -> bool:
        """Whether the caller must take events before more are read."""
        return len(self.events) >= EVENTS_HELD_MAX

    def take_output(self) -> bytes:
        """Return the bytes to send now, and clear them."""
        output, self._output = self._output, []
        return b"".join(output)

    def wake_at(self) -> float | None:
        """Return when `woken` must be called at the latest; None: never."""
        if self.error is not None:
            return None
        if self.link is None:
            return self._hold_until
        if not self.link.is_connected:
            return self.link.begun_at + CONNECT_S
        if self._is_held_up:
            return None
        return self._heard_at + (WATCH_SILENCE_S if self._stands else SILENCE_S)

    def connected(self, now: float) -> None:
        """The connection is made: send the command."""
        assert self.link is not None, "a connection was made that was not asked for"
        self.link.is_connected = True
        self._heard_at = now
        from_ = b"" if self.next_revision is None else b" FROM %d" % self.next_revision
        self._output.append(self._written + from_ + (b" PREV" if self._with_previous else b"") + b"\n")

    def lost(self, now: float) -> None:
        """The connection is lost: continue at another node."""
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
                    break
        except (MalformedAnswer, KeyError, ValueError, TypeError):
            self.lost(now)
        self._is_held_up = self._is_held_up or self.is_full

    def woken(self, now: float) -> None:
        """Time has passed: reconnect after a pause, or drop a connection that is silent for too long."""
        if self.error is not None:
            return
        wake_at = self.wake_at()
        if self.link is not None and wake_at is not None and now >= wake_at:
            self.lost(now)
        if self.link is None and now >= self._hold_until:
            self.link = Link(self._route.node, now)

    def resumed(self, now: float) -> None:
        """The caller has taken all events, so the connection is read again; the shell looks at `wake_at` after this."""
        if self._is_held_up:
            self._is_held_up = False
            self._heard_at = now  # the pause does not count as silence

    def interrupted(self, now: float) -> None:
        """The shell may have lost what the node sent: ask again for what follows the events that are held."""
        if self.error is None:
            if self.events:
                self.next_revision = self.events[-1].revision + 1
            self._go_on(now, 0.0)

    def close(self) -> None:
        """End the watch."""
        self.link = None
        if self.error is None:
            self.error = ClientClosed("the watch was closed")

    # --- answers of the node -----------------------------------------------------------------------------------------

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
        """Handle the answer to the command, or the end of the watch."""
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
        elif code == "SLOW_WATCHER":  # all sent events are delivered, and the node has not failed
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
