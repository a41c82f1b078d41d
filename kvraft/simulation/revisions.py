"""Checks answers that name revisions against the commands in the log, in their order, and against real time.

The log puts all writes in one order, and a simple twin of the store replays it (`replay`). So this checker need not
search, as the one for registers must. Each answer must be the twin's result at one revision. That revision must not be
lower than one that a client received before the request was sent. It must be lower than those of writes that were
requested after the answer. That is linearizability over all keys together, with conditions, counters, transactions and
ranges.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import Any, Final, Protocol

import attrs
import msgspec

from kvraft.commands import Expire, Failure, Get, Mutation, Operation, Result, Transact
from kvraft.commands.blocks import Block
from kvraft.commands.transactions import Add, Append, Put
from kvraft.raft import InvariantViolated
from kvraft.server.dialect import Answer as Encoder
from kvraft.simulation.clients import Answer
from kvraft.simulation.history import Outcome
from kvraft.simulation.replay import Done, Replay, encode
from kvraft.simulation.string_twin import StringCommand
from kvraft.simulation.twin import Twin

_LIMITS_OF_HISTORY: Final = frozenset({"COMPACTED", "FUTURE_REVISION"})


@attrs.define(eq=False)
class Asked:
    """One request and its outcome. Times are seconds of the world."""

    line: str
    operation: Operation
    encode: Encoder
    invoked: float
    completed: float | None = None
    outcome: Outcome = Outcome.UNKNOWN
    answer: Answer = attrs.field(factory=dict)
    low: int = 0
    """The index of the latest committed entry when the request was sent."""
    high: int = 0
    """The index of the latest committed entry when the answer arrived."""

    @property
    def is_answered(self) -> bool:
        """Whether the client has an answer that says that it was executed."""
        return self.outcome is Outcome.OK

    @property
    def revision(self) -> int | None:
        """The revision of the store in the answer."""
        found = self.answer.get("revision")
        return found if isinstance(found, int) and self.answer.get("error") not in _LIMITS_OF_HISTORY else None

    def __str__(self) -> str:
        return f"[{self.invoked:g} .. {self.completed or 0:g}] {self.line} -> {self.answer}"


class Told:
    """The revisions that clients have received, in the order of time.

    Args:
        answered: all requests with an answer.
    """

    def __init__(self, answered: Iterable[Asked]) -> None:
        told = [each for each in answered if each.revision is not None and not _names_revision(each)]
        ends = sorted((each.completed, each.revision or 0) for each in told if each.completed is not None)
        self._ends = [completed for completed, _ in ends]
        self._lows = [0, *accumulate((revision for _, revision in ends), max)]
        """The highest revision among so many of the earliest answers."""
        begins = sorted(((each.invoked, each.revision or 0) for each in told if _has_changed(each)), reverse=True)
        self._begins = [invoked for invoked, _ in reversed(begins)]
        self._highs = [*accumulate((revision - 1 for _, revision in begins), min)][::-1]
        """For each write: the revision before the lowest one that was made by it or by a later request."""

    def window(self, asked: Asked, newest: int) -> tuple[int, int]:
        """Return the first and the last revision that an answer can show.

        The first is the highest that a client received before the request was sent. The last is the one before those of
        writes that were requested after the answer, and at most `newest`.
        """
        assert asked.completed is not None, "what is answered has completed"
        low = self._lows[bisect_left(self._ends, asked.invoked)]
        later = bisect_right(self._begins, asked.completed)
        return low, min(newest, self._highs[later]) if later < len(self._highs) else newest


def check_revisions(asked: Sequence[Asked], replay: Replay) -> None:
    """Check all answers that clients have received.

    Raises:
        InvariantViolated: no state or write of the log explains an answer.
    """
    answered = [each for each in asked if each.is_answered]
    told = Told(answered)
    _check_real_time(answered, told)
    for each in answered:
        if isinstance(each.operation, Mutation):
            check_write(each, replay.done[encode(each.operation)])
        else:
            _check_read(each, replay.twin, told)


class Request(Protocol):
    """A request of a client, in whatever protocol."""

    @property
    def operation(self) -> object:
        """What it asks for."""
        ...

    @property
    def outcome(self) -> Outcome:
        """Whether it was carried out."""
        ...


def check_numbers(asked: Iterable[Request], replay: Replay) -> None:
    """Check that no command is applied more often than clients requested it; definite failures do not count.

    Args:
        asked: all requests for transactions and deadlines.
        replay: the replay of the log.

    Raises:
        InvariantViolated: a command is applied too often.
    """
    possible = Counter(
        encode(each.operation)
        for each in asked
        if isinstance(each.operation, Mutation) and each.outcome is not Outcome.FAILED
    )
    for command, times in replay.done.items():
        is_counted = isinstance(times[0].command, Transact | Expire | StringCommand)
        if is_counted and len(times) > possible[command] and not isinstance(times[0].command, Block):
            raise InvariantViolated(
                f"{times[0].command} was committed {len(times)} times and asked for, at most, {possible[command]} "
                "times (rows 10 and 13)"
            )


def check_write(asked: Asked, done: Iterable[Done]) -> None:
    """Check that one of these commands of the log has the result that the client received.

    Raises:
        InvariantViolated: none has.
    """
    found = [each for each in done if asked.revision in {None, each.revision}]
    if not any(is_answer(asked, each.result) for each in found):
        raise InvariantViolated(
            f"no write of the log explains: {asked}; it would be {[show(asked, each.result) for each in done]}"
        )


def _check_read(asked: Asked, twin: Twin, told: Told) -> None:
    if asked.answer.get("error") in _LIMITS_OF_HISTORY:
        return
    if asked.revision is not None or _names_revision(asked):
        expected = [twin.read(asked.operation, asked.revision or 0)]
    else:
        assert isinstance(asked.operation, Get), "an answer without a revision"
        low, high = told.window(asked, twin.revision)
        expected = [*dict.fromkeys(twin.states[each].get(asked.operation.key) for each in range(low, high + 1))]
    if not any(is_answer(asked, each) for each in expected):
        raise InvariantViolated(f"no state explains: {asked}; it would be {[show(asked, each) for each in expected]}")


def _names_revision(asked: Asked) -> bool:
    """Whether it reads at a revision that the request names."""
    return getattr(asked.operation, "revision", None) is not None


def _has_changed(asked: Asked) -> bool:
    """Whether its answer shows a write that certainly made a new revision."""
    if not isinstance(asked.operation, Transact) or "error" in asked.answer:
        return False
    steps = asked.operation.then if asked.answer.get("succeeded", True) else asked.operation.otherwise
    return any(isinstance(step, Put | Add | Append) for step in steps)


def _check_real_time(answered: Sequence[Asked], told: Told) -> None:
    """Check that revisions in answers follow real time, and that each belongs to one write."""
    owners: dict[int, Asked] = {}
    for asked in answered:
        revision = asked.revision
        if revision is None or _names_revision(asked):
            continue
        if _has_changed(asked):
            other = owners.setdefault(revision, asked)
            if other is not asked:
                raise InvariantViolated(f"two writes have one revision: {other} and {asked}")
        low, high = told.window(asked, revision)
        if revision < low:
            raise InvariantViolated(f"the answer is older than one before it, at revision {low}: {asked}")
        if revision > high:
            raise InvariantViolated(f"the answer shows what was asked for later, at revision {high + 1}: {asked}")


def is_answer(asked: Asked, result: Result) -> bool:
    """Whether the client's answer is the one for this result."""
    return bool(show(asked, result) == _comparable(asked.answer))


def show(asked: Asked, result: Result) -> Any:
    """Return the answer for this result, without the texts for people."""
    if isinstance(result, Failure):
        return {"error": result.code}
    encode: bytes | Callable[[Any], bytes] = asked.encode
    return _comparable(msgspec.json.decode(encode if isinstance(encode, bytes) else encode(result)))


def _comparable(answer: Answer) -> Answer:
    """Reduce an error to its code, but keep all of CONDITION_FAILED."""
    code = answer.get("error")
    return {"error": code} if code is not None and code != "CONDITION_FAILED" else answer
