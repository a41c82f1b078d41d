"""Whether answers that name revisions can be explained: by the commands in the log, in their order, and by real time.

The log gives all writes one order, and a dumb twin of the store replays it (`replay`). So this checker need not search,
as the one for registers must. Each answer must be what the twin comes to at one revision; that revision must not be
before one that was told before the request was made, and must be before those of writes that were asked for after the
answer. That is linearizability over all keys together, with conditions, counters, transactions and ranges.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import attrs
import msgspec

from kvraft.commands import Expire, Failure, Get, Mutation, Operation, Result, Transact
from kvraft.commands.transactions import Add, Append, Put
from kvraft.server.dialect import Answer as Encoder
from kvraft.simulation.clients import Answer
from kvraft.simulation.conduct import demand
from kvraft.simulation.history import Outcome
from kvraft.simulation.replay import Done, Replay, encode
from kvraft.simulation.twin import Twin

_LIMITS_OF_HISTORY: Final = frozenset({"COMPACTED", "FUTURE_REVISION"})


@attrs.define(eq=False)
class Asked:
    """One request, and what came of it."""

    line: str
    operation: Operation
    encode: Encoder
    invoked: float
    completed: float | None = None
    outcome: Outcome = Outcome.UNKNOWN
    answer: Answer = attrs.field(factory=dict)
    low: int = 0
    """The latest entry that was committed when it was asked for."""
    high: int = 0
    """The latest entry that was committed when it was answered."""

    @property
    def is_answered(self) -> bool:
        """Whether it was carried out, and the client knows it."""
        return self.outcome is Outcome.OK

    @property
    def revision(self) -> int | None:
        """The revision that the answer names as that of the store."""
        found = self.answer.get("revision")
        return found if isinstance(found, int) and self.answer.get("error") not in _LIMITS_OF_HISTORY else None

    def __str__(self) -> str:
        return f"[{self.invoked:g} .. {self.completed or 0:g}] {self.line} -> {self.answer}"


def check_revisions(asked: Sequence[Asked], replay: Replay) -> None:
    """Judge what clients were told.

    Raises:
        InvariantViolated: an answer cannot be explained.
    """
    answered = [each for each in asked if each.is_answered]
    _check_real_time(answered)
    for each in answered:
        if isinstance(each.operation, Mutation):
            check_write(each, replay.done[encode(each.operation)])
        else:
            _check_read(each, replay.twin, answered)


def check_numbers(asked: Iterable[Asked], replay: Replay) -> None:
    """Check that nothing happens that nobody asked for, that was refused for certain, or more often than asked for.

    Args:
        asked: all requests for transactions and deadlines.
        replay: of the log.

    Raises:
        InvariantViolated: something does.
    """
    possible = Counter(
        encode(each.operation)
        for each in asked
        if isinstance(each.operation, Mutation) and each.outcome is not Outcome.FAILED
    )
    for command, times in replay.done.items():
        demand(
            len(times) <= possible[command] or not isinstance(times[0].command, Transact | Expire),
            f"{times[0].command} was committed {len(times)} times and asked for, at most, {possible[command]} times "
            "(rows 10 and 13)",
        )


def check_write(asked: Asked, done: Iterable[Done]) -> None:
    """Check that one of these commands of the log explains an answer.

    Raises:
        InvariantViolated: none does.
    """
    found = [each for each in done if asked.revision in {None, each.revision}]
    demand(
        any(is_answer(asked, each.result) for each in found),
        f"no write of the log explains: {asked}; it would be {[show(asked, each.result) for each in done]}",
    )


def _check_read(asked: Asked, twin: Twin, answered: Iterable[Asked]) -> None:
    if asked.answer.get("error") in _LIMITS_OF_HISTORY:
        return
    if asked.revision is not None or _names_revision(asked):
        expected = [twin.read(asked.operation, asked.revision or 0)]
    else:
        assert isinstance(asked.operation, Get), "an answer without a revision"
        low, high = _window(asked, answered, twin.revision)
        expected = [*dict.fromkeys(twin.states[each].get(asked.operation.key) for each in range(low, high + 1))]
    demand(
        any(is_answer(asked, each) for each in expected),
        f"no state explains: {asked}; it would be {[show(asked, each) for each in expected]}",
    )


def _names_revision(asked: Asked) -> bool:
    """Whether it reads at a revision that the request names."""
    return getattr(asked.operation, "revision", None) is not None


def _window(asked: Asked, answered: Iterable[Asked], newest: int) -> tuple[int, int]:
    """Return the first and the last revision that an answer can show: of what was told before, and asked for after."""
    low, high = 0, newest
    completed = asked.completed
    assert completed is not None, "what is answered has completed"
    for other in answered:
        if other.revision is None or other is asked or _names_revision(other):
            continue
        if other.completed is not None and other.completed < asked.invoked:
            low = max(low, other.revision)
        elif other.invoked > completed and _has_changed(other):
            high = min(high, other.revision - 1)
    return low, high


def _has_changed(asked: Asked) -> bool:
    """Whether its answer is that of a write that certainly makes a revision of its own."""
    if not isinstance(asked.operation, Transact) or "error" in asked.answer:
        return False
    steps = asked.operation.then if asked.answer.get("succeeded", True) else asked.operation.otherwise
    return any(isinstance(step, Put | Add | Append) for step in steps)


def _check_real_time(answered: Sequence[Asked]) -> None:
    """Revisions are told in the order of real time, and each belongs to one write."""
    owners: dict[int, Asked] = {}
    for asked in answered:
        revision = asked.revision
        if revision is None or _names_revision(asked):
            continue
        if _has_changed(asked):
            other = owners.setdefault(revision, asked)
            demand(other is asked, f"two writes have one revision: {other} and {asked}")
        low, high = _window(asked, answered, revision)
        demand(low <= revision, f"the answer is older than one that was told before, at revision {low}: {asked}")
        demand(revision <= high, f"the answer shows what was asked for later, at revision {high + 1}: {asked}")


def is_answer(asked: Asked, result: Result) -> bool:
    """Whether this result is the client's answer."""
    return bool(show(asked, result) == _comparable(asked.answer))


def show(asked: Asked, result: Result) -> Any:
    """Return the answer that tells this result, without what is said for people."""
    if isinstance(result, Failure):
        return {"error": result.code}
    encode: bytes | Callable[[Any], bytes] = asked.encode
    return _comparable(msgspec.json.decode(encode if isinstance(encode, bytes) else encode(result)))


def _comparable(answer: Answer) -> Answer:
    """Leave out of an error what is said for people, but for a condition that failed."""
    code = answer.get("error")
    return {"error": code} if code is not None and code != "CONDITION_FAILED" else answer
