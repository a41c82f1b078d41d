"""Why a key is not linearizable: the few of its operations that already contradict each other.

What may be left out without making a linearizable history look like another is any read, and any write that none of the
reads that stay can have seen. So operations are left out for as long as a contradiction stays, first all that came
later, then by halves, at last one by one.
"""

from collections.abc import Sequence
from typing import Final

import attrs

from kvraft.simulation.history import Operation, Outcome
from kvraft.simulation.linearizability import GaveUp, Judgement, Search, Value, Verdict, relevant

EXPLANATION_STEPS_MAX: Final = 20_000_000
"""Configurations looked at to make an explanation short; what is left then is shown."""
SHOWN_MAX: Final = 60
"""Operations that are shown of an explanation, the last ones."""
FIRST_WINDOW: Final = 8
"""Operations before the contradiction that are tried first as its whole explanation."""


@attrs.frozen
class Explanation:
    """Operations on one key that no register explains, in the order of their invocations."""

    key: str
    operations: tuple[Operation, ...]
    last: Operation
    """The operation with the first answer that is impossible."""
    is_smallest: bool
    """Whether none of the operations could be left out, as far as the rule above goes."""

    def __str__(self) -> str:
        size = "each of them is needed" if self.is_smallest else "perhaps fewer would do"
        hidden = len(self.operations) - SHOWN_MAX
        return "\n".join(
            (
                f"key {self.key!r}: no order of these {len(self.operations)} operations explains the answers ({size}):",
                *([f"  .. {hidden} earlier ones"] if hidden > 0 else []),
                *(f"  {operation}" for operation in self.operations[-SHOWN_MAX:]),
                f"the first answer that could not be: {self.last}",
            )
        )


def explain(judgement: Judgement, steps_max: int = EXPLANATION_STEPS_MAX) -> Explanation:
    """Return the smallest contradiction that is found among the operations of a key that was judged a violation."""
    assert judgement.verdict is Verdict.VIOLATION, f"there is nothing to explain: {judgement.verdict}"
    shrinking = _Shrinking(steps_max)
    operations: Sequence[Operation] = relevant(judgement.operations)
    last = max((each for each in operations if each.outcome is Outcome.OK), key=_completion)
    is_smallest = True
    try:
        operations, last = shrinking.shortest_beginning(operations)
        operations = shrinking.smallest_window(operations, last)
        before = len(operations) + 1
        while len(operations) < before:  # what one round leaves out may let the next leave out more
            before = len(operations)
            operations = shrinking.without_needless(operations)
    except _TookTooLong as stopped:
        operations = stopped.best or operations
        is_smallest = False
    shown = sorted(operations, key=lambda operation: operation.invoked)
    return Explanation(judgement.key, tuple(shown), last, is_smallest)


def _completion(operation: Operation) -> int | float:
    assert operation.completed is not None, "what is OK has completed"
    return operation.completed


class _TookTooLong(Exception):
    """The steps are used up; `best` is the smallest contradiction of the phase that was under way."""

    def __init__(self, best: Sequence[Operation] | None) -> None:
        super().__init__()
        self.best = best


class _Shrinking:
    """Looks for smaller contradictions, with a bound on all of it together."""

    def __init__(self, steps_max: int) -> None:
        self._steps_left = steps_max

    def _contradicts(self, operations: Sequence[Operation], best: Sequence[Operation] | None) -> bool:
        search = Search(operations, self._steps_left)
        try:
            return not search.run()
        except GaveUp:
            raise _TookTooLong(best) from None
        finally:
            self._steps_left -= search.steps

    def shortest_beginning(self, operations: Sequence[Operation]) -> tuple[list[Operation], Operation]:
        """Return the shortest beginning that contradicts itself, and the operation that completes at its end."""
        completions = sorted((each for each in operations if each.outcome is Outcome.OK), key=_completion)
        fine, bad = 0, len(completions)
        while bad - fine > 1:
            middle = (fine + bad) // 2
            if self._contradicts(_beginning(operations, completions[:middle]), None):
                bad = middle
            else:
                fine = middle
        return _beginning(operations, completions[:bad]), completions[bad - 1]

    def smallest_window(self, operations: list[Operation], last: Operation) -> list[Operation]:
        """Return the last operations, as few as contradict each other, to a factor of two."""
        ordered = sorted((each for each in operations if each is not last), key=lambda each: each.invoked)
        size = FIRST_WINDOW
        while size < len(ordered):
            window = _closure([*ordered[-size:], last], operations)
            if self._contradicts(window, operations):
                return window
            size *= 2
        return operations

    def without_needless(self, operations: Sequence[Operation]) -> list[Operation]:
        """Leave out what is not needed, in pieces of half of it, then of a quarter, and so on down to single ones."""
        kept = list(operations)
        size = max(1, len(kept) // 2)
        while True:
            begin = 0
            while begin < len(kept):
                fewer = _closure([*kept[:begin], *kept[begin + size :]], kept)
                if len(fewer) < len(kept) and self._contradicts(fewer, kept):
                    kept = fewer
                else:
                    begin += size
            if size == 1:
                return kept
            size //= 2


def _beginning(operations: Sequence[Operation], completed: Sequence[Operation]) -> list[Operation]:
    """Return what was known when the last of `completed` had just completed."""
    end = _completion(completed[-1])
    done = set(map(id, completed))
    found = []
    for each in operations:
        if id(each) in done:
            found.append(each)
        elif each.invoked <= end and not each.is_read:
            found.append(attrs.evolve(each, completed=None, outcome=Outcome.UNKNOWN))
    return found


def _closure(kept: Sequence[Operation], operations: Sequence[Operation]) -> list[Operation]:
    """Return `kept` with all writes of `operations` that its reads can have seen."""
    read: set[Value] = {each.value for each in kept if each.is_read}
    ids = set(map(id, kept))
    return [each for each in operations if id(each) in ids or (not each.is_read and each.left in read)]
