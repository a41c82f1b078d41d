"""CLIENT: the names of connections, and the list of them."""

from typing import Final

from kvraft.commands.integers import read_integer
from kvraft.server.dialect import Note
from kvraft.server.resp.connection_state import Connection
from kvraft.server.resp.encoding import OK_BYTES, bulk, integer, null, verbatim
from kvraft.server.resp.errors import SYNTAX, RespError
from kvraft.server.resp.names import check_count, check_name
from kvraft.server.resp.table import Act, Arguments, Command


def _id(connection: Connection, arguments: Arguments) -> Note:
    return integer(connection.id)


def _get_name(connection: Connection, arguments: Arguments) -> Note:
    return bulk(connection.name) if connection.name else null(connection.protocol)


def _set_name(connection: Connection, arguments: Arguments) -> Note:
    check_name(arguments[2])
    connection.name = arguments[2]
    return OK_BYTES


def _set_info(connection: Connection, arguments: Arguments) -> Note:
    option, value = arguments[2].upper(), arguments[3]
    shown = option.decode("latin-1").lower()
    check_name(value, f"{shown} cannot contain spaces, newlines or special characters.")
    if option == b"LIB-NAME":
        connection.library = value
    elif option == b"LIB-VER":
        connection.library_version = value
    else:
        raise RespError(f"ERR Unrecognized option '{arguments[2].decode('latin-1')}'")
    return OK_BYTES


def _line(connection: Connection) -> str:
    """Return one connection as CLIENT LIST shows it."""
    now = connection.node.clock.seconds()
    facts = {
        "id": connection.id,
        "addr": connection.address,
        "name": connection.name.decode("latin-1"),
        "age": int(now - connection.made_at),
        "idle": int(now - max(connection.last_at, connection.made_at)),
        "flags": "P" if connection.channels or connection.patterns else "N",
        "db": 0,
        "sub": len(connection.channels),
        "psub": len(connection.patterns),
        "multi": -1 if connection.transaction is None else 0,
        "cmd": connection.last_command,
        "user": "default",
        "lib-name": connection.library.decode("latin-1"),
        "lib-ver": connection.library_version.decode("latin-1"),
        "resp": connection.protocol,
    }
    return " ".join(f"{name}={fact}" for name, fact in facts.items()) + "\n"


def _list(connection: Connection, arguments: Arguments) -> Note:
    members = connection.node.members
    match [each.upper() for each in arguments[2:]]:
        case []:
            ids = [*members]
        case [b"ID", *wanted] if wanted:
            check_count(wanted)
            numbers = [*map(read_integer, wanted)]
            if None in numbers:
                raise RespError("ERR Invalid client ID")
            ids = [each for each in numbers if each is not None]
        case [b"TYPE", kind]:
            if kind not in {b"NORMAL", b"PUBSUB", b"MASTER", b"REPLICA", b"SLAVE"}:
                raise RespError(f"ERR Unknown client type '{arguments[3].decode('latin-1')}'")
            ids = [each for each, member in members.items() if _kind(member.connection) == kind]
        case _:
            raise RespError(SYNTAX)
    lines = [_line(members[each].connection) for each in ids if each in members]
    return verbatim("".join(lines), connection.protocol)


def _kind(connection: Connection) -> bytes:
    return b"PUBSUB" if connection.channels or connection.patterns else b"NORMAL"


def _info(connection: Connection, arguments: Arguments) -> Note:
    return verbatim(_line(connection), connection.protocol)


def _switch(connection: Connection, arguments: Arguments) -> Note:
    if arguments[2].upper() not in {b"ON", b"OFF"}:
        raise RespError(SYNTAX)
    return OK_BYTES


def _kill(connection: Connection, arguments: Arguments) -> Note:
    """End this connection. Connections of other clients cannot be ended."""
    own = {b"ID": b"%d" % connection.id, b"ADDR": connection.address.encode()}
    match arguments[2:]:
        case [address] if address == own[b"ADDR"]:
            answer = OK_BYTES
        case [option, value] if option.upper() in own:
            if option.upper() == b"ID" and (read_integer(value) or 0) < 1:
                raise RespError("ERR client-id should be greater than 0")
            if value != own[option.upper()]:
                raise RespError("ERR a connection may end no other one than itself here")
            answer = integer(1)
        case [_]:
            raise RespError("ERR No such client")
        case _:
            raise RespError(SYNTAX)
    connection.last_words = b""
    return answer


def _client(name: str, arity: int, act: Act, summary: str, since: str = "2.6.9") -> Command:
    flags = ("noscript", "loading", "stale")
    return Command(name=name, arity=arity, flags=flags, act=act, group="connection", since=since, summary=summary)


COMMANDS: Final = (
    Command(
        name="client",
        arity=-2,
        group="connection",
        since="2.4.0",
        summary="A container for client connection commands",
        subcommands=(
            _client("id", 2, _id, "Returns the client ID for the current connection", "5.0.0"),
            _client("getname", 2, _get_name, "Get the current connection name"),
            _client("setname", 3, _set_name, "Set the current connection name"),
            _client("setinfo", 4, _set_info, "Set information specific to the client or connection", "7.2.0"),
            _client("list", -2, _list, "Get the list of client connections", "2.4.0"),
            _client("info", 2, _info, "Returns information about the current client connection.", "6.2.0"),
            _client("no-evict", 3, _switch, "Set client eviction mode for the current connection", "7.0.0"),
            _client("no-touch", 3, _switch, "Controls whether commands affect the LRU/LFU of keys", "7.2.0"),
            _client("kill", -3, _kill, "Kill the connection of a client", "2.4.0"),
        ),
    ),
)
