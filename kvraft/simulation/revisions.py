"""Whether answers that name revisions can be explained: by the commands in the log, in their order, and by real time.

The log gives all writes one order, and a dumb twin of the store replays it. So this checker need not search, as the one
for registers must. Each answer must be what the twin comes to at one revision; that revision must not be before one
that was told before the request was made, and must be before those of writes that were asked for after the answer. That
is linearizability over all keys together, with conditions, counters, transactions and ranges.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import attrs
import msgspec

from kvraft.commands import Failure, Get, Mutation, Operation, Result, Transact, decode_batch
from kvraft.commands.transactions import Add, Append, Put
from kvraft.raft import Entry, EntryKind
from kvraft.server.dialect import Answer as Encoder
from kvraft.simulation.clients import Answer
from kvraft.simulation.conduct import demand
from kvraft.simulation.history import Outcome
from kvraft.simulation.twin import Twin

_encode: Final = msgspec.msgpack.Encoder().encode
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


@attrs.frozen
class _Done:
    """One command of the log."""

    command: Mutation
    result: Result
    revision: int
    """Of the store with it."""
    has_changed: bool


def check_revisions(asked: Sequence[Asked], committed: Mapping[int, Entry]) -> None:
    """Judge what clients were told.

    Raises:
        InvariantViolated: an answer cannot be explained, or something happened that nobody asked for.
    """
    twin = Twin()
    done: defaultdict[bytes, list[_Done]] = defaultdict(list)
    for index in sorted(committed):
        if committed[index].kind == EntryKind.COMMANDS:
            time_us, commands = decode_batch(committed[index].payload)
            twin.time_us = max(twin.time_us, time_us)
            for command in commands:
                before = twin.revision
                result = twin.apply(command)
                if isinstance(command, Transact):
                    done[_encode(command)].append(_Done(command, result, twin.revision, twin.revision > before))
    answered = [each for each in asked if each.is_answered]
    _check_numbers(asked, done)
    _check_real_time(answered)
    for each in answered:
        if isinstance(each.operation, Mutation):
            _check_write(each, done[_encode(each.operation)])
        else:
            _check_read(each, twin, answered)


def _check_numbers(asked: Iterable[Asked], done: Mapping[bytes, Sequence[_Done]]) -> None:
    """Nothing happens that nobody asked for, or that was refused for certain, or more often than it was asked for."""
    possible = Counter(
        _encode(each.operation)
        for each in asked
        if isinstance(each.operation, Mutation) and each.outcome is not Outcome.FAILED
    )
    for command, times in done.items():
        demand(
            len(times) <= possible[command],
            f"{times[0].command} was committed {len(times)} times and asked for, at most, {possible[command]} times "
            "(rows 10 and 13)",
        )


def _check_write(asked: Asked, done: Sequence[_Done]) -> None:
    found = [each for each in done if asked.revision in {None, each.revision}]
    demand(
        any(_is_answer(asked, each.result) for each in found),
        f"no write of the log explains: {asked}; it would be {[_show(asked, each.result) for each in done]}",
    )


def _check_read(asked: Asked, twin: Twin, answered: Iterable[Asked]) -> None:
    if asked.answer.get("error") in _LIMITS_OF_HISTORY:
        return
    if asked.revision is not None or _names_revision(asked):
        expected = [twin.read(asked.operation, asked.revision or 0)]
    else:
        assert isinstance(asked.operation, Get), "an answer without a revision"
        low, high = _window(asked, answered, twin.revision)
        expected = [*{twin.states[each].get(asked.operation.key) for each in range(low, high + 1)}]
    demand(
        any(_is_answer(asked, each) for each in expected),
        f"no state explains: {asked}; it would be {[_show(asked, each) for each in expected]}",
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


def _is_answer(asked: Asked, result: Result) -> bool:
    return bool(_show(asked, result) == _comparable(asked.answer))


def _show(asked: Asked, result: Result) -> Any:
    if isinstance(result, Failure):
        return {"error": result.code}
    encode: bytes | Callable[[Any], bytes] = asked.encode
    return _comparable(msgspec.json.decode(encode if isinstance(encode, bytes) else encode(result)))


def _comparable(answer: Answer) -> Answer:
    """Leave out of an error what is said for people, but for a condition that failed."""
    code = answer.get("error")
    return {"error": code} if code is not None and code != "CONDITION_FAILED" else answer
