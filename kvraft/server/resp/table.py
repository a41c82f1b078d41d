"""What a command of the dialect is: how it is counted, which of its arguments are keys, and what it does."""

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import attrs
import msgspec

from kvraft.commands import AcquireLock, AdminCommand, Operation
from kvraft.commands.integers import read_integer
from kvraft.server.dialect import Answer, Note, Unwatch, Watch
from kvraft.server.resp.connection_state import Connection
from kvraft.server.resp.encoding import Reply

Arguments = Sequence[bytes]
"""A command as it was sent: its name comes first, so that places are those that Redis counts."""

Read = Callable[[Arguments], tuple[Operation, Reply]]
"""Makes the store's operation of a command, and says how its result is answered.

Raises:
    RespError: the command is wrong, in Redis' words.
    InvalidCommand: the store can never carry it out.
"""

ARGUMENTS_WITHOUT_END: Final = 2**31


class Ask(msgspec.Struct, frozen=True):
    """What a command that changes its connection asks of the store."""

    operation: Operation
    reply: Reply
    key: bytes | None = None
    """A key of the command: a redirected client gets the slot of this key."""


class Effect(msgspec.Struct, frozen=True):
    """What a command does outside the store, in the order of commands. In a transaction it happens only with EXEC."""

    act: Callable[[dict[str, object]], bytes]
    """Carries the command out and returns the reply, given the node's status."""


class Alone(msgspec.Struct, frozen=True):
    """What is carried out by itself: what an operator asks, a lock to wait for, a watch to begin or to end."""

    what: AdminCommand | AcquireLock | Watch | Unwatch
    answer: Answer


Act = Callable[[Connection, Arguments], Note | Ask | Effect | Alone]
"""Carries out a command that needs its connection; the effects on it are in the order in which commands are read.

What it returns is the reply, or makes the reply of the node's status when that is due, or says what is asked of the
store. It raises what a `Read` raises."""


class InTransaction(enum.Enum):
    """What becomes of a command between MULTI and EXEC."""

    QUEUED = enum.auto()
    AT_ONCE = enum.auto()
    """It is carried out at once and not queued: EXEC, DISCARD, MULTI, WATCH, QUIT and RESET."""


@attrs.frozen(kw_only=True)
class Command:
    """One command. It has `read`, `act` or `subcommands`."""

    name: str
    """In lower case; of a subcommand, without its container."""
    arity: int
    """Its arguments with the name (and the container's); negative: at least so many."""
    flags: tuple[str, ...] = ()
    keys: tuple[int, int, int] = (0, 0, 0)
    """Places of the first key and the last one (negative: counted from the end), and the step between two."""
    numkeys_at: int = 0
    """Place of the argument that says how many keys come directly after it; 0: their places are those in `keys`."""
    read: Read | None = None
    act: Act | None = None
    read_queued: Read | None = None
    """Reads the command for EXEC, where that differs from `read`."""
    subcommands: tuple["Command", ...] = ()
    is_heavy: bool = False
    """Whether it may cost far more than a SET: a few of them are carried out at a time."""
    in_transaction: InTransaction = InTransaction.QUEUED
    acts_when_answered: bool = False
    """Whether it changes its connection only with its answer, before which nothing after it may be read."""
    must_wait: Callable[[Connection], bool] | None = None
    """Whether everything before it must be answered before it is read; None: never."""
    group: str = "generic"
    since: str = "1.0.0"
    summary: str = ""
    least: int = attrs.field(init=False)
    most: int = attrs.field(init=False)
    is_read: bool = attrs.field(init=False)
    """Whether it only reads, so that a follower may answer it."""
    by_name: Mapping[bytes, "Command"] = attrs.field(init=False, repr=False)
    """Its subcommands, by their names in capitals."""

    @least.default
    def _count_least(self) -> int:
        return abs(self.arity)

    @most.default
    def _count_most(self) -> int:
        return self.arity if self.arity > 0 else ARGUMENTS_WITHOUT_END

    @is_read.default
    def _find_whether_it_reads(self) -> bool:
        return "readonly" in self.flags

    @by_name.default
    def _name_subcommands(self) -> Mapping[bytes, "Command"]:
        return {each.name.upper().encode(): each for each in self.subcommands}

    def keys_of(self, arguments: Arguments) -> list[bytes]:
        """Return the keys among `arguments`, which are as many as it takes."""
        first, last, step = self.keys
        if first == 0:
            return self._counted_keys(arguments) if self.numkeys_at else []
        end = last if last >= 0 else len(arguments) + last
        return list(arguments[first : end + 1 : step])

    def _counted_keys(self, arguments: Arguments) -> list[bytes]:
        """Return the keys, or none if there are not as many as `arguments` say, as Redis does."""
        count, rest = read_integer(arguments[self.numkeys_at]), arguments[self.numkeys_at + 1 :]
        return list(rest[:count]) if count is not None and 0 < count <= len(rest) else []


def by_name(commands: Iterable[Command]) -> dict[bytes, Command]:
    """Return commands by their names, in capitals and in small letters; other spellings are looked up in capitals."""
    table: dict[bytes, Command] = {}
    for command in commands:
        assert command.name.upper().encode() not in table, f"{command.name} is there twice"
        table[command.name.upper().encode()] = table[command.name.encode()] = command
    return table
