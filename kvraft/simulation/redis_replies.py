"""Checks the replies to simulated Redis clients against a replay of the log."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final

import attrs

from kvraft.commands import Failure, Mutation, Query
from kvraft.commands.blocks import Block
from kvraft.commands.key_queries import TimeLeft
from kvraft.simulation.conduct import demand
from kvraft.simulation.history import Outcome
from kvraft.simulation.redis_commands import Show, milliseconds
from kvraft.simulation.replay import Done, Point, Replay, encode
from kvraft.simulation.string_twin import mark_at, read, time_left

PATTERN: Final = b"_r*"
ERRORS: Final = {
    "NOT_A_NUMBER": "ERR value is not an integer or out of range",
    "OVERFLOW": "ERR increment or decrement would overflow",
    "NO_SUCH_KEY": "ERR no such key",
    "NOT_A_FRACTION": "ERR value is not a valid float",
}


@attrs.define(eq=False)
class Sent:
    """One command, and what came of it."""

    words: Sequence[bytes]
    operation: Mutation | Query | None
    """What it asks of the store; None: nothing, or what `finds` says."""
    show: Show
    invoked: float
    low: int
    """The index of the latest committed entry when it was sent."""
    high: int = 0
    """The index of the latest committed entry when the reply came."""
    completed: float | None = None
    reply: Any = None
    is_answered: bool = False
    """Whether it was carried out, and replied to."""
    is_refused: bool = False
    """Whether it certainly was not carried out."""
    is_stale: bool = False
    """Whether it may show an earlier state."""
    watches: "Sent | None" = None
    """Of an EXEC: the WATCH before it."""

    @property
    def outcome(self) -> Outcome:
        """Whether it was carried out."""
        return Outcome.OK if self.is_answered else Outcome.FAILED if self.is_refused else Outcome.UNKNOWN

    def __str__(self) -> str:
        return f"{b' '.join(self.words)!r} -> {self.reply!r}"


def shown(show: Show, result: Any) -> Any:
    """Return the reply of a result."""
    return ERRORS.get(result.code, result.code) if isinstance(result, Failure) else show(result)


def check_replies(sent: Iterable[Sent], replay: Replay) -> None:
    """Check all replies, and that no transaction was carried out twice, or although it was refused.

    Raises:
        InvariantViolated: the log does not explain one, or holds one too often.
    """
    blocks: defaultdict[bytes, list[Done]] = defaultdict(list)
    for alike in replay.done.values():
        for done in alike:
            if isinstance(done.command, Block):
                blocks[encode(done.command.commands)].append(done)
    found: Sequence[Done] = ()
    for each in sent:
        if isinstance(each.operation, Block):
            found = blocks[encode(each.operation.commands)]
            demand(len(found) <= (0 if each.is_refused else 1), f"{each} was carried out {len(found)} times")
        elif isinstance(each.operation, Mutation):
            found = replay.done[encode(each.operation)]
        if not each.is_answered:
            continue
        if isinstance(each.operation, Mutation):
            _check_write(each, [one for one in found if each.low < one.index <= each.high], replay)
        elif each.operation is not None:
            _check_read(each, replay)
        elif each.words[0] == b"KEYS":
            check_search([each], replay)
        elif each.words[0] != b"SCAN":
            demand(each.reply == each.show(None), f"what is no command of the store is answered: {each}")


def _check_write(sent: Sent, done: Sequence[Done], replay: Replay) -> None:
    expected = [shown(sent.show, each.result) for each in done]
    if sent.reply not in expected:
        demand(False, f"no command of the log explains: {sent}; it would be one of {expected}")
    if sent.watches is None:
        return
    points = replay.window(sent.watches.low, sent.watches.high)
    for each in done:
        assert isinstance(each.command, Block), "EXEC is a block"
        watched = {key: (revision, deadline) for key, revision, deadline in each.command.watched}
        demand([*watched] == [*sent.watches.words[1:]], f"{watched} is watched, and not {sent.watches}")
        for key, noted in watched.items():
            found = {mark_at(key, replay.visible(point), point.deadlines, point.attached) for point in points}
            demand(noted in found, f"WATCH noted {noted} of {key!r}, which had {found}")


def _check_read(sent: Sent, replay: Replay) -> None:
    points = replay.window(0 if sent.is_stale else sent.low, sent.high)
    for point in points:
        if _could_be(sent, point, replay):
            return
    demand(False, f"no state explains: {sent}; it would be one of {[_expected(sent, each, replay) for each in points]}")


def _could_be(sent: Sent, point: Point, replay: Replay) -> bool:
    if not isinstance(sent.operation, TimeLeft):
        return bool(_expected(sent, point, replay) == sent.reply)
    left = time_left(sent.operation.key, replay.visible(point), point.deadlines, point.time_us)
    return bool(sent.reply == left if left < 0 else 0 <= sent.reply <= milliseconds(left))


def _expected(sent: Sent, point: Point, replay: Replay) -> Any:
    if isinstance(sent.operation, TimeLeft):
        return time_left(sent.operation.key, replay.visible(point), point.deadlines, point.time_us)
    return shown(sent.show, read(sent.operation, replay.visible(point)))


def check_search(steps: Sequence[Sent], replay: Replay) -> None:
    """Check that a search has found what was there all the time, and nothing that was not there.

    Raises:
        InvariantViolated: it has not.
    """
    if not steps or not all(each.is_answered for each in steps) or any(each.is_stale for each in steps):
        return
    found: set[bytes] = set()
    is_whole = True
    for each in steps:
        keys = each.reply if each.words[0] == b"KEYS" else each.reply[1]
        is_whole = each.words[0] == b"KEYS" or each.reply[0] == b"0"
        there = {key for point in replay.window(each.low, each.high) for key in replay.visible(point)}
        demand({*keys} <= there, f"{each} finds what is not there: {sorted({*keys} - there)}")
        demand(all(key.startswith(PATTERN[:-1]) for key in keys), f"{each} finds what does not match")
        found |= {*keys}
    if is_whole:
        points = replay.window(steps[0].low, steps[-1].high)
        always = set.intersection(*({*replay.visible(point)} for point in points))
        missing = {key for key in always if key.startswith(PATTERN[:-1])} - found
        demand(not missing, f"{[*map(str, steps)]} does not find {sorted(missing)}")
