"""Saves in order, one at a time, shared by what came up meanwhile; promises kept only when they are durable."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from kvraft.raft import Entry, EntryKind, HardState, Ready
from kvraft.replica.persistence import Saver, merge


def entries(first: int, last: int, term: int = 1) -> tuple[Entry, ...]:
    """Return entries of one term."""
    return tuple(Entry.create(term, index, EntryKind.EMPTY, b"") for index in range(first, last + 1))


def saving(first: int, last: int) -> Ready:
    """Return a Ready with entries to save."""
    return Ready(entries=entries(first, last))


@attrs.define
class Disk:
    """A journal whose saves finish when the test says so, and what the saver reported."""

    saves: list[tuple[HardState | None, list[Entry]]] = attrs.field(factory=list)
    pending: list[Deferred[None]] = attrs.field(factory=list)
    durable: list[list[Ready]] = attrs.field(factory=list)
    failures: list[Failure] = attrs.field(factory=list)
    saver: Saver = attrs.field(init=False)
    pending_since: float | None = None
    full: None = None

    def __attrs_post_init__(self) -> None:
        """Put the saver in front of it."""
        self.saver = Saver(self, self.durable.append, self.failures.append)  # type: ignore[arg-type]

    def save(self, hard_state: HardState | None, saved: list[Entry]) -> Deferred[None]:
        """Take a save."""
        self.saves.append((hard_state, saved))
        self.pending.append(Deferred())
        return self.pending[-1]

    def finish(self) -> None:
        """Finish the oldest save."""
        self.pending.pop(0).callback(None)


def test_nothing_to_save_is_durable_at_once() -> None:
    """A Ready without a wish does not touch an idle disk."""
    disk, ready = Disk(), Ready(replies=[])

    disk.saver.save(ready)

    assert disk.durable == [[ready]]
    assert disk.saves == []
    assert disk.saver.idle


def test_a_save_is_reported_when_it_is_done() -> None:
    """A Ready is durable when its save has finished, and not before."""
    disk, ready = Disk(), saving(1, 2)

    disk.saver.save(ready)
    assert (disk.durable, disk.saver.idle) == ([], False)
    disk.finish()

    assert disk.durable == [[ready]]
    assert disk.saves == [(None, list(ready.entries))]
    assert disk.saver.idle


def test_group_commit() -> None:
    """Whatever comes up while a save is under way shares the next one, and is durable together, in order."""
    disk, readys = Disk(), [saving(index, index) for index in range(1, 6)]

    for ready in readys:
        disk.saver.save(ready)
    assert len(disk.saves) == 1
    disk.finish()
    assert disk.durable == [readys[:1]]
    assert [len(saved) for _, saved in disk.saves] == [1, 4]
    disk.finish()

    assert disk.durable == [readys[:1], readys[1:]]
    assert len(disk.saves) == 2


def test_a_wishless_ready_waits_for_those_before_it() -> None:
    """A promise without a save of its own waits for the save before it; when nothing else waits it needs no other."""
    disk, first, second = Disk(), saving(1, 1), Ready()

    disk.saver.save(first)
    disk.saver.save(second)
    assert disk.durable == []
    disk.finish()

    assert disk.durable == [[first], [second]]
    assert len(disk.saves) == 1
    assert disk.saver.idle


def test_a_ready_taken_while_others_are_reported_does_not_overtake() -> None:
    """A wishless Ready that comes from within a report stands after those that wait."""
    disk, first, second, third = Disk(), saving(1, 1), saving(2, 2), Ready()
    reported: list[Ready] = []

    def report(readys: list[Ready]) -> None:
        reported.extend(readys)
        if readys == [first]:
            disk.saver.save(third)

    disk.saver = Saver(disk, report, disk.failures.append)  # type: ignore[arg-type]
    disk.saver.save(first)
    disk.saver.save(second)
    disk.finish()
    assert reported == [first]
    disk.finish()

    assert reported == [first, second, third]


def test_a_failed_save_is_reported_once() -> None:
    """After a save that failed nothing is durable any more, and nothing else is saved."""
    disk = Disk()
    for index in range(1, 4):
        disk.saver.save(saving(index, index))

    disk.pending[0].errback(Failure(OSError("no space")))
    disk.saver.save(Ready())
    disk.saver.save(saving(4, 4))

    assert [failure.type for failure in disk.failures] == [OSError]
    assert disk.durable == []
    assert len(disk.saves) == 1


def test_a_report_that_raises_is_a_failure() -> None:
    """What goes wrong when promises are kept is not swallowed."""
    disk = Disk()

    def report(_: list[Ready]) -> None:
        raise ZeroDivisionError

    disk.saver = Saver(disk, report, disk.failures.append)  # type: ignore[arg-type]
    disk.saver.save(saving(1, 1))
    disk.finish()

    assert [failure.type for failure in disk.failures] == [ZeroDivisionError]


def test_the_last_hard_state_stands() -> None:
    """Of several hard states the last is saved; one that is absent does not erase it."""
    first, second = HardState(1, 0), HardState(2, 1)

    assert merge([Ready(hard_state=first), Ready(hard_state=second), Ready()]) == (second, [])
    assert merge([Ready()]) == (None, [])


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([(1, 3), (4, 5)], [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2)]),
        ([(1, 3), (2, 2)], [(1, 1), (2, 2)]),
        ([(5, 9), (3, 4)], [(3, 2), (4, 2)]),
        ([(1, 4), (4, 4), (2, 3)], [(1, 1), (2, 3), (3, 3)]),
    ],
)
def test_later_entries_replace_the_tail(spans: list[tuple[int, int]], expected: list[tuple[int, int]]) -> None:
    """Entries of a later Ready replace those at their indexes and everything after them."""
    readys = [Ready(entries=entries(first, last, term)) for term, (first, last) in enumerate(spans, 1)]

    assert [(entry.index, entry.term) for entry in merge(readys)[1]] == expected


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 5)), min_size=1, max_size=8))
def test_one_merged_save_is_all_of_them(spans: list[tuple[int, int]]) -> None:
    """A journal holds the same after one merged save as after all the saves one by one."""
    log: list[Entry] = list(entries(1, 6))
    one_by_one, readys = list(log), []
    for term, (first, count) in enumerate(spans, 2):
        begin = min(first, len(one_by_one) + 1)
        new = entries(begin, begin + count - 1, term)
        readys.append(Ready(entries=new))
        if new:
            one_by_one[begin - 1 :] = new

    merged = merge(readys)[1]

    if merged:
        log[merged[0].index - 1 :] = merged
    assert log == one_by_one
