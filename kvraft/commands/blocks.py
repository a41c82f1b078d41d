"""Blocks: commands that are executed together, at one revision, if the watched keys have not changed meanwhile.

A block implements MULTI and EXEC of Redis. Unlike an operation of a transaction, a command of a block fails alone:
nothing of it takes effect, and the others are executed. Reads see the writes of earlier commands of the block. They are
in the log so that every member has the same results, whenever it applies the block.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Final, Union

import msgspec
from typing_extensions import override

from kvraft.commands.base import ARGUMENTS_BYTES, INTEGER_BYTES, Mutation
from kvraft.commands.basic import Delete, Set
from kvraft.commands.item import Item
from kvraft.commands.key_queries import AnyKey, Exists, GetMany, Matching, Scan, TimeLeft
from kvraft.commands.keys import ChangeExpiry, Copy, DeleteMany, RemoveAll
from kvraft.commands.model import (
    Answers,
    CommandFailed,
    Failure,
    InvalidCommand,
    Outcome,
    Page,
    Result,
    Scanned,
    Transaction,
)
from kvraft.commands.queries import Count, Get, Query
from kvraft.commands.strings import (
    MANY_BYTES_MAX,
    AddFloat,
    GetAndExpire,
    Increment,
    SetIf,
    SetMany,
    SetRange,
    Take,
)
from kvraft.commands.transactions import Append, Transact

WATCHED_MAX: Final = 1_000
"""Most watched keys of one block."""
BLOCK_WORK_MAX: Final = 2_000
"""Most work of all commands of a block, in units of one SET: up to ten milliseconds (measured)."""
BLOCK_BYTES_MAX: Final = MANY_BYTES_MAX
"""Most bytes of keys, values and other arguments of one block."""
BLOCK_RESULT_BYTES_MAX: Final = 16 * 1024 * 1024
"""Most bytes of keys and values that one block returns."""
_COMMAND_WORK: Final = 4
"""The work of a command that does more than read or store a value, in units of one SET."""
_KEY_WORK: Final = 2
"""The work for each key of a command that names several."""
_COPY_WORK: Final = 10
"""The work of a command that may copy a long value."""

MUTATIONS_OF_BLOCKS: Final[tuple[type[Mutation], ...]] = (
    Set,
    Delete,
    Transact,
    SetIf,
    SetMany,
    Take,
    GetAndExpire,
    SetRange,
    AddFloat,
    Increment,
    DeleteMany,
    ChangeExpiry,
    Copy,
    RemoveAll,
)
MUTATIONS_THAT_READ: Final = (SetIf, Take, GetAndExpire, Transact)
"""Those whose results may hold values."""
QUERIES_OF_BLOCKS: Final = (Get, TimeLeft, Count, GetMany, Exists, Scan, AnyKey, Matching)
COMMANDS_OF_BLOCKS: Final[tuple[type, ...]] = (*MUTATIONS_OF_BLOCKS, *QUERIES_OF_BLOCKS)
"""Every command that may stand in a block."""


def _tag(command: Any) -> int:
    tag = command.__struct_config__.tag
    assert isinstance(tag, int), f"{command.__name__} has no tag"
    return tag


BLOCK_TAGS: Final = frozenset(map(_tag, COMMANDS_OF_BLOCKS))
"""The tags of all commands that may stand in a block."""

_AnyCommand: Any = Union[COMMANDS_OF_BLOCKS]  # noqa: UP007 - of a tuple
_encode: Final = msgspec.msgpack.Encoder().encode


class Block(Mutation, frozen=True, gc=False, array_like=True, tag=33):
    """Executes commands unless a watched key has changed. Its result is their `Answers`."""

    LEVEL: ClassVar[int] = 3

    watched: list[tuple[bytes, int, int]]
    """The watched keys, each with the `Mark` that it must have."""
    commands: list[_AnyCommand]

    @property
    @override
    def size(self) -> int:
        size = 4 * ARGUMENTS_BYTES
        for key, _, _ in self.watched:
            size += len(key) + 2 * INTEGER_BYTES + ARGUMENTS_BYTES
        for command in self.commands:
            size += command.size if isinstance(command, Mutation) else len(_encode(command))
        return size

    @override
    def apply(self, transaction: Transaction) -> Answers:
        if any(transaction.mark(key) != (revision, deadline) for key, revision, deadline in self.watched):
            return Answers(None)
        room = BLOCK_RESULT_BYTES_MAX
        results: list[Result] = []
        for command in self.commands:
            if not isinstance(command, Mutation):
                result = command.run(transaction)
                if _returned(result) > room:
                    result = _too_much()
            elif isinstance(command, MUTATIONS_THAT_READ):
                result = transaction.attempt(_Bounded(command, room))
            else:
                result = transaction.attempt(command)
            room -= _returned(result)
            results.append(result)
        return Answers(results)


class _Bounded:
    """A mutation that fails if it returns more bytes than the block has room for."""

    __slots__ = ("_command", "_room")

    def __init__(self, command: Mutation, room: int) -> None:
        self._command = command
        self._room = room

    def apply(self, transaction: Transaction) -> Result:
        """Apply it, and return its result."""
        result = self._command.apply(transaction)
        if _returned(result) > self._room:
            raise CommandFailed(_too_much())
        return result


def _returned(result: Any) -> int:
    """Return how many bytes of keys and values a command returns; of a `Page` by itself only the keys are used."""
    match result:
        case Item():
            return len(result.value)
        case [*results]:
            return sum(map(_returned, results))
        case Outcome():
            return sum(map(_returned, result.results)) + sum(
                len(item.value) for page in result.results if isinstance(page, Page) for _, item in page.items
            )
        case Scanned():
            return sum(map(len, result.keys))
        case Page():
            return sum(len(key) for key, _ in result.items)
    return 0


def _too_much() -> Failure:
    return Failure(
        "RESULT_TOO_LARGE",
        f"the results of one transaction have at most {BLOCK_RESULT_BYTES_MAX} bytes; read less, or outside of it",
    )


def work_of(command: Mutation | Query) -> int:
    """Return the work of a command, in units of one SET."""
    match command:
        case SetMany():
            return _KEY_WORK * len(command.pairs)
        case DeleteMany():
            return _KEY_WORK * len(command.keys)
        case GetMany() | Exists():
            return len(command.keys)
        case RemoveAll():
            return command.keys_max
        case Scan() | Matching():
            return command.count
        case Set() | Get() | TimeLeft():
            return 1
        case SetRange() | AddFloat():
            return _COPY_WORK
        case Transact():
            steps = (*command.then, *command.otherwise)
            return sum(_COPY_WORK if isinstance(step, Append) else _COMMAND_WORK for step in steps)
    return _COMMAND_WORK


def block(watched: Sequence[tuple[bytes, int, int]], commands: Sequence[Mutation | Query]) -> Block:
    """Return a block that may be proposed.

    Raises:
        InvalidCommand: it is larger than a block may be, or holds a command that is not allowed in one.
    """
    for command in commands:
        if type(command) not in COMMANDS_OF_BLOCKS:
            raise InvalidCommand(f"{type(command).__name__} cannot be part of a transaction")
    if len(watched) > WATCHED_MAX:
        raise InvalidCommand(f"at most {WATCHED_MAX} keys can be watched, and not {len(watched)}")
    work = sum(map(work_of, commands))
    if work > BLOCK_WORK_MAX:
        raise InvalidCommand(
            f"the commands of one transaction do the work of {work} and may do that of {BLOCK_WORK_MAX}; send several"
        )
    made = Block(list(watched), list(commands))
    if made.size > BLOCK_BYTES_MAX:
        raise InvalidCommand(f"a transaction has at most {BLOCK_BYTES_MAX} bytes; send several")
    return made
