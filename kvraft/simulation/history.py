"""A history: the operations of clients, their times and outcomes, as checkers take it and files store it.

Times are numbers on one clock; only their order counts. An operation that completed before another was invoked really
came before it, and equal times mean that the order is unknown. If a clock stands still for many events, as a virtual
one does, give each event a number of its own instead of a time: `itertools.count().__next__` is clock enough.
"""

import enum
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import attrs
import msgspec


class HistoryError(ValueError):
    """The history contradicts itself or cannot be read, so it cannot be checked."""


class Action(enum.StrEnum):
    """The kind of an operation on one key."""

    SET = "set"
    GET = "get"
    DELETE = "delete"


class Outcome(enum.StrEnum):
    """The outcome of an operation, as its client has learned it."""

    OK = "ok"
    """It was carried out, between its invocation and its completion."""
    FAILED = "failed"
    """It certainly was not carried out and never will be."""
    UNKNOWN = "unknown"
    """It was carried out at some time after its invocation, or will be, or never."""


@attrs.frozen
class Operation:
    """One operation of one client on one key.

    A read needs to find a value, a write leaves one, and checkers ask for no more than that. A further kind, such as
    compare-and-set, is one that does both.

    Raises:
        HistoryError: it contradicts itself.
    """

    client: int
    action: Action
    key: str
    value: str | None
    """What a SET stores, or what a GET that is OK has read; None is "there is none"."""
    invoked: int | float
    completed: int | float | None
    """When the client got its answer; None: it never got one."""
    outcome: Outcome
    note: str = ""
    """For people: an error's code, and the node that got the request."""

    def __attrs_post_init__(self) -> None:
        if self.completed is not None and not self.invoked <= self.completed:
            raise HistoryError(f"completed before it was invoked: {self}")
        if self.outcome is Outcome.OK and self.completed is None:
            raise HistoryError(f"OK without a time of completion: {self}")
        if (self.action is Action.SET and self.value is None) or (
            self.action is Action.DELETE and self.value is not None
        ):
            raise HistoryError(f"a SET stores a value, and a DELETE none: {self}")

    def __str__(self) -> str:
        until = "?" if self.completed is None else f"{self.completed:g}"
        shown = {
            Action.SET: f"SET {self.key} {self.value!r}",
            Action.GET: f"GET {self.key}" + (f" -> {self.value!r}" if self.outcome is Outcome.OK else ""),
            Action.DELETE: f"DELETE {self.key}",
        }[self.action]
        note = f" ({self.note})" if self.note else ""
        return f"[{self.invoked:g} .. {until}] client {self.client}: {shown}, {self.outcome.value}{note}"

    @property
    def is_read(self) -> bool:
        """Whether it changes nothing, whatever its outcome."""
        return self.action is Action.GET

    @property
    def left(self) -> str | None:
        """What a write leaves under its key."""
        assert not self.is_read, "a read leaves what it finds"
        return self.value


class History:
    """Records operations as they happen.

    Args:
        now: the clock that is read at every invocation and completion.
        keep: is given each operation when it is complete, to store it at once.
    """

    def __init__(
        self, now: Callable[[], int | float], keep: Callable[[Operation], None] = lambda _operation: None
    ) -> None:
        self._now = now
        self._keep = keep
        self._done: list[Operation] = []
        self._open: dict[int, Operation] = {}
        self._tickets = 0

    def __len__(self) -> int:
        return len(self._done) + len(self._open)

    @property
    def operations(self) -> list[Operation]:
        """All operations so far; those without an answer are UNKNOWN."""
        return [*self._done, *self._open.values()]

    def invoke(self, client: int, action: Action, key: str, value: str | None = None) -> int:
        """Record that an operation begins, before anything of it is sent; return the ticket with which it ends."""
        ticket = self._tickets
        self._tickets += 1
        self._open[ticket] = Operation(client, action, key, value, self._now(), None, Outcome.UNKNOWN)
        return ticket

    def succeed(self, ticket: int, value: str | None = None, note: str = "") -> None:
        """Record that it was carried out; `value` is what a GET has read."""
        begun = self._open[ticket]
        self._end(ticket, value if begun.is_read else begun.value, self._now(), Outcome.OK, note)

    def fail(self, ticket: int, note: str) -> None:
        """Record that it certainly was not carried out and will not be."""
        self._end(ticket, self._open[ticket].value, self._now(), Outcome.FAILED, note)

    def lose(self, ticket: int, note: str) -> None:
        """Record that its outcome stays unknown."""
        self._end(ticket, self._open[ticket].value, None, Outcome.UNKNOWN, note)

    def lose_open(self, note: str) -> None:
        """Do that for all operations without an answer: the end of the recording, or of a client."""
        for ticket in tuple(self._open):
            self.lose(ticket, note)

    def _end(self, ticket: int, value: str | None, completed: float | None, outcome: Outcome, note: str) -> None:
        begun = self._open[ticket]
        operation = Operation(begun.client, begun.action, begun.key, value, begun.invoked, completed, outcome, note)
        del self._open[ticket]
        self._done.append(operation)
        self._keep(operation)


# --- files -----------------------------------------------------------------------------------------------------------

_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Operation)


def to_line(operation: Operation) -> bytes:
    """Return an operation as one line of JSON."""
    return _encoder.encode(operation) + b"\n"


def from_lines(lines: Iterable[bytes]) -> Iterator[Operation]:
    """Read operations, one a line.

    Raises:
        HistoryError: a line is none, be it the last one that was not finished: which operation is missing is unknown.
    """
    for number, line in enumerate(lines, start=1):
        try:
            yield _decoder.decode(line)
        except (msgspec.DecodeError, HistoryError) as error:
            raise HistoryError(f"line {number} is no operation: {error}") from error


def save(path: Path, operations: Iterable[Operation]) -> None:
    """Write operations to a file."""
    with path.open("wb") as file:
        file.writelines(map(to_line, operations))


def load(path: Path) -> list[Operation]:
    """Read the operations of a file.

    Raises:
        HistoryError: it is no history.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return list(from_lines(file))
