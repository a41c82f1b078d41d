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
    Failure,
    Get,
    GetAt,
    Item,
    Mutation,
    Operation,
    Outcome,
    Page,
    Range,
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
        state = dict(self.now)
        transaction = _Transaction(state, self.revision + 1)
        try:
            result = transaction.apply(mutation)
        except _Failed as failed:
            return Failure(str(failed), "")
        if transaction.changed:
            self.states.append(state)
        return result

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

    def __init__(self, state: State, revision: int) -> None:
        self._state = state
        self._revision = revision
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
        return 0  # others change no key

    def _put(self, key: bytes, value: bytes) -> None:
        old, now = self._state.get(key), self._revision
        self._state[key] = (value, now, now, 1) if old is None else (value, old[1], now, old[3] + 1)
        self.changed = True

    def _remove(self, keys: Sequence[bytes]) -> list[tuple[bytes, Item]]:
        found = [(key, self._state.pop(key)) for key in keys if key in self._state]
        self.changed = self.changed or bool(found)
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
            case Put(key, value):
                old = self._state.get(key)
                self._put(key, value)
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
                self._put(key, content)
                return len(content)
        return self._run(step)

    def _add(self, key: bytes, by: int) -> int:
        value = self._value(key, b"0")
        if not re.fullmatch(rb"0|-?[1-9]\d{0,18}", value) or not -(2**63) <= int(value) < 2**63:
            raise _Failed("NOT_A_NUMBER")
        total = int(value) + by
        if not -(2**63) <= total < 2**63:
            raise _Failed("OVERFLOW")
        self._put(key, str(total).encode())
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
