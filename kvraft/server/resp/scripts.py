"""The three scripts of redis-py's Lock, recognised by their hashes and carried out as commands of the store."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from kvraft.commands import Operation, Outcome, remove_if
from kvraft.commands.expiry import TTL_US_MAX
from kvraft.commands.held_keys import ExpireHeld, NewExpiry
from kvraft.commands.model import check_key
from kvraft.commands.transactions import Compare, Relation, Target
from kvraft.server.dialect import Note
from kvraft.server.resp.connection_state import Connection
from kvraft.server.resp.encoding import INTEGER, OK_BYTES, Reply, array, bulk, integer
from kvraft.server.resp.errors import NOT_AN_INTEGER, RespError
from kvraft.server.resp.table import Arguments, Command

RELEASE: Final = b"c3f8721cbb97f72bc19e972846bd7aaf91901658"
EXTEND: Final = b"a4e8783852e6b949f9ef3a97212805108459a890"
REACQUIRE: Final = b"1cac51482acf5858da00f6d685d68f886cd6b6b2"

REFUSAL: Final = "ERR there are no scripts here but the three of redis-py's Lock"
_MS_US: Final = 1_000
_FIRST_KEY: Final = 3

Request = tuple[Operation, Reply]


def _succeeded(outcome: Outcome) -> bytes:
    return integer(int(outcome.succeeded))


def _release(key: bytes, arguments: Sequence[bytes]) -> Request:
    (secret,) = arguments
    return remove_if(key, Compare(key, Target.VALUE, Relation.EQUAL, secret)), (_succeeded, _succeeded)


def _extend(key: bytes, arguments: Sequence[bytes]) -> Request:
    secret, time_ms, replaces = arguments
    how = NewExpiry.ADD if replaces == b"0" else NewExpiry.REPLACE
    return ExpireHeld(key, secret, _microseconds(time_ms), how), INTEGER


def _reacquire(key: bytes, arguments: Sequence[bytes]) -> Request:
    secret, time_ms = arguments
    return ExpireHeld(key, secret, _microseconds(time_ms), NewExpiry.SET), INTEGER


def _microseconds(time_ms: bytes) -> int:
    if not re.fullmatch(rb"-?[0-9]{1,18}", time_ms):
        raise RespError(NOT_AN_INTEGER)
    time_us = int(time_ms) * _MS_US
    if not -TTL_US_MAX <= time_us <= TTL_US_MAX:
        raise RespError("ERR invalid expire time in 'pexpire' command")
    return time_us


_SCRIPTS: Final[Mapping[bytes, Callable[[bytes, Sequence[bytes]], Request]]] = {
    RELEASE: _release,
    EXTEND: _extend,
    REACQUIRE: _reacquire,
}


def _run(digest: bytes, arguments: Arguments) -> Request:
    if arguments[2] != b"1" or len(arguments) <= _FIRST_KEY:
        raise RespError("ERR these scripts have one key")
    key = arguments[_FIRST_KEY]
    check_key(key)
    try:
        return _SCRIPTS[digest](key, arguments[_FIRST_KEY + 1 :])
    except ValueError as reason:
        if isinstance(reason, RespError):
            raise
        raise RespError("ERR wrong number of arguments for this script") from None


def _evalsha(arguments: Arguments) -> Request:
    digest = arguments[1].lower()
    if digest not in _SCRIPTS:
        raise RespError("NOSCRIPT No matching script. Please use EVAL.")
    return _run(digest, arguments)


def _digest(script: bytes) -> bytes:
    digest = hashlib.sha1(script, usedforsecurity=False).hexdigest().encode()
    if digest not in _SCRIPTS:
        raise RespError(REFUSAL)
    return digest


def _eval(arguments: Arguments) -> Request:
    return _run(_digest(arguments[1]), arguments)


def _load(connection: Connection, arguments: Arguments) -> Note:
    return bulk(_digest(arguments[2]))


def _exists(connection: Connection, arguments: Arguments) -> Note:
    return array([integer(int(each.lower() in _SCRIPTS)) for each in arguments[2:]])


def _flush(connection: Connection, arguments: Arguments) -> Note:
    if len(arguments) > 3 or (arguments[2:] and arguments[2].upper() not in {b"SYNC", b"ASYNC"}):  # noqa: PLR2004
        raise RespError("ERR SCRIPT FLUSH only support SYNC|ASYNC option")
    return OK_BYTES


_FLAGS: Final = ("noscript",)

COMMANDS: Final = (
    Command(
        name="eval",
        arity=-3,
        flags=("noscript", "movablekeys"),
        numkeys_at=2,
        read=_eval,
        group="scripting",
        since="2.6.0",
        summary="Carry out one of the scripts of redis-py's Lock",
    ),
    Command(
        name="evalsha",
        arity=-3,
        flags=("noscript", "movablekeys"),
        numkeys_at=2,
        read=_evalsha,
        group="scripting",
        since="2.6.0",
        summary="Carry out one of the scripts of redis-py's Lock, by its hash",
    ),
    Command(
        name="script",
        arity=-2,
        group="scripting",
        since="2.6.0",
        summary="A container for commands on scripts",
        subcommands=(
            Command(name="load", arity=3, flags=_FLAGS, act=_load, group="scripting", summary="Return a script's hash"),
            Command(
                name="exists",
                arity=-3,
                flags=_FLAGS,
                act=_exists,
                group="scripting",
                summary="Say which hashes are known",
            ),
            Command(name="flush", arity=-2, flags=_FLAGS, act=_flush, group="scripting", summary="Change nothing"),
        ),
    ),
)
