"""Makes requests of what a Redis client sends: one submission of a whole chunk."""

from collections.abc import Sequence
from typing import Final

import msgspec

from kvraft.commands import AcquireLock, Failure, InvalidCommand, LocalRead, Mutation, Operation, StaleRead
from kvraft.errors import NotLeaderRefusal, RequestFailed
from kvraft.server.dialect import Answer, Disconnect, Note, Requests, Unwatch, Watch
from kvraft.server.resp import errors
from kvraft.server.resp.commands import TABLE
from kvraft.server.resp.connection_state import Connection
from kvraft.server.resp.encoding import error
from kvraft.server.resp.members import redirect_address
from kvraft.server.resp.parse import Command as Arguments
from kvraft.server.resp.parse import CommandReader
from kvraft.server.resp.slots import slot_of
from kvraft.server.resp.table import Alone, Ask, Command, Effect, InTransaction

HEAVY_TOGETHER: Final = 16
"""So many commands that can cost far more than a SET are carried out together; those after them wait."""
COMMANDS_TOGETHER: Final = 4_096
"""Most commands that are carried out together."""
NOTES_BYTES_TOGETHER: Final = 256 * 1024
"""Bytes of replies that need no store after which the commands behind them wait."""
_STATUS_BYTES: Final = NOTES_BYTES_TOGETHER // HEAVY_TOGETHER


class RespRequests(Requests, gc=False):
    """Requests of a Redis client."""

    is_alone: bool = False
    """Whether they are to be carried out before anything else is read."""
    keys: list[bytes | None] = msgspec.field(default_factory=list)
    """The first key of each operation, by which a cluster client is sent to the leader."""
    note_bytes: int = 0
    """Bytes of the notes, where one that is made of the node's status counts as long as a heavy command takes."""

    def stand_alone(self, alone: Alone) -> None:
        """Ask this and nothing beside it."""
        match alone.what:
            case AcquireLock():
                self.lock = alone.what
            case Watch() | Unwatch():
                self.watch = alone.what
            case _:
                self.command = alone.what
        self.answers.append(alone.answer)
        self.is_alone = True


class RespDialect:
    """Reads one connection's commands. It holds those that are not carried out yet."""

    begins = b""
    defect = error("ERR this node has met a defect, see its log; a write may have happened")

    def __init__(self, connection: Connection, bytes_max: int) -> None:
        self._connection = connection
        self._reader = CommandReader(bytes_max)
        self._unread: list[bytes] = []
        self._unread_bytes = 0
        self._commands: list[Arguments] = []
        """Of the last chunk; those from `_place` on wait."""
        self._place = 0
        self._chunk_bytes = 0
        self.is_leaving = False
        """Whether the client is to turn to another node, for this one does not lead any more."""
        self.has_asked = False
        """Whether anything was asked of the store."""

    @property
    def held(self) -> int:
        """Bytes that wait; commands that wait count as the chunk in which they came."""
        return self._reader.held + self._unread_bytes + (self._chunk_bytes if self._commands else 0)

    @property
    def has_input(self) -> bool:
        """Whether anything is held, or will never be read."""
        waiting = self._commands or self._unread or self._reader.held or self._connection.steps is not None
        return bool(waiting) or self.overflow is not None

    @property
    def overflow(self) -> bytes | None:
        """The last answer before the connection closes: after QUIT, after a violation of the protocol."""
        if self._connection.last_words is not None:
            return self._connection.last_words
        if self._reader.violation is not None and not self._commands:
            return error(f"ERR Protocol error: {self._reader.violation}")
        return b"" if self.is_leaving else None

    def hold(self, data: bytes) -> None:
        """Keep input for later."""
        self._unread.append(data)
        self._unread_bytes += len(data)

    def take(self, data: bytes = b"") -> RespRequests | None:
        """Return the requests of the next commands; see `Dialect`."""
        if self._connection.last_words is not None:
            return None
        if self._connection.steps is not None and (step := self._next_step(data)) is not None:
            return step
        if not self._commands:
            if self._unread:
                data = b"".join((*self._unread, data))
                self._unread.clear()
                self._unread_bytes = 0
            if data:
                self._commands = self._reader.take(data)
                self._chunk_bytes = len(data)
            if not self._commands:
                return None
        elif data:
            self.hold(data)
        return self._read()

    def _next_step(self, data: bytes) -> RespRequests | None:
        """Return the next step of the command that is under way; None: there is no more."""
        steps = self._connection.steps
        assert steps is not None, "no command is under way"
        operation, steps.following = steps.following, None
        if operation is None:  # the last one is answered, or has failed
            self._connection.steps = None
            return None
        if data:
            self.hold(data)
        answer: Answer = steps.answered
        if self._connection.follower_reads is not None and not isinstance(operation, Mutation):
            operation, answer = self._connection.follower_reads.place(operation, answer)
        return RespRequests([operation], [answer], [], 0, keeps=True, keys=[None])

    def _read(self) -> RespRequests:
        """Read commands until the chunk is at its end, or one must wait for those before it."""
        connection = self._connection
        commands, place = self._commands, self._place
        operations: list[Operation] = []
        answers: list[Answer] = []
        notes: list[tuple[int, Note]] = []
        keys: list[bytes | None] = []
        requests = RespRequests(operations, answers, notes, 0, keeps=True, keys=keys)
        protocol, reads, heavy = connection.protocol - 2, connection.follower_reads, 0
        find = TABLE.get
        count = min(len(commands), place + COMMANDS_TOGETHER)
        while place < count:
            arguments = commands[place]
            command = find(arguments[0])
            if (
                command is not None
                and command.read is not None
                and command.least <= len(arguments) <= command.most
                and connection.transaction is None
            ):
                try:
                    operation, reply = command.read(arguments)
                except InvalidCommand as reason:
                    notes.append((len(operations), errors.invalid(reason)))
                    place += 1
                    continue
                answer = reply[protocol]
                if reads is not None:
                    if self._stands_apart(command, operations):
                        break
                    if command.is_read:
                        operation, answer = reads.place(operation, answer)
                place += 1
                operations.append(operation)
                answers.append(answer)
                keys.append(arguments[command.keys[0]] if command.keys[0] else None)
                if command.is_heavy:
                    heavy += 1
                    if heavy == HEAVY_TOGETHER:
                        break
                continue
            if not self._take_other(command, arguments, requests):
                break
            place += 1
            protocol, reads = connection.protocol - 2, connection.follower_reads
            if requests.is_alone or connection.last_words is not None or connection.steps is not None:
                break
            if requests.note_bytes >= NOTES_BYTES_TOGETHER:
                break
        self._end(requests, place)
        return requests

    @staticmethod
    def _stands_apart(command: Command, operations: Sequence[Operation]) -> bool:
        """Whether a command must wait for those before it: what a follower answers is not asked with anything else."""
        return bool(operations) and command.is_read is not isinstance(operations[-1], LocalRead | StaleRead)

    def _take_other(self, command: Command | None, arguments: Arguments, requests: RespRequests) -> bool:
        """Read a command that is more than an operation; return False when those before it must be answered first."""
        connection, name = self._connection, arguments[0]
        if command is None:
            command = TABLE.get(name.upper())
        full_name = command.name if command is not None else ""
        if command is not None and command.subcommands and len(arguments) > 1:
            container, command = command, command.by_name.get(arguments[1].upper())
            full_name = f"{container.name}|{command.name}" if command is not None else container.name
            connection.last_command = full_name
        if command is None or not command.least <= len(arguments) <= command.most:
            if full_name == "exec":  # which ends the transaction also when it is wrong
                connection.transaction, connection.watched = None, {}
            elif connection.transaction is not None:
                connection.transaction.spoil()
            self._note(requests, _misread(command, full_name, arguments))
            return True
        if command.must_wait is not None and (requests.operations or requests.notes) and command.must_wait(connection):
            return False
        if connection.transaction is not None and command.in_transaction is InTransaction.QUEUED:
            self._note(requests, connection.transaction.queue(connection, command, arguments))
            return True
        try:
            self._carry_out(command, arguments, requests)
        except InvalidCommand as reason:
            self._note(requests, errors.invalid(reason))
        except MustStandAlone:
            return False
        return True

    def _carry_out(self, command: Command, arguments: Arguments, requests: RespRequests) -> None:
        """Read a command whose place is here.

        Raises:
            MustStandAlone: there are others before it.
        """
        outcome: Note | Ask | Effect | Alone
        if command.acts_when_answered:
            requests.is_alone = True
        if self._connection.follower_reads is not None and self._stands_apart(command, requests.operations):
            raise MustStandAlone
        if command.read is not None:
            operation, reply = command.read(arguments)
            keys = command.keys_of(arguments)
            outcome = Ask(operation, reply, keys[0] if keys else None)
        else:
            assert command.act is not None, f"{command.name} does nothing"
            outcome = command.act(self._connection, arguments)
        if isinstance(outcome, Ask):
            operation, answer = self._placed(command, outcome.operation, outcome.reply[self._connection.protocol - 2])
            requests.operations.append(operation)
            requests.answers.append(answer)
            requests.keys.append(outcome.key)
        elif isinstance(outcome, Alone):
            if requests.operations or requests.notes:
                raise MustStandAlone
            requests.stand_alone(outcome)
        else:
            self._note(requests, outcome.act if isinstance(outcome, Effect) else outcome)

    def _placed(self, command: Command, operation: Operation, answer: Answer) -> tuple[Operation, Answer]:
        """Return the operation of a command and its encoder, with a read on this node where the connection wants it."""
        reads = self._connection.follower_reads
        return (operation, answer) if reads is None or not command.is_read else reads.place(operation, answer)

    def _note(self, requests: RespRequests, note: Note) -> None:
        requests.notes.append((len(requests.operations), note))
        requests.note_bytes += len(note) if isinstance(note, bytes) else _STATUS_BYTES

    def _end(self, requests: RespRequests, place: int) -> None:
        """Keep the commands from `place` on for later, and count those before."""
        connection, count = self._connection, place - self._place
        requests.count = count
        if count:
            connection.commands += count
            connection.last_at = connection.node.clock.seconds()
            connection.last_command = _full_name(self._commands[place - 1])
        if requests.operations or requests.lock is not None:
            self.has_asked = True
        self._place = place
        if place == len(self._commands) or connection.last_words is not None:
            self._commands, self._place = [], 0

    def take_last(self) -> None:
        """A command that has not arrived as a whole is none."""

    def clear(self) -> None:
        """Drop what is held."""
        self._reader.clear()
        self._unread.clear()
        self._unread_bytes = 0
        self._commands, self._place = [], 0

    def refuse(self, reason: RequestFailed, requests: Requests) -> Sequence[bytes]:
        """Say why there are no results: a follower sends clients to the leader, by the slots of their keys.

        A client that found this node leading loses its connection when the leadership has ended. A redirect would be an
        error for a client without support for clusters, but every client looks for the leader when it has lost its
        connection. Nothing was changed, so the client may send the same once more.
        """
        if isinstance(reason, NotLeaderRefusal):
            if self.is_leaving:
                raise Disconnect
            if reason.leader_hint is not None:
                keys = requests.keys if isinstance(requests, RespRequests) else ()
                where = redirect_address(reason.leader_hint)
                return [error(f"MOVED {0 if key is None else slot_of(key)} {where}") for key in keys] or [
                    error(f"MOVED 0 {where}")
                ] * len(requests.answers)
        return [errors.refused(reason)] * len(requests.answers)

    def fail(self, failure: Failure) -> bytes:
        """Say why a command has failed."""
        return errors.failed(failure)


class MustStandAlone(Exception):
    """A command is carried out by itself, and there are others before it."""


def _full_name(arguments: Arguments) -> str:
    """Return the name of a command for CLIENT LIST; no bytes of the client may stand there."""
    command = TABLE.get(arguments[0]) or TABLE.get(arguments[0].upper())
    if command is None:
        return "NULL"
    if command.subcommands and len(arguments) > 1:
        subcommand = command.by_name.get(arguments[1].upper())
        if subcommand is not None:
            return f"{command.name}|{subcommand.name}"
    return command.name


def _misread(command: Command | None, name: str, arguments: Arguments) -> bytes:
    """Return the error for a command that does not exist, or has another number of arguments."""
    if command is not None:
        return errors.wrong_arity(name)
    if name:
        return errors.unknown_subcommand(name, arguments[1])
    return errors.unknown_command(arguments)
