"""Commands about the server and its store as a whole."""

import re
import time
from fnmatch import fnmatchcase
from typing import Final

from kvraft.commands import Item, Operation, Span, count_range, get_key
from kvraft.server.dialect import Note
from kvraft.server.resp.connection_state import Connection
from kvraft.server.resp.encoding import INTEGER, OK_BYTES, Reply, bulk, bulks, integer, mapping, null, reply
from kvraft.server.resp.errors import NOT_AN_INTEGER, SYNTAX, RespError
from kvraft.server.resp.expiry_arguments import integer as integer_of
from kvraft.server.resp.names import check_patterns
from kvraft.server.resp.node import RespNode
from kvraft.server.resp.table import Arguments, Command

ITEM_BYTES: Final = 240
"""Bytes of an item besides its key and its value, as the store's quota counts them."""
EMBEDDED_BYTES_MAX: Final = 44
"""Longest value that Redis keeps beside its head."""
NUMBER_DIGITS_MAX: Final = 20
NOTIFIED: Final = "AKE"
"""Which keyspace notifications there are, as Redis' setting says it: all."""
_NUMBER: Final = re.compile(rb"-?[1-9][0-9]*|0").fullmatch


def _time(connection: Connection, arguments: Arguments) -> Note:
    return lambda _: bulks(map(str, divmod(time.time_ns() // 1_000, 1_000_000)))


def _dbsize(arguments: Arguments) -> tuple[Operation, Reply]:
    return count_range(Span(b"", None)), INTEGER


def _wait(connection: Connection, arguments: Arguments) -> Note:
    """WAIT: return on how many other members an answered write is at least, which is a majority without this node."""
    for each, text in zip(
        arguments[1:3], (NOT_AN_INTEGER, "ERR timeout is not an integer or out of range"), strict=True
    ):
        if not re.fullmatch(rb"-?[0-9]{1,18}", each):
            raise RespError(text)
    if int(arguments[2]) < 0:
        raise RespError("ERR timeout is negative")
    view = connection.node.cluster
    if not (view.is_leader or view.forwards):
        raise RespError("ERR WAIT cannot be used with replica instances.")
    return integer(len(view.voters) // 2)


def _memory_usage(arguments: Arguments) -> tuple[Operation, Reply]:
    if len(arguments) not in {3, 5} or (len(arguments) == 5 and arguments[3].upper() != b"SAMPLES"):  # noqa: PLR2004
        raise RespError(SYNTAX)
    if len(arguments) == 5 and integer_of(arguments[4]) < 0:  # noqa: PLR2004 - with SAMPLES, which change nothing here
        raise RespError(SYNTAX)
    key = arguments[2]

    def encode(item: Item | None, protocol: int) -> bytes:
        return null(protocol) if item is None else integer(len(key) + len(item.value) + ITEM_BYTES)

    return get_key(key), reply(encode)


def encoding_of(value: bytes) -> bytes:
    """Return how Redis would keep a value that was SET."""
    if len(value) <= NUMBER_DIGITS_MAX and _NUMBER(value) and -(2**63) <= int(value) < 2**63:
        return b"int"
    return b"embstr" if len(value) <= EMBEDDED_BYTES_MAX else b"raw"


def _object_encoding(arguments: Arguments) -> tuple[Operation, Reply]:
    def encode(item: Item | None, protocol: int) -> bytes:
        return null(protocol) if item is None else bulk(encoding_of(item.value))

    return get_key(arguments[2]), reply(encode)


def _object_refcount(arguments: Arguments) -> tuple[Operation, Reply]:
    def encode(item: Item | None, protocol: int) -> bytes:
        return null(protocol) if item is None else integer(1)

    return get_key(arguments[2]), reply(encode)


def _settings(node: RespNode) -> dict[str, str]:
    """Return what CONFIG GET shows: the settings of Redis that programs look up."""
    return {
        "appendfsync": "always",
        "appendonly": "yes",
        "cluster-enabled": "yes",
        "cluster-require-full-coverage": "yes",
        "databases": "1",
        "maxclients": str(node.limits.clients),
        "maxmemory": "0",
        "maxmemory-policy": "noeviction",
        "notify-keyspace-events": NOTIFIED,
        "proto-max-bulk-len": str(node.limits.line_bytes),
        "save": "",
        "tcp-keepalive": "300",
        "timeout": "0",
    }


def _config_get(connection: Connection, arguments: Arguments) -> Note:
    check_patterns(*arguments[2:])
    patterns = [each.decode("latin-1").lower() for each in arguments[2:]]
    found = {
        name: value
        for name, value in _settings(connection.node).items()
        if any(fnmatchcase(name, pattern) for pattern in patterns)
    }
    pairs = [(bulk(name.encode()), bulk(value.encode())) for name, value in found.items()]
    return mapping(pairs, connection.protocol)


def _config_set(connection: Connection, arguments: Arguments) -> Note:
    if len(arguments) == 4 and arguments[2].lower() == b"notify-keyspace-events":  # noqa: PLR2004 - one setting
        if not set(arguments[3]) <= set(b"Ag$lshzxeKEtmdn"):
            raise RespError(
                "ERR CONFIG SET failed (possibly related to argument 'notify-keyspace-events') - "
                "Invalid event class character. Use 'Ag$lshzxeKEtmdn'."
            )
        return OK_BYTES  # subscribers get their messages without regard to this setting
    raise RespError("ERR settings are made in config.json, and not while a node runs")


def _debug(connection: Connection, arguments: Arguments) -> Note:
    raise RespError("ERR DEBUG command not allowed. kvraft has no such commands")


COMMANDS: Final = (
    Command(
        name="time",
        arity=1,
        flags=("loading", "stale", "fast"),
        act=_time,
        group="server",
        since="2.6.0",
        summary="Return the current server time",
    ),
    Command(
        name="dbsize",
        arity=1,
        flags=("readonly", "fast"),
        read=_dbsize,
        group="server",
        summary="Return the number of keys in the selected database",
    ),
    Command(
        name="wait",
        arity=3,
        flags=("noscript",),
        act=_wait,
        since="3.0.0",
        summary="Wait for the synchronous replication of all the write commands sent on the connection",
    ),
    Command(
        name="memory",
        arity=-2,
        group="server",
        since="4.0.0",
        summary="A container for memory diagnostics commands",
        subcommands=(
            Command(
                name="usage",
                arity=-3,
                flags=("readonly",),
                keys=(2, 2, 1),
                read=_memory_usage,
                group="server",
                since="4.0.0",
                summary="Estimate the memory usage of a key",
            ),
        ),
    ),
    Command(
        name="object",
        arity=-2,
        since="2.2.3",
        summary="A container for object introspection commands",
        subcommands=(
            Command(
                name="encoding",
                arity=3,
                flags=("readonly",),
                keys=(2, 2, 1),
                read=_object_encoding,
                since="2.2.3",
                summary="Inspect the internal encoding of a Redis object",
            ),
            Command(
                name="refcount",
                arity=3,
                flags=("readonly",),
                keys=(2, 2, 1),
                read=_object_refcount,
                since="2.2.3",
                summary="Get the number of references to the value of the key",
            ),
        ),
    ),
    Command(
        name="config",
        arity=-2,
        group="server",
        since="2.0.0",
        summary="A container for server configuration commands",
        subcommands=(
            Command(
                name="get",
                arity=-3,
                flags=("admin", "noscript", "loading", "stale"),
                act=_config_get,
                group="server",
                since="2.0.0",
                summary="Get the values of configuration parameters",
            ),
            Command(
                name="set",
                arity=-4,
                flags=("admin", "noscript", "loading", "stale"),
                act=_config_set,
                group="server",
                since="2.0.0",
                summary="Is refused but for notify-keyspace-events: settings are made in config.json",
            ),
        ),
    ),
    Command(
        name="debug",
        arity=-2,
        flags=("admin", "noscript", "loading", "stale"),
        act=_debug,
        group="server",
        summary="Is refused",
    ),
)
