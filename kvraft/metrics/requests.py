"""What clients have asked over one protocol, by command and outcome."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Final

from kvraft.commands import Failure, LocalRead, Mutation, StaleRead
from kvraft.errors import RequestFailed
from kvraft.metrics.histogram import Histogram

_BEFORE_CAPITAL: Final = re.compile(r"(?<!^)(?=[A-Z])")
_ADMINISTRATION: Final = "kvraft.commands.administration"
OK: Final = "OK"
"""The outcome of a request that was carried out."""
DEFECT: Final = "INTERNAL"
UNCOUNTED_MAX: Final = 1_000
"""The number of submissions that are counted together."""


class Effect(Enum):
    """What a command does to the store."""

    WRITE = "write"
    READ = "read"
    OTHER = "other"
    """It neither reads nor writes, or its time says nothing, since it waits for others to let go."""


class CommandCounts:
    """The outcome of one command."""

    __slots__ = ("_requests", "_seconds", "effect", "failures", "name", "uncounted")

    def __init__(self, command: type) -> None:
        self.name = _BEFORE_CAPITAL.sub("_", command.__name__).lower()
        self.effect = _effect(command)
        self.failures: Counter[str] = Counter()
        """Of the requests, those that were refused or have failed, by the code in the answer."""
        self.uncounted: list[float] = []
        """How long submissions of one request took that are not counted yet, seconds."""
        self._requests = 0
        self._seconds = Histogram()

    @property
    def requests(self) -> int:
        """How many there were."""
        return self._requests + len(self.uncounted)

    @property
    def seconds(self) -> Histogram:
        """For each submission that held the command, from when it was whole to when it was answered."""
        self.count_together()
        return self._seconds

    @property
    def outcomes(self) -> Iterator[tuple[str, int]]:
        """Each outcome, and how many requests came to it."""
        yield OK, self.requests - sum(self.failures.values())
        yield from self.failures.items()

    def count(self, requests: int, seconds: float) -> None:
        """Count a submission that held so many of them."""
        self._requests += requests
        self._seconds.observe(seconds)

    def count_together(self) -> None:
        """Count the submissions that are not counted yet."""
        uncounted, self.uncounted = self.uncounted, []
        self._requests += len(uncounted)
        self._seconds.observe_all(uncounted)


class RequestCounts:
    """What clients have asked over one protocol.

    A submission is noted once, when it is answered, however many requests it holds.
    """

    def __init__(self, protocol: str) -> None:
        self.protocol = protocol
        self._commands: dict[type, CommandCounts] = {}

    def __iter__(self) -> Iterator[CommandCounts]:
        return iter([*self._commands.values()])

    def note_one(self, kind: type, seconds: float) -> None:
        """Note a submission of one request that was carried out, as `note` does."""
        command = self._commands.get(kind) or self._begin(kind)
        uncounted = command.uncounted
        uncounted.append(seconds)
        if len(uncounted) >= UNCOUNTED_MAX:
            command.count_together()

    def note(
        self,
        operations: Sequence[object],
        outcome: Sequence[object] | Exception,
        seconds: float,
        *,
        may_have_failed: bool = True,
    ) -> None:
        """Note what became of a submission, and how long it took.

        Failed commands are counted only if it `may_have_failed`: to look for them costs as much as all the rest.
        """
        count = len(operations)
        kind = type(operations[0])
        if count > 1 and len(set(map(type, operations))) > 1:
            for each, share in Counter(map(type, operations)).items():
                command = self._commands.get(each) or self._begin(each)
                command.count(share, seconds)
        else:  # as most clients ask
            command = self._commands.get(kind) or self._begin(kind)
            command.count(count, seconds)
        if not may_have_failed:
            return
        if isinstance(outcome, Exception):
            code = _code(outcome)
            for operation in operations:
                self._commands[type(operation)].failures[code] += 1
        else:
            for operation, result in zip(operations, outcome, strict=False):
                if type(result) is Failure:
                    self._commands[type(operation)].failures[result.code] += 1

    def _begin(self, kind: type) -> CommandCounts:
        counts = self._commands[kind] = CommandCounts(kind)
        return counts


def _effect(command: type) -> Effect:
    if issubclass(command, Mutation):
        return Effect.OTHER if command.__name__ == "AcquireLock" else Effect.WRITE
    is_read = hasattr(command, "run") or issubclass(command, StaleRead | LocalRead)
    return Effect.READ if is_read and command.__module__ != _ADMINISTRATION else Effect.OTHER


def _code(error: Exception) -> str:
    return error.code if isinstance(error, RequestFailed) else DEFECT
