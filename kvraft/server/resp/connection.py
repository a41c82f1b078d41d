"""Commands about the connection itself."""

from collections.abc import Sequence
from typing import Final

from kvraft.commands.integers import read_integer
from kvraft.server.dialect import Note
from kvraft.server.resp.connection_state import Connection
from kvraft.server.resp.encoding import (
    OK_BYTES,
    RESP2,
    RESP3,
    array,
    bulk,
    integer,
    mapping,
    simple,
)
from kvraft.server.resp.errors import SYNTAX, RespError, wrong_arity
from kvraft.server.resp.expiry_arguments import integer as integer_of
from kvraft.server.resp.names import REDIS_VERSION, check_name
from kvraft.server.resp.table import Arguments, Command, InTransaction


def _ping(connection: Connection, arguments: Arguments) -> Note:
    if len(arguments) > 2:  # noqa: PLR2004 - PING has one argument at most
        return wrong_arity("ping")
    content = arguments[1] if len(arguments) > 1 else None
    if connection.protocol == RESP2 and (connection.channels or connection.patterns):
        return array([bulk(b"pong"), bulk(content or b"")])
    return simple("PONG") if content is None else bulk(content)


_INT_MIN: Final = -(2**31)
_INT_MAX: Final = 2**31 - 1


def _echo(connection: Connection, arguments: Arguments) -> Note:
    return bulk(arguments[1])


def _quit(connection: Connection, arguments: Arguments) -> Note:
    connection.last_words = b""
    return OK_BYTES


def _has_subscribed(connection: Connection) -> bool:
    """Whether messages may be due that were published by commands before."""
    return bool(connection.channels or connection.patterns)


def _reset(connection: Connection, arguments: Arguments) -> Note:
    connection.node.channels.drop(connection)
    connection.end_watches()
    connection.reset()
    return simple("RESET")


def _select(connection: Connection, arguments: Arguments) -> Note:
    number = integer_of(arguments[1])
    if not _INT_MIN <= number <= _INT_MAX:
        raise RespError(f"ERR value is out of range, value must between {_INT_MIN} and {_INT_MAX}")
    if number != 0:
        raise RespError("ERR DB index is out of range")
    return OK_BYTES


def _auth(connection: Connection, arguments: Arguments) -> Note:
    if len(arguments) == 2:  # noqa: PLR2004 - a password alone
        raise RespError(
            "ERR AUTH <password> called without any password configured for the default user. "
            "Are you sure your configuration is correct?"
        )
    if len(arguments) > 3:  # noqa: PLR2004 - more than a name and a password
        raise RespError(SYNTAX)
    _check_user(arguments[1])
    return OK_BYTES


def _check_user(name: bytes) -> None:
    if name != b"default":
        raise RespError("WRONGPASS invalid username-password pair or user is disabled.")


def _hello(connection: Connection, arguments: Arguments) -> Note:
    protocol = connection.protocol
    if len(arguments) > 1:
        wanted = read_integer(arguments[1])
        if wanted is None:
            raise RespError("ERR Protocol version is not an integer or out of range")
        protocol = wanted
        if protocol not in {RESP2, RESP3}:
            raise RespError("NOPROTO unsupported protocol version")
    name = _read_hello_options(arguments[2:])
    connection.protocol = protocol
    if protocol == RESP2:
        connection.end_watches()  # their pushes are none of RESP2
    if name is not None:
        connection.name = name
    role = "master" if connection.node.cluster.is_leader else "replica"
    told = {"server": "redis", "version": REDIS_VERSION}
    return mapping(
        [
            *((bulk(key.encode()), bulk(value.encode())) for key, value in told.items()),
            (bulk(b"proto"), integer(protocol)),
            (bulk(b"id"), integer(connection.id)),
            (bulk(b"mode"), bulk(b"cluster")),
            (bulk(b"role"), bulk(role.encode())),
            (bulk(b"modules"), array([])),
        ],
        protocol,
    )


def _read_hello_options(options: Sequence[bytes]) -> bytes | None:
    """Return the name that a HELLO sets, if it sets one."""
    name, place = None, 0
    while place < len(options):
        left = len(options) - place - 1
        match options[place].upper():
            case b"AUTH" if left >= 2:  # noqa: PLR2004 - a name and a password
                _check_user(options[place + 1])
                place += 3
            case b"SETNAME" if left >= 1:
                name = options[place + 1]
                check_name(name)
                place += 2
            case _:
                shown = options[place].decode("latin-1")
                raise RespError(f"ERR Syntax error in HELLO option '{shown}'")
    return name


_FLAGS: Final = ("noscript", "loading", "stale", "fast", "no_auth", "allow_busy")

COMMANDS: Final = (
    Command(name="ping", arity=-1, flags=("fast",), act=_ping, group="connection", summary="Ping the server"),
    Command(
        name="echo",
        arity=2,
        flags=("loading", "stale", "fast"),
        act=_echo,
        group="connection",
        summary="Echo the given string",
    ),
    Command(
        name="quit",
        arity=-1,
        flags=("allow_busy", "noscript", "loading", "stale", "fast", "no_auth"),
        act=_quit,
        in_transaction=InTransaction.AT_ONCE,
        group="connection",
        summary="Close the connection",
    ),
    Command(
        name="reset",
        arity=1,
        flags=_FLAGS,
        act=_reset,
        in_transaction=InTransaction.AT_ONCE,
        must_wait=_has_subscribed,
        group="connection",
        since="6.2.0",
        summary="Reset the connection",
    ),
    Command(
        name="select",
        arity=2,
        flags=("loading", "stale", "fast"),
        act=_select,
        group="connection",
        summary="Change the selected database for the current connection",
    ),
    Command(name="auth", arity=-2, flags=_FLAGS, act=_auth, group="connection", summary="Authenticate to the server"),
    Command(
        name="hello",
        arity=-1,
        flags=_FLAGS,
        act=_hello,
        must_wait=_has_subscribed,
        group="connection",
        since="6.0.0",
        summary="Handshake with Redis",
    ),
)
