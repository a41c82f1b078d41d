"""The store as one would write it without a thought for speed or memory: it keeps every state that it ever had.

What the real store comes to is held against it, by tests and after simulated runs. It shares the commands and the types
of their results with the real one, and nothing else.
"""

import re
from collections.abc import Sequence
from typing import Any

from kvraft.commands import (
    Count,
    Delete,
    Expire,
    Failure,
    Get,
    GetAt,
    Item,
    Mutation,
    Operation,
    Outcome,
    Page,
    Range,
    RemoveExpired,
    Result,
    Set,
    Span,
    Transact,
)
from kvraft.commands.model import OperationResult
from kvraft.commands.transactions import (
    Add,
    Append,
    Compare,
    CountRange,
    Nested,
    Put,
    Read,
    ReadRange,
    Remove,
    RemoveRange,
    Step,
    Target,
)

State = dict[bytes, Item]


class _Failed(Exception):
    """The transaction comes to a failure with this code."""


class Twin:
    """All states by their revisions."""

    def __init__(self) -> None:
        self.states: list[State] = [{}]
        self.time_us = 0
        """The cluster time; whoever has a log sets it from the stamps, and lets it never go back."""
        self.deadlines: dict[bytes, int] = {}
        """When keys expire, in cluster time."""

    @property
    def now(self) -> State:
        """The latest state."""
        return self.states[-1]

    @property
    def revision(self) -> int:
        """The latest revision."""
        return len(self.states) - 1

    def apply(self, mutation: Mutation) -> Result:
        """Carry out a command and return its result; a failure has no message."""
        expired = self.expired
        if isinstance(mutation, RemoveExpired):
            return self._remove(expired[: mutation.keys_max])
        hidden = {key: item for key, item in self.now.items() if key in expired}
        state = {key: item for key, item in self.now.items() if key not in expired}
        transaction = _Transaction(state, self.revision + 1, dict(self.deadlines), self.time_us)
        try:
            result = transaction.apply(mutation)
        except _Failed as failed:
            return Failure(str(failed), "")
        self.deadlines = transaction.deadlines
        if transaction.changed:
            self.states.append(hidden | state)
        return result

    @property
    def expired(self) -> list[bytes]:
        """Keys that are there still and must not be seen, the earliest deadlines first."""
        due = [(deadline, key) for key, deadline in self.deadlines.items() if deadline <= self.time_us]
        return [key for _, key in sorted(due)]

    def _remove(self, keys: Sequence[bytes]) -> int:
        if keys:
            self.states.append({key: item for key, item in self.now.items() if key not in keys})
        for key in keys:
            del self.deadlines[key]
        return len(keys)

    def read(self, operation: Operation, revision: int) -> Result:
        """Return what a query comes to at a revision, unless it names one itself."""
        match operation:
            case Get(key):
                return self.states[revision].get(key)
            case GetAt(key, at):
                return self.states[at].get(key)
            case Count(span):
                return len(within(self.states[revision], span))
            case Range(span, limit, reverse, at):
                at = revision if at is None else at
                items = within(self.states[at], span)
                items = items[::-1] if reverse else items
                following = None
                if len(items) > limit:
                    following = items[limit - 1][0] if reverse else items[limit - 1][0] + b"\0"
                return Page(at, items[:limit], following)
        raise AssertionError(f"an unknown query: {operation}")


def within(state: State, span: Span) -> list[tuple[bytes, Item]]:
    """Return what a range holds, in order."""
    return sorted((k, item) for k, item in state.items() if k >= span.start and (span.end is None or k < span.end))


class _Transaction:
    """One mutation on a copy of the state."""

    def __init__(self, state: State, revision: int, deadlines: dict[bytes, int], time_us: int) -> None:
        self._state = state
        self._revision = revision
        self._time_us = time_us
        self.deadlines = deadlines
        self.changed = False

    def apply(self, mutation: Mutation) -> Result:
        """Carry it out."""
        match mutation:
            case Set():
                self._put(mutation.key, mutation.value)
                return self._revision
            case Delete():
                return len(self._remove([mutation.key]))
            case Transact():
                return self._run(mutation)
            case Expire():
                if mutation.key not in self._state:
                    raise _Failed("NO_SUCH_KEY")
                self._expire(mutation.key, mutation.ttl_us)
                return self._revision - 1
        return 0  # others change no key

    def _expire(self, key: bytes, ttl_us: int) -> None:
        self.deadlines.pop(key, None)
        if ttl_us:
            self.deadlines[key] = self._time_us + ttl_us

    def _put(self, key: bytes, value: bytes, ttl_us: int | None = 0) -> None:
        if ttl_us is not None or key not in self._state:
            self._expire(key, ttl_us or 0)
        old, now = self._state.get(key), self._revision
        self._state[key] = (value, now, now, 1) if old is None else (value, old[1], now, old[3] + 1)
        self.changed = True

    def _remove(self, keys: Sequence[bytes]) -> list[tuple[bytes, Item]]:
        found = [(key, self._state.pop(key)) for key in keys if key in self._state]
        self.changed = self.changed or bool(found)
        for key, _ in found:
            self.deadlines.pop(key, None)
        return found

    def _value(self, key: bytes, otherwise: bytes) -> bytes:
        return self._state[key][0] if key in self._state else otherwise

    def _run(self, transaction: Transact | Nested) -> Outcome:
        succeeded = all(self._compare(each) for each in transaction.compares)
        steps: Sequence[Step] = transaction.then if succeeded else transaction.otherwise
        results = [self._step(step) for step in steps]
        return Outcome(succeeded, self._revision if self.changed else self._revision - 1, results)

    def _compare(self, compare: Compare) -> bool:
        if isinstance(compare.at, bytes):
            return _holds(compare, self._state.get(compare.at))
        items: list[Item | None] = [item for _, item in within(self._state, compare.at)]
        return all(_holds(compare, item) for item in items or [None])

    def _page(self, items: list[tuple[bytes, Item]], limit: int) -> Page:
        is_cut = 0 < limit < len(items)
        return Page(self._revision, items[:limit] if is_cut else items, b"" if is_cut else None)

    def _step(self, step: Step) -> OperationResult:
        match step:
            case Put(key, value, ttl_us):
                old = self._state.get(key)
                self._put(key, value, ttl_us)
                return old
            case Read(key):
                return self._state.get(key)
            case Remove(key):
                return self._page(self._remove([key]), 0)
            case RemoveRange(span, limit):
                page = self._page(within(self._state, span), limit)
                self._remove([key for key, _ in page.items])
                return page
            case ReadRange(span, limit, reverse):
                items = within(self._state, span)
                return self._page(items[::-1] if reverse else items, limit)
            case CountRange(span):
                return len(within(self._state, span))
            case Add(key, by):
                return self._add(key, by)
            case Append(key, value):
                content = self._value(key, b"") + value
                self._put(key, content, None)
                return len(content)
        return self._run(step)

    def _add(self, key: bytes, by: int) -> int:
        value = self._value(key, b"0")
        if not re.fullmatch(rb"0|-?[1-9]\d{0,18}", value) or not -(2**63) <= int(value) < 2**63:
            raise _Failed("NOT_A_NUMBER")
        total = int(value) + by
        if not -(2**63) <= total < 2**63:
            raise _Failed("OVERFLOW")
        self._put(key, str(total).encode(), None)
        return total


def _holds(compare: Compare, item: Item | None) -> bool:
    found: Any
    if compare.target == Target.EXISTS:
        found = int(item is not None)
    elif compare.target == Target.VALUE:
        if item is None:
            return False
        found = item[0]
    else:
        _, create, mod, version = item or (b"", 0, 0, 0)
        found = {Target.CREATE_REVISION: create, Target.MOD_REVISION: mod, Target.VERSION: version}[compare.target]
    wanted: Any = compare.operand
    return bool([found == wanted, found > wanted, found < wanted, found != wanted][compare.relation])
