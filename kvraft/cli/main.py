"""The `kvraft` command. A subcommand is imported only when it is used, so that the command starts quickly."""

import importlib
import json
import sys
from typing import Any, Final

import click

from kvraft import __version__
from kvraft.cli import statuses
from kvraft.cli.options import nodes_option, timeout_option

COMMANDS: Final = {
    "get": ("data", "Show the value of a key."),
    "set": ("data", "Write a key; the value may come from stdin."),
    "delete": ("data", "Remove keys, or one where a condition holds."),
    "cas": ("data", "Write a key where a condition holds (compare and set)."),
    "incr": ("data", "Add to a counter."),
    "append": ("data", "Add at the end of a value."),
    "expire": ("data", "Set the time to live of a key, in seconds."),
    "persist": ("data", "Remove the time to live of a key."),
    "ttl": ("data", "Show the time to live of a key, in seconds."),
    "keys": ("ranges", "List the keys with a prefix."),
    "range": ("ranges", "Show keys with their values, in their order."),
    "watch": ("ranges", "Show every change as it happens, through failovers."),
    "txn": ("data", "Carry out a transaction, written in JSON."),
    "lock": ("held", "Run a command while holding a lock."),
    "leader": ("held", "Show the holder of a lock."),
    "lease": ("held", "Grant, renew and end leases, times to live that keys share."),
    "status": ("status", "Show every node: role, lag, size, version, and which is down."),
    "why": ("why", "Say why there is no leader, why a write was slow, which member left when."),
    "member": ("members", "List and change the members of the cluster."),
    "snapshot": ("members", "Make nodes take a snapshot now."),
    "bench": ("bench", "Measure the cluster, with live progress."),
    "export": ("transfer", "Write keys and values as JSON lines."),
    "import": ("transfer", "Import what export has written."),
    "shell": ("shell", "Type requests, with history and completion."),
    "node": ("node", "Run one node in the foreground."),
    "init": ("node", "Write a config.json."),
    "cluster": ("node", "Run all nodes of config.json on this machine, to try things."),
    "check": ("check", "Say what a config.json or a stopped node's files hold, and whether they are whole."),
    "completion": ("completion", "Print the completion script for a shell."),
}
"""Every subcommand: the module that defines it as `<name>_command`, and its description."""


class Subcommands(click.Group):
    """The subcommands, each of which is imported only when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return them in the order in which help lists them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a subcommand; return None where there is none with this name."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"kvraft.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Carry out the subcommand; click would end with status 1, "no such key", when the reader of stdout ends."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            return statuses.end_of_a_pipe()

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the subcommand; suggest one for a misspelt name."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            meant = difflib.get_close_matches(args[0], COMMANDS, 1)
            hint = f"did you mean {meant[0]}?" if meant else "kvraft --help lists them"
            raise click.UsageError(f"there is no command {args[0]!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of subcommands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(
    cls=Subcommands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="The cluster is found by --nodes, else KVRAFT_NODES, else config.json in this folder. "
    "Exit statuses: " + "; ".join(f"{status} {text}" for status, text in statuses.MEANINGS.items()) + ".",
)
@click.version_option(__version__, prog_name="kvraft", message="%(prog)s %(version)s")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), help="How the command is to answer.")
@timeout_option(None)
@nodes_option(None)
def kvraft(**_: object) -> None:
    """A durable, strongly consistent key-value store: its nodes, and what is in them."""
    # The subcommand reads the options, see options.py.


def main(arguments: list[str] | None = None) -> int:
    """Run a subcommand; return the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        status: Any = kvraft.main(arguments, prog_name="kvraft", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.UsageError as error:
        mistake = error
        if isinstance(error, click.NoSuchOption) and error.option_name[1:2].isdigit():
            mistake = click.UsageError(f"{error.format_message()} Write -- before a negative number.", error.ctx)
        if _wants_json(arguments):
            print(json.dumps({"error": "USAGE", "message": mistake.format_message()}), file=sys.stderr)
        else:
            mistake.show()
        return statuses.USAGE
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return statuses.interrupted()
    except BrokenPipeError:
        return statuses.end_of_a_pipe()
    except Exception as error:
        status = statuses.tell(error, as_json=_wants_json(arguments))
        if status is None:
            raise
    return status if isinstance(status, int) else statuses.OK


def _wants_json(arguments: list[str]) -> bool:
    return any(
        argument in {"-ojson", "--output=json"} or arguments[at : at + 2] in (["-o", "json"], ["--output", "json"])
        for at, argument in enumerate(arguments)
    )


if __name__ == "__main__":
    sys.exit(main())
