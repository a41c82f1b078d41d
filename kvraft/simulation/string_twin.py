"""The commands of Redis as the twin of the store carries them out, written as Redis documents them."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Protocol

from kvraft.commands import Get, Item, Mutation, Result
from kvraft.commands.blocks import Block
from kvraft.commands.key_queries import Exists, GetMany, TimeLeft
from kvraft.commands.keys import ChangeExpiry, Copy, DeleteMany, When
from kvraft.commands.model import Answers
from kvraft.commands.strings import (
    PASSED,
    AddFloat,
    GetAndExpire,
    Increment,
    Presence,
    SetIf,
    SetMany,
    SetRange,
    Take,
)

StringCommand = (
    SetIf | SetMany | Take | GetAndExpire | SetRange | AddFloat | Increment | DeleteMany | ChangeExpiry | Copy | Block
)


class Failed(Exception):
    """The command fails with this code, and without effect."""


class Tables(Protocol):
    """The state while one command changes it."""

    state: dict[bytes, Item]
    deadlines: dict[bytes, int]
    attached: dict[bytes, int]
    time_us: int

    def apply(self, mutation: Mutation) -> Result:
        """Carry out another command as a part of this one."""
        ...

    def attempt(self, mutation: Mutation) -> Result:
        """Carry out another command, of which nothing remains if it fails."""
        ...

    def put(self, key: bytes, value: bytes, ttl_us: int | None = 0, lease: int = 0) -> None:
        """Store a value."""
        ...

    def remove(self, keys: list[bytes]) -> list[tuple[bytes, Item]]:
        """Remove keys; return those that were there."""
        ...

    def expire(self, key: bytes, ttl_us: int) -> None:
        """Set or remove a deadline."""
        ...

    def add(self, key: bytes, by: int) -> int:
        """Add to a number."""
        ...


def mark_at(
    key: bytes, state: Mapping[bytes, Item], deadlines: Mapping[bytes, int], attached: Mapping[bytes, int]
) -> tuple[int, int]:
    """Return what WATCH notes of a key."""
    item = state.get(key)
    return (0, 0) if item is None else (item.modify_revision, deadlines.get(key) or -attached.get(key, 0))


def carry_out(tables: Tables, command: StringCommand) -> Result:  # noqa: C901 - one branch for each command
    """Carry out one command."""
    state = tables.state
    match command:
        case SetIf(key, value, ttl_us, presence, returns_old):
            old = state.get(key)
            wanted = presence is Presence.ANY or (old is None) == (presence is Presence.ABSENT)
            if wanted and ttl_us == PASSED:
                tables.remove([key])
            elif wanted:
                tables.put(key, value, ttl_us)
            return old if returns_old else int(wanted)
        case SetMany(pairs, only_new):
            if only_new and any(key in state for key, _ in pairs):
                return 0
            for key, value in dict(pairs).items():  # each key once, in the place where it is first named
                tables.put(key, value)
            return 1
        case Take(key):
            return dict(tables.remove([key])).get(key)
        case GetAndExpire(key, ttl_us):
            old = state.get(key)
            if old is not None:
                _let_expire(tables, key, ttl_us)
            return old
        case SetRange(key, offset, value):
            content = bytearray(state[key].value if key in state else b"")
            if value:
                content.extend(bytes(max(0, offset + len(value) - len(content))))
                content[offset : offset + len(value)] = value
                tables.put(key, bytes(content), None)
            return len(content)
        case AddFloat(key, by):
            return _add_fraction(tables, key, by)
        case Increment(key, by):
            return tables.add(key, by)
        case DeleteMany(keys):
            return len(tables.remove(keys))
        case Block():
            return _run_together(tables, command)
    return _change_keys(tables, command)


def _change_keys(tables: Tables, command: ChangeExpiry | Copy) -> Result:
    state = tables.state
    if isinstance(command, ChangeExpiry):
        key, deadline = command.key, tables.deadlines.get(command.key)
        if key not in state or not _may_change(command, tables.time_us, deadline):
            return 0
        _let_expire(tables, key, command.ttl_us)
        return 1
    source, destination = command.source, command.destination
    if source not in state:
        if command.moves:
            raise Failed("NO_SUCH_KEY")
        return 0
    if not command.replaces and destination in state:
        return 0
    if source != destination:
        value, deadline = state[source].value, tables.deadlines.get(source)
        if command.moves:
            tables.remove([source])
        tables.put(destination, value, 0 if deadline is None else deadline - tables.time_us)
    return 1


def _may_change(command: ChangeExpiry, now: int, deadline: int | None) -> bool:
    if command.ttl_us == 0:
        return deadline is not None
    new = now + command.ttl_us
    return {
        When.ALWAYS: True,
        When.HAS_NONE: deadline is None,
        When.HAS_ONE: deadline is not None,
        When.LATER: deadline is not None and new > deadline,
        When.EARLIER: deadline is None or new < deadline,
        When.EARLIER_IF_ANY: deadline is not None and new < deadline,
    }[command.when]


def _let_expire(tables: Tables, key: bytes, ttl_us: int) -> None:
    if ttl_us == PASSED:
        tables.remove([key])
    else:
        tables.expire(key, ttl_us)


def _add_fraction(tables: Tables, key: bytes, by: bytes) -> str:
    """Add halves and whole numbers, which are the same in every arithmetic."""
    value = tables.state[key].value if key in tables.state else b"0"
    if not re.fullmatch(rb"-?\d+(\.\d+)?", value):
        raise Failed("NOT_A_FRACTION")
    total = Decimal(value.decode()) + Decimal(by.decode())
    text = f"{total.normalize():f}"
    text = "0" if text == "-0" else text
    tables.put(key, text.encode(), None)
    return text


def _run_together(tables: Tables, block: Block) -> Answers:
    for key, *noted in block.watched:
        if mark_at(key, tables.state, tables.deadlines, tables.attached) != tuple(noted):
            return Answers(None)
    return Answers(
        [tables.attempt(each) if isinstance(each, Mutation) else _read(tables, each) for each in block.commands]
    )


def _read(tables: Tables, query: Any) -> Result:
    if isinstance(query, TimeLeft):
        return time_left(query.key, tables.state, tables.deadlines, tables.time_us)
    return read(query, tables.state)


def read(query: Any, state: Mapping[bytes, Item]) -> Result:
    """Return the result of a query that needs no time."""
    match query:
        case Get(key):
            return state.get(key)
        case GetMany(keys):
            return [state.get(key) for key in keys]
        case Exists(keys):
            return sum(key in state for key in keys)
    raise AssertionError(f"an unknown query: {query}")


def time_left(key: bytes, state: Mapping[bytes, Item], deadlines: Mapping[bytes, int], now: int) -> int:
    """Return how long a key has, microseconds; -1: for ever, -2: it is not there."""
    if key not in state:
        return -2
    return deadlines[key] - now if key in deadlines else -1
