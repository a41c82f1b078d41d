"""KV.LOCK and what goes with it: the locks of the line protocol, with their tokens."""

from typing import Final

from kvraft.commands import (
    Granted,
    LockState,
    Operation,
    acquire_lock,
    describe_lock,
    release_lock,
    renew_lock,
)
from kvraft.commands.expiry import check_ttl
from kvraft.server.arguments import Arguments as Words
from kvraft.server.arguments import WrongUsage
from kvraft.server.dialect import Note
from kvraft.server.resp.connection_state import Connection
from kvraft.server.resp.encoding import OK, Reply, array, bulk, integer, null_array, reply
from kvraft.server.resp.errors import SYNTAX, RespError
from kvraft.server.resp.expiry_arguments import integer as integer_of
from kvraft.server.resp.table import Alone, Arguments, Command

_MILLISECOND_US: Final = 1_000
_RENEW_TTL_ARGUMENTS: Final = 5

Request = tuple[Operation, Reply]


def _microseconds(word: bytes) -> int:
    """Return seconds, which may have decimals."""
    try:
        return Words(word).seconds()
    except WrongUsage:
        raise RespError("ERR a time is seconds with at most six decimals") from None


def _granted(granted: Granted) -> bytes:
    return integer(granted.token)


def _lock(connection: Connection, arguments: Arguments) -> Note | Alone:
    if len(arguments) % 2:
        raise RespError(SYNTAX)
    options = {name.upper(): value for name, value in zip(arguments[2::2], arguments[3::2], strict=True)}
    if not {b"TTL"} <= options.keys() <= {b"TTL", b"WAIT", b"OWNER"}:
        raise RespError(SYNTAX)
    wait_us = _microseconds(options.get(b"WAIT", b"0"))
    request = acquire_lock(arguments[1], _microseconds(options[b"TTL"]), wait_us, options.get(b"OWNER", b""))
    return Alone(request, _granted)


def _unlock(arguments: Arguments) -> Request:
    return release_lock(arguments[1], integer_of(arguments[2])), OK


def _renew(arguments: Arguments) -> Request:
    name, token = arguments[1], integer_of(arguments[2])
    if len(arguments) == 3:  # noqa: PLR2004 - a name and a token
        return renew_lock(name, token), (_time_of, _time_of)
    if len(arguments) != _RENEW_TTL_ARGUMENTS or arguments[3].upper() != b"TTL":
        raise RespError(SYNTAX)
    ttl_us = _microseconds(arguments[4])
    check_ttl(ttl_us)
    return renew_lock(name, token, ttl_us), (_time_of, _time_of)


def _time_of(granted: Granted) -> bytes:
    return integer(granted.ttl_us // _MILLISECOND_US)


def _leader(arguments: Arguments) -> Request:
    return describe_lock(arguments[1]), reply(_described)


def _described(state: LockState | None, protocol: int) -> bytes:
    if state is None:
        return null_array(protocol)
    left_ms = state.left_us // _MILLISECOND_US
    return array([integer(state.token), bulk(state.owner), integer(left_ms), integer(state.waiting)])


_NAME: Final = (1, 1, 1)
"""The name of a lock is no key, but cluster clients choose a node by it."""

COMMANDS: Final = (
    Command(
        name="kv.lock",
        arity=-4,
        flags=("write", "denyoom", "noscript"),
        keys=_NAME,
        act=_lock,
        since="7.0.0",
        summary="Take a lock and return its token: name TTL seconds [WAIT seconds] [OWNER text]",
    ),
    Command(
        name="kv.unlock",
        arity=3,
        flags=("write", "fast"),
        keys=_NAME,
        read=_unlock,
        since="7.0.0",
        summary="Release a lock, by its name and token",
    ),
    Command(
        name="kv.renew",
        arity=-3,
        flags=("write", "fast"),
        keys=_NAME,
        read=_renew,
        since="7.0.0",
        summary="Renew a lock and return its time in milliseconds: name token [TTL seconds]",
    ),
    Command(
        name="kv.leader",
        arity=2,
        flags=("readonly", "fast"),
        keys=_NAME,
        read=_leader,
        since="7.0.0",
        summary="Show the holder of a lock: token, owner, milliseconds left, and how many wait",
    ),
)
