"""Checks whether a history is linearizable (Herlihy and Wing, 1990), with each key as one register.

Linearizability is local: a history is linearizable if its operations on each key are. For one key the checker walks
along the invocations and completions. It keeps every possible *configuration* of the register: its value, and which of
the pending operations have taken effect. That is the search of Wing and Gong (1993) with the improvements of Lowe
(2017), breadth first. Equal configurations are merged. An operation takes effect *just in time*: when it completes, or
when an operation that completes needs it.

* A write that certainly failed never takes effect. A read that returns its value is a violation (row 12).
* A write of unknown outcome takes effect at any time after its invocation, or never. A read of unknown outcome
  constrains nothing.

Four rules keep the search fast. They are sound whether values are unique or not, and prune most when each write has a
value of its own:

1. A read takes effect as soon as the register has its value; a later effect could only exclude more.
2. A value is overwritten only when no later read returns it, or when another write can restore it.
3. If only pending reads return the value of a write, the write takes effect together with them, right before the next
   write. No later read depends on it.
4. A write of unknown outcome takes effect only for a pending read. Of several with equal values the first is used, and
   a configuration that used fewer of them represents those that used more.
"""

import enum
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

import attrs

from kvraft.simulation.history import Operation, Outcome

STEPS_PER_KEY_MAX: Final = 5_000_000
"""Most configurations that the checker examines for one key before it gives up. It examines some millions a CPU-minute;
an easy history takes two to four for each operation."""

Value = str | None
Configuration = tuple[Value, int]
"""The register's value, and a bit for each pending operation that has taken effect."""


class Verdict(enum.StrEnum):
    """The result of a check."""

    LINEARIZABLE = "linearizable"
    VIOLATION = "violation"
    GAVE_UP = "gave up"
    """The limit of steps was reached: the history may be either, so this does not count as a pass."""


class GaveUp(Exception):
    """The limit of steps is reached."""


@attrs.frozen
class Judgement:
    """The verdict on the operations on one key."""

    key: str
    operations: tuple[Operation, ...]
    """All of that key, in the order of their invocations."""
    verdict: Verdict
    steps: int


@attrs.frozen
class Report:
    """The verdict on a history, and on each of its keys."""

    judgements: tuple[Judgement, ...]

    @property
    def verdict(self) -> Verdict:
        """`VIOLATION` if any key has one, else `GAVE_UP` if any check gave up, else `LINEARIZABLE`."""
        verdicts = {judgement.verdict for judgement in self.judgements}
        for worst in (Verdict.VIOLATION, Verdict.GAVE_UP):
            if worst in verdicts:
                return worst
        return Verdict.LINEARIZABLE

    @property
    def violations(self) -> tuple[Judgement, ...]:
        """The keys whose operations are not linearizable; `explanation.explain` describes the reason for each."""
        return tuple(each for each in self.judgements if each.verdict is Verdict.VIOLATION)

    @property
    def operations(self) -> int:
        """How many operations were checked."""
        return sum(len(judgement.operations) for judgement in self.judgements)

    @property
    def steps(self) -> int:
        """How many configurations were examined."""
        return sum(judgement.steps for judgement in self.judgements)

    def __str__(self) -> str:
        of_keys = f"{self.operations} operations on {len(self.judgements)} keys"
        bad = [repr(each.key) for each in self.judgements if each.verdict is self.verdict]
        if self.verdict is Verdict.LINEARIZABLE:
            return f"linearizable: {of_keys}, {self.steps} steps"
        return f"{self.verdict.value}: {of_keys}; not explained: {', '.join(bad)}"


def check(operations: Iterable[Operation], steps_per_key_max: int = STEPS_PER_KEY_MAX) -> Report:
    """Check a history in which every key is empty at first."""
    by_key: defaultdict[str, list[Operation]] = defaultdict(list)
    for operation in operations:
        by_key[operation.key].append(operation)
    return Report(tuple(_judge(key, by_key[key], steps_per_key_max) for key in sorted(by_key)))


def _judge(key: str, operations: list[Operation], steps_max: int) -> Judgement:
    search = Search(operations, steps_max)
    try:
        verdict = Verdict.LINEARIZABLE if search.run() else Verdict.VIOLATION
    except GaveUp:
        verdict = Verdict.GAVE_UP
    operations.sort(key=lambda operation: operation.invoked)
    return Judgement(key, tuple(operations), verdict, search.steps)


@attrs.frozen
class _Pending:
    """A write that is invoked and not completed at the present point of the walk."""

    bit: int
    value: Value


def relevant(operations: Iterable[Operation]) -> list[Operation]:
    """Return the operations that constrain the search.

    Left out are failures, reads without answers, and writes of unknown outcome that no read can have seen.
    """
    taken_place = [each for each in operations if each.outcome is not Outcome.FAILED]
    read_until: dict[Value, int | float] = {}
    for each in taken_place:
        if each.is_read and each.outcome is Outcome.OK:
            assert each.completed is not None, "what is OK has completed"
            read_until[each.value] = max(read_until.get(each.value, each.completed), each.completed)
    return [
        each
        for each in taken_place
        if each.outcome is Outcome.OK
        or (not each.is_read and each.left in read_until and each.invoked <= read_until[each.left])
    ]


class Search:
    """The walk along the operations of one key.

    Args:
        operations: all on this key, in any order.
        steps_max: configurations that may be looked at.
    """

    def __init__(self, operations: Iterable[Operation], steps_max: int) -> None:
        self._operations = relevant(operations)
        self._steps_max = steps_max
        self.steps = 0
        self._configurations: set[Configuration] = {(None, 0)}
        # For each value: how many operations on it are not invoked yet, and the bits of those that are pending.
        self._reads_to_come = Counter(each.value for each in self._operations if each.is_read)
        self._writes_to_come = Counter(each.left for each in self._operations if not each.is_read)
        self._pending_reads: defaultdict[Value, int] = defaultdict(int)
        self._pending_writes: defaultdict[Value, int] = defaultdict(int)
        self._pending: dict[int, _Pending] = {}
        """The pending writes that will complete, by their bits."""
        self._unknown: defaultdict[Value, int] = defaultdict(int)
        """The bits of the writes of unknown outcome, by their values; the lowest bit was invoked first."""
        self._all_unknown = 0

    def run(self) -> bool:
        """Return whether the operations are linearizable.

        Raises:
            GaveUp: the search takes more than `steps_max` steps.
        """
        events, width = _events(self._operations)
        free = [1 << place for place in range(width)]
        next_unknown = 1 << width
        bits: dict[int, int] = {}
        for is_completion, index in events:
            operation = self._operations[index]
            if is_completion:
                bit = bits.pop(index)
                if not self._complete(operation, bit):
                    return False
                free.append(bit)
            elif operation.outcome is Outcome.OK:
                bit = bits[index] = free.pop()
                self._begin(operation, bit)
            else:
                self._begin(operation, next_unknown)
                next_unknown <<= 1
        return True

    def _count(self, steps: int) -> None:
        self.steps += steps
        if self.steps > self._steps_max:
            raise GaveUp

    # --- events ------------------------------------------------------------------------------------------------------

    def _begin(self, operation: Operation, bit: int) -> None:
        value = operation.value
        if operation.is_read:
            self._reads_to_come[value] -= 1
            self._pending_reads[value] |= bit
            self._count(len(self._configurations))
            self._configurations = {
                (held, done | bit) if held == value else (held, done) for held, done in self._configurations
            }
            return
        self._writes_to_come[value] -= 1
        self._pending_writes[value] |= bit
        if operation.outcome is Outcome.OK:
            self._pending[bit] = _Pending(bit, value)
        else:
            self._unknown[value] |= bit
            self._all_unknown |= bit

    def _complete(self, operation: Operation, bit: int) -> bool:
        """Let the operation take effect in each configuration where it has not; return whether any is left."""
        self._count(len(self._configurations))
        waiting = [each for each in self._configurations if not each[1] & bit]
        if waiting:
            self._configurations.difference_update(waiting)
            self._configurations |= self._just_in_time(operation, bit, waiting)
        value = operation.value
        forgotten = bit
        if operation.is_read:
            self._pending_reads[value] &= ~bit
            if not self._pending_reads[value] and not self._reads_to_come[value]:
                forgotten |= self._forget_unknown(value)
        else:
            del self._pending[bit]
            self._pending_writes[value] &= ~bit
        self._configurations = {(held, done & ~forgotten) for held, done in self._configurations}
        if len(self._configurations) > 1 and self._all_unknown:
            self._drop_dominated()
        return bool(self._configurations)

    def _forget_unknown(self, value: Value) -> int:
        """Drop the unknown writes of `value`, which no read to come returns; return their bits."""
        bits = self._unknown.pop(value, 0)
        self._pending_writes[value] &= ~bits
        self._all_unknown &= ~bits
        return bits

    def _drop_dominated(self) -> None:
        """Of configurations that differ only in unknown writes, drop each that uses a superset of another's."""
        groups: defaultdict[Configuration, list[int]] = defaultdict(list)
        for held, done in self._configurations:
            groups[held, done & ~self._all_unknown].append(done & self._all_unknown)
        kept: set[Configuration] = set()
        for (held, known), used in groups.items():
            minimal: list[int] = []
            for each in sorted(used, key=int.bit_count):
                self._count(len(minimal))
                if not any(other & each == other for other in minimal):
                    minimal.append(each)
            kept.update((held, known | each) for each in minimal)
        self._configurations = kept

    # --- what may take effect ----------------------------------------------------------------------------------------

    def _just_in_time(self, operation: Operation, bit: int, waiting: list[Configuration]) -> set[Configuration]:
        """Return the configurations that result when pending writes, and at last this operation, take effect."""
        reached: set[Configuration] = set()
        seen = set(waiting)
        while waiting:
            held, done = waiting.pop()
            absorbed = done | self._unseen(done, bit)
            if self._is_missed(held, absorbed):
                continue
            for write in self._choices(absorbed):
                self._count(1)
                is_last = write.bit == bit or (operation.is_read and write.value == operation.value)
                then = absorbed | write.bit | self._pending_reads[write.value]
                if is_last:
                    reached.add((write.value, then))
                elif not self._is_missed(write.value, then) and (write.value, then) not in seen:
                    seen.add((write.value, then))
                    waiting.append((write.value, then))
        return reached

    def _choices(self, done: int) -> list[_Pending]:
        """Return the pending writes that may take effect next."""
        choices = [write for bit, write in self._pending.items() if not done & bit]
        for value, bits in self._unknown.items():
            left = bits & ~done
            if left and self._pending_reads[value] & ~done:
                choices.append(_Pending(left & -left, value))
        return choices

    def _is_missed(self, value: Value, done: int) -> bool:
        """Whether `value` is overwritten too early: a later read returns it, and no other write can restore it.

        Its pending reads have taken effect.
        """
        return bool(self._reads_to_come[value]) and not (
            self._writes_to_come[value] or self._pending_writes[value] & ~done
        )

    def _unseen(self, done: int, completing: int) -> int:
        """Return the bits of the writes and their reads that take effect right before the next write (rule 3)."""
        found = 0
        for bit, write in self._pending.items():
            if not done & bit and bit != completing and not self._reads_to_come[write.value]:
                reads = self._pending_reads[write.value] & ~done
                if not reads & completing:
                    found |= bit | reads
        for value, bits in self._unknown.items():
            reads = self._pending_reads[value] & ~(done | found)
            left = bits & ~done
            if reads and left and not reads & completing and not self._reads_to_come[value]:
                found |= left & -left | reads
        return found


def _events(operations: Sequence[Operation]) -> tuple[list[tuple[bool, int]], int]:
    """Return (is a completion, index of its operation) in order, and how many operations with known outcome overlap.

    At equal times invocations come first: the order is unknown, and operations that overlap are constrained the least.
    """
    timed: list[tuple[int | float, bool, int]] = []
    for index, operation in enumerate(operations):
        timed.append((operation.invoked, False, index))
        if operation.outcome is Outcome.OK:
            assert operation.completed is not None, "what is OK has completed"
            timed.append((operation.completed, True, index))
    timed.sort()
    overlapping = width = 0
    for _, is_completion, index in timed:
        if operations[index].outcome is Outcome.OK:
            overlapping += -1 if is_completion else 1
            width = max(width, overlapping)
    return [(is_completion, index) for _, is_completion, index in timed], width
