"""HELP of the commands that have subcommands."""

import attrs

from kvraft.server.dialect import Note
from kvraft.server.resp.connection_state import Connection
from kvraft.server.resp.encoding import array, simple
from kvraft.server.resp.table import Arguments, Command


def with_help(command: Command) -> Command:
    """Return a command, with HELP among its subcommands if it has any."""
    if not command.subcommands:
        return command
    lines = [f"{command.name.upper()} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"]
    for each in command.subcommands:
        lines += [each.name.upper(), f"    {each.summary}"]
    told = array([simple(line) for line in (*lines, "HELP", "    Print this help.")])

    def tell(_connection: Connection, _arguments: Arguments) -> Note:
        return told

    own = Command(
        name="help",
        arity=2,
        flags=("loading", "stale"),
        act=tell,
        group=command.group,
        since="5.0.0",
        summary="Show helpful text about the different subcommands",
    )
    return attrs.evolve(command, subcommands=(*command.subcommands, own))
