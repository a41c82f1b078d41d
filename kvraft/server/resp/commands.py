"""Every command of the dialect."""

from typing import Final

from kvraft.server.resp import (
    client_commands,
    cluster,
    command_commands,
    connection,
    follower_reads,
    information,
    keys,
    kv,
    kv_locks,
    kv_sessions,
    kv_watches,
    multi,
    pubsub,
    scripts,
    sentinel,
    server_commands,
    strings,
)
from kvraft.server.resp.help import with_help
from kvraft.server.resp.table import Command, by_name

_COMMANDS: Final = (
    *connection.COMMANDS,
    *client_commands.COMMANDS,
    *command_commands.COMMANDS,
    *information.COMMANDS,
    *server_commands.COMMANDS,
    *cluster.COMMANDS,
    *follower_reads.COMMANDS,
    *sentinel.COMMANDS,
    *pubsub.COMMANDS,
    *scripts.COMMANDS,
    *kv.COMMANDS,
    *kv_sessions.COMMANDS,
    *kv_locks.COMMANDS,
    *kv_watches.COMMANDS,
    *strings.COMMANDS,
    *keys.COMMANDS,
    *multi.COMMANDS,
)
COMMANDS: Final[tuple[Command, ...]] = tuple(map(with_help, _COMMANDS))
TABLE: Final = by_name(COMMANDS)
