"""KV.SESSION and KV.ONCE: a write that a client sends again is carried out once.

A numbered write is one command that holds its session and its number. So a client that sends a command again when its
connection breaks, as redis-py does, sends the same number, and gets the answer to the first one.
"""

from typing import Final

from kvraft.commands import Operation, end_session, numbered, open_session, renew_session
from kvraft.server.resp.encoding import INTEGER, OK, Reply
from kvraft.server.resp.errors import RespError, arity_text
from kvraft.server.resp.expiry_arguments import integer
from kvraft.server.resp.table import Arguments, Command, Read

_SECOND_US: Final = 1_000_000
_INNER: Final = 3
"""Where the command stands that is numbered."""

Request = tuple[Operation, Reply]


def _open(arguments: Arguments) -> Request:
    if len(arguments) == 2:  # noqa: PLR2004 - without a time
        return open_session(), INTEGER
    if len(arguments) != 4 or arguments[2].upper() != b"TTL":  # noqa: PLR2004 - TTL and seconds
        raise RespError(arity_text("kv.session|open"))
    return open_session(integer(arguments[3]) * _SECOND_US), INTEGER


def _renew(arguments: Arguments) -> Request:
    return renew_session(integer(arguments[2])), OK


def _end(arguments: Arguments) -> Request:
    return end_session(integer(arguments[2])), OK


def _once(arguments: Arguments) -> Request:
    from kvraft.server.resp.commands import TABLE  # it lists this module, too

    client, number = integer(arguments[1]), integer(arguments[2])
    inner = arguments[_INNER:]
    command = TABLE.get(inner[0]) or TABLE.get(inner[0].upper())
    if command is None or command.read is None:
        shown = inner[0][:64].decode("latin-1")
        raise RespError(f"ERR '{shown}' cannot be numbered: it is no command, or does not write")
    if not command.least <= len(inner) <= command.most:
        raise RespError(arity_text(command.name))
    operation, reply = command.read(inner)
    return numbered(client, number, operation), reply


def _session(name: str, arity: int, read: Read, summary: str) -> Command:
    keys = (0, 0, 0) if name == "open" else (2, 2, 1)  # an id is no key, but cluster clients choose a node by it
    return Command(
        name=name, arity=arity, flags=("write", "fast"), keys=keys, read=read, since="7.0.0", summary=summary
    )


COMMANDS: Final = (
    Command(
        name="kv.session",
        arity=-2,
        since="7.0.0",
        summary="A container for commands on sessions, in which a numbered write is carried out once",
        subcommands=(
            _session("open", -2, _open, "Open a session and return its id"),
            _session("renew", 3, _renew, "Renew a session"),
            _session("end", 3, _end, "End a session"),
        ),
    ),
    Command(
        name="kv.once",
        arity=-4,
        flags=("write", "denyoom", "movablekeys"),
        keys=(4, 4, 1),
        read=_once,
        is_heavy=True,
        since="7.0.0",
        summary="Carry out a write under a number of a session, or answer as it was answered first",
    ),
)
