"""MULTI and what belongs to it: commands that are carried out together, unless keys that are watched have changed.

EXEC makes one `Block` of what was queued: one entry of the log, one revision. What needs no store is answered where it
stands between the others. WATCH notes the `Mark` of each key.
"""

from collections.abc import Sequence
from typing import Any, Final

import attrs

from kvraft.commands import Caller, Failure, InvalidCommand, Operation
from kvraft.commands.blocks import BLOCK_BYTES_MAX, BLOCK_WORK_MAX, COMMANDS_OF_BLOCKS, WATCHED_MAX, block
from kvraft.commands.key_queries import marks
from kvraft.commands.model import Answers, Mark
from kvraft.server.dialect import Answer, Note
from kvraft.server.resp import errors
from kvraft.server.resp.connection_state import Connection
from kvraft.server.resp.encoding import OK_BYTES, array, error, null_array
from kvraft.server.resp.errors import RespError
from kvraft.server.resp.table import Arguments, Ask, Command, Effect, InTransaction

QUEUED: Final = b"+QUEUED\r\n"
_ARGUMENT_BYTES: Final = 64
"""What an argument that is queued is counted with beside its bytes."""
_ABORTED: Final = "EXECABORT Transaction discarded because of previous errors."


@attrs.define(eq=False)
class Queue:
    """The commands since MULTI."""

    commands: list[tuple[Command, Arguments]] = attrs.field(factory=list)
    is_spoilt: bool = False
    _room: int = BLOCK_BYTES_MAX

    def queue(self, connection: Connection, command: Command, arguments: Arguments) -> bytes:
        """Take a command for EXEC; return what is answered at once."""
        self._room -= sum(map(len, arguments)) + _ARGUMENT_BYTES * len(arguments)
        if self._room < 0 or len(self.commands) == BLOCK_WORK_MAX:
            self.spoil()
            return error(
                f"ERR a transaction has at most {BLOCK_WORK_MAX} commands and {BLOCK_BYTES_MAX} bytes; send several"
            )
        if not self.is_spoilt:
            self.commands.append((command, arguments))
        return QUEUED

    def spoil(self) -> None:
        """Take note that a command was wrong."""
        self.is_spoilt = True
        self.commands.clear()


def _multi(connection: Connection, arguments: Arguments) -> Note:
    if connection.transaction is not None:
        raise RespError("ERR MULTI calls can not be nested")
    connection.transaction = Queue()
    return OK_BYTES


def _discard(connection: Connection, arguments: Arguments) -> Note:
    if connection.transaction is None:
        raise RespError("ERR DISCARD without MULTI")
    connection.transaction = None
    connection.watched = {}
    return OK_BYTES


def _watch(connection: Connection, arguments: Arguments) -> Note | Ask:
    if connection.transaction is not None:
        raise RespError("ERR WATCH inside MULTI is not allowed")
    watched = connection.watched
    # A key whose mark is not known is asked for again: the WATCH before may have been refused.
    keys = [key for key in dict.fromkeys(arguments[1:]) if watched.get(key) is None]
    question = marks(keys)
    if len(watched.keys() | keys) > WATCHED_MAX:
        raise RespError(f"ERR at most {WATCHED_MAX} keys can be watched")
    if not keys:
        return OK_BYTES
    watched.update(dict.fromkeys(keys))

    def note(found: list[Mark]) -> bytes:
        for key, mark in zip(keys, found, strict=True):
            if watched[key] is None:  # the first WATCH of a key counts
                watched[key] = mark
        return OK_BYTES

    return Ask(question, (note, note), keys[0])


def _unwatch(connection: Connection, arguments: Arguments) -> Note:
    connection.watched = {}  # what is asked still is noted in the old one
    return OK_BYTES


def _is_watch_unanswered(connection: Connection) -> bool:
    return None in connection.watched.values()


def _exec(connection: Connection, arguments: Arguments) -> Ask | Effect:
    queue, watched = connection.transaction, connection.watched
    if queue is None:
        raise RespError("ERR EXEC without MULTI")
    assert isinstance(queue, Queue), "the commands since MULTI are here"
    connection.transaction, connection.watched = None, {}
    if queue.is_spoilt or None in watched.values():  # a WATCH was refused
        raise RespError(_ABORTED)
    aborted = null_array(connection.protocol)
    course = Course(connection)
    for command, words in queue.commands:
        course.take(command, words)
    if not (course.operations or watched):
        return Effect(lambda _: course.reply(()))
    try:
        asked = block([(key, *mark) for key, mark in watched.items() if mark is not None], course.operations)
    except InvalidCommand as reason:
        raise RespError(f"EXECABORT Transaction discarded because {reason}") from None

    def tell(answers: Answers) -> bytes:
        return aborted if answers.results is None else course.reply(answers.results)

    return Ask(asked, (tell, tell), course.first_key)


class Course:
    """What the commands of one transaction ask, and how each is answered."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.operations: list[Operation] = []
        self._answers: list[Answer | Effect] = []
        """Of those that ask nothing: bytes, or what they do in the end. How the others' results are answered."""
        self._asks: list[bool] = []
        self.first_key: bytes | None = None

    def take(self, command: Command, arguments: Arguments) -> None:
        """Read a command; the effects that it has on its connection are those of its place."""
        try:
            read = command.read_queued or command.read
            if read is not None:
                operation, reply = read(arguments)
                keys = command.keys_of(arguments)
                self._ask(Ask(operation, reply, keys[0] if keys else None))
                return
            assert command.act is not None, f"{command.name} does nothing"
            outcome = command.act(self._connection, arguments)
            if isinstance(outcome, Ask):
                self._ask(outcome)
            elif isinstance(outcome, bytes | Effect):
                self._answer(outcome)
            elif callable(outcome):
                self._answer(outcome(self._status()))
            else:
                self._answer(_not_allowed(command))
        except InvalidCommand as reason:
            self._answer(errors.invalid(reason))

    def _status(self) -> dict[str, object]:
        return self._connection.node.database.status(Caller(self._connection.address))

    def _ask(self, ask: Ask) -> None:
        if type(ask.operation) not in COMMANDS_OF_BLOCKS:
            raise RespError("ERR this command is not allowed in a transaction")
        self.operations.append(ask.operation)
        self._answers.append(ask.reply[self._connection.protocol - 2])
        self._asks.append(True)
        self.first_key = self.first_key or ask.key

    def _answer(self, answer: bytes | Effect) -> None:
        self._answers.append(answer)
        self._asks.append(False)

    def reply(self, results: Sequence[Any]) -> bytes:
        """Return the reply to EXEC."""
        left = iter(results)
        answers = zip(self._answers, self._asks, strict=True)
        return array([self._answered(answer, next(left) if asks else None) for answer, asks in answers])

    def _answered(self, answer: Answer | Effect, result: Any) -> bytes:
        if isinstance(answer, Effect):
            return answer.act(self._status())
        if isinstance(result, Failure):
            return errors.failed(result)
        return answer if isinstance(answer, bytes) else answer(result)


def _not_allowed(command: Command) -> bytes:
    return error(f"ERR '{command.name}' is not allowed in a transaction")


_FLAGS: Final = ("noscript", "loading", "stale", "fast")
COMMANDS: Final = tuple(
    Command(
        name=name,
        arity=arity,
        flags=_FLAGS,
        keys=(1, -1, 1) if name == "watch" else (0, 0, 0),
        act=act,
        in_transaction=InTransaction.QUEUED if name == "unwatch" else InTransaction.AT_ONCE,
        must_wait=_is_watch_unanswered if name == "exec" else None,
        group="transactions",
        since=since,
        summary=summary,
    )
    for name, arity, act, since, summary in (
        ("multi", 1, _multi, "1.2.0", "Mark the start of a transaction block"),
        ("exec", 1, _exec, "1.2.0", "Execute all commands issued after MULTI"),
        ("discard", 1, _discard, "2.0.0", "Discard all commands issued after MULTI"),
        ("watch", -2, _watch, "2.2.0", "Watch the given keys to determine execution of the MULTI/EXEC block"),
        ("unwatch", 1, _unwatch, "2.2.0", "Forget about all watched keys"),
    )
)
