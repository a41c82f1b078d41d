"""The store as one would write it without a thought for speed or memory: it keeps every state that it ever had."""

import re
from collections.abc import Sequence
from typing import Any

from kvraft.commands import Delete, Item, Mutation, Set, Span, Transact
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


class Failed(Exception):
    """The transaction comes to a failure."""


class Twin:
    """All states by their revisions, and what each command comes to in plain values."""

    def __init__(self) -> None:
        self.states: list[State] = [{}]

    @property
    def now(self) -> State:
        """The latest state."""
        return self.states[-1]

    def apply(self, mutation: Mutation) -> object:
        """Carry out a command; a failure is its code."""
        state, revision = dict(self.now), len(self.states)
        try:
            result, changed = _apply(mutation, state, revision)
        except Failed as failed:
            return str(failed)
        if changed:
            self.states.append(state)
        return result


def within(state: State, span: Span) -> list[tuple[bytes, Item]]:
    """Return what a range holds, in order."""
    return sorted((k, item) for k, item in state.items() if k >= span.start and (span.end is None or k < span.end))


def _apply(mutation: Mutation, state: State, revision: int) -> tuple[object, bool]:
    before = dict(state)
    if isinstance(mutation, Set):
        _put(state, mutation.key, mutation.value, revision)
        return revision, True
    if isinstance(mutation, Delete):
        return int(state.pop(mutation.key, None) is not None), state != before
    assert isinstance(mutation, Transact), "an unknown command"
    touched: list[bytes] = []
    result = _run(mutation, state, revision, touched)
    return _with_revision(result, revision if touched else revision - 1, mutation), bool(touched)


def _with_revision(result: Any, revision: int, _: object) -> Any:
    succeeded, results = result
    return succeeded, revision, results


def _put(state: State, key: bytes, value: bytes, revision: int) -> None:
    old = state.get(key)
    state[key] = (value, revision, revision, 1) if old is None else (value, old[1], revision, old[3] + 1)


def _run(transaction: Transact | Nested, state: State, revision: int, touched: list[bytes]) -> Any:
    succeeded = all(_compare(each, state) for each in transaction.compares)
    steps: Sequence[Step] = transaction.then if succeeded else transaction.otherwise
    return succeeded, [_step(step, state, revision, touched) for step in steps]


def _compare(compare: Compare, state: State) -> bool:
    if isinstance(compare.at, bytes):
        items: list[Item | None] = [state.get(compare.at)]
    else:
        items = [item for _, item in within(state, compare.at)] or [None]
    return all(_holds(compare, item) for item in items)


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


def _step(step: Step, state: State, revision: int, touched: list[bytes]) -> object:
    match step:
        case Put():
            old = state.get(step.key)
            _put(state, step.key, step.value, revision)
            touched.append(step.key)
            return old
        case Read():
            return state.get(step.key)
        case Remove():
            return _remove([step.key] if step.key in state else [], state, touched)
        case RemoveRange():
            keys = [key for key, _ in within(state, step.span)]
            return _remove(keys[: step.limit] if step.limit else keys, state, touched)
        case ReadRange():
            items = within(state, step.span)
            if step.reverse:
                items.reverse()
            return items[: step.limit] if step.limit else items
        case CountRange():
            return len(within(state, step.span))
        case Add():
            value = state[step.key][0] if step.key in state else b"0"
            if not re.fullmatch(rb"0|-?[1-9]\d{0,18}", value):
                raise Failed("NOT_A_NUMBER")
            total = int(value) + step.by
            if not -(2**63) <= total < 2**63:
                raise Failed("OVERFLOW")
            _put(state, step.key, str(total).encode(), revision)
            touched.append(step.key)
            return total
        case Append():
            value = (state[step.key][0] if step.key in state else b"") + step.value
            _put(state, step.key, value, revision)
            touched.append(step.key)
            return len(value)
    return _run(step, state, revision, touched)


def _remove(keys: Sequence[bytes], state: State, touched: list[bytes]) -> list[tuple[bytes, Item]]:
    touched += keys
    return [(key, state.pop(key)) for key in keys]
