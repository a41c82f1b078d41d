"""COMMAND: which commands there are, and which of their arguments are keys."""

from typing import Final

from kvraft.commands.glob import pattern as read_pattern
from kvraft.server.dialect import Note
from kvraft.server.resp.connection_state import Connection
from kvraft.server.resp.encoding import array, bulk, bulks, integer, mapping, null, set_, simple
from kvraft.server.resp.errors import SYNTAX, RespError
from kvraft.server.resp.names import check_count, check_patterns
from kvraft.server.resp.table import Act, Arguments, Command


def _all() -> dict[str, Command]:
    from kvraft.server.resp.commands import COMMANDS as EVERY  # it lists this module, too

    return {command.name: command for command in EVERY}


def _entry(command: Command, protocol: int, container: str = "") -> bytes:
    """Return how COMMAND describes one command."""
    first, last, step = command.keys
    name = f"{container}|{command.name}" if container else command.name
    return array(
        [
            bulk(name.encode()),
            integer(command.arity),
            set_([simple(flag) for flag in command.flags], protocol),
            integer(first),
            integer(last),
            integer(step),
            set_([simple(f"@{category}") for category in _categories(command)], protocol),
            set_([], protocol),
            set_([], protocol),
            array([_entry(each, protocol, command.name) for each in command.subcommands])
            if command.subcommands
            else set_([], protocol),  # as Redis 7.0 has it
        ]
    )


def _categories(command: Command) -> list[str]:
    found = ["write"] if "write" in command.flags else ["read"] if "readonly" in command.flags else []
    found += [{"generic": "keyspace", "server": "admin"}.get(command.group, command.group)]
    return [*found, "fast" if "fast" in command.flags else "slow"]


def _named() -> dict[str, tuple[Command, str]]:
    """Return every command and subcommand by its full name, with the name of its container."""
    found = {}
    for command in _all().values():
        found[command.name] = command, ""
        for each in command.subcommands:
            found[f"{command.name}|{each.name}"] = each, command.name
    return found


def _names(arguments: Arguments) -> list[str]:
    check_count(arguments[2:])
    return [name.decode("latin-1").lower() for name in arguments[2:]] or [*_all()]


def _command(connection: Connection, arguments: Arguments) -> Note:
    return array([_entry(each, connection.protocol) for each in _all().values()])


def _count(connection: Connection, arguments: Arguments) -> Note:
    return integer(len(_all()))


def _info(connection: Connection, arguments: Arguments) -> Note:
    known, protocol = _named(), connection.protocol
    return array(
        [
            _entry(known[name][0], protocol, known[name][1]) if name in known else null(protocol)
            for name in _names(arguments)
        ]
    )


def _list(connection: Connection, arguments: Arguments) -> Note:
    known = _named()
    if len(arguments) == 2:  # noqa: PLR2004 - COMMAND LIST
        return bulks(known)
    if len(arguments) == 5 and arguments[2].upper() == b"FILTERBY":  # noqa: PLR2004 - what by, and what for
        wanted = arguments[4].lower()
        match arguments[3].upper():
            case b"PATTERN":
                check_patterns(wanted)
                pattern = read_pattern(wanted)
                return bulks(name for name in known if pattern.matches(name.encode()))
            case b"ACLCAT":
                return bulks(name for name, (each, _) in known.items() if wanted.decode("latin-1") in _categories(each))
            case b"MODULE":
                return bulks([])
    raise RespError(SYNTAX)


def _docs(connection: Connection, arguments: Arguments) -> Note:
    known = _named()
    return mapping(
        [
            (bulk(name.encode()), _doc(known[name][0], connection.protocol))
            for name in _names(arguments)
            if name in known
        ],
        connection.protocol,
    )


def _doc(command: Command, protocol: int) -> bytes:
    told = {"summary": command.summary, "since": command.since, "group": command.group}
    pairs = [(bulk(key.encode()), bulk(value.encode())) for key, value in told.items()]
    if command.subcommands:
        below = [(bulk(f"{command.name}|{each.name}".encode()), _doc(each, protocol)) for each in command.subcommands]
        pairs.append((bulk(b"subcommands"), mapping(below, protocol)))
    return mapping(pairs, protocol)


def _get_keys(connection: Connection, arguments: Arguments) -> Note:
    asked = arguments[2:]
    command = _all().get(asked[0].decode("latin-1").lower())
    if command is not None and command.subcommands:
        command = command.by_name.get(asked[1].upper()) if len(asked) > 1 else None
    if command is None:
        raise RespError("ERR Invalid command specified")
    if command.keys[0] == 0 and not command.numkeys_at:
        raise RespError("ERR The command has no key arguments")
    if not command.least <= len(asked) <= command.most:
        raise RespError("ERR Invalid number of arguments specified for command")
    return bulks(command.keys_of(asked))


def _subcommand(name: str, arity: int, act: Act, summary: str) -> Command:
    return Command(
        name=name, arity=arity, flags=("loading", "stale"), act=act, group="server", since="2.8.13", summary=summary
    )


COMMANDS: Final = (
    Command(
        name="command",
        arity=-1,
        flags=("loading", "stale"),
        act=_command,
        group="server",
        since="2.8.13",
        summary="Get array of Redis command details",
        subcommands=(
            _subcommand("count", 2, _count, "Get total number of commands"),
            _subcommand(
                "info", -2, _info, "Get array of specific Redis command details, or all when no argument is given"
            ),
            _subcommand("list", -2, _list, "Get an array of command names"),
            _subcommand("getkeys", -4, _get_keys, "Extract keys given a full command"),
            _subcommand("docs", -2, _docs, "Get array of specific Redis command documentation"),
        ),
    ),
)
