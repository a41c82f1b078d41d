"""The `shell` subcommand: a person types lines of the protocol, with history and completion, and the leader answers."""

import contextlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from kvraft.cli import statuses
from kvraft.cli.options import cluster_options, write_json
from kvraft.cli.patient import WAITS
from kvraft.cli.progress import Progress
from kvraft.client import Client, ClientError, ConditionFailed

HISTORY_PATH: Final = Path("~/.kvraft_history")
HISTORY_LINES: Final = 1_000
PROMPT: Final = "kvraft> "
COMPLETED_KEYS: Final = 50
_READS: Final = frozenset({"GET", "TTL", "RANGE", "PREFIX", "PING", "STATUS", "HELP", "MEMBERS", "EVENTS"})
_LEAVE: Final = frozenset({"EXIT", "QUIT", "BYE", "\\Q"})
_WITHOUT_KEY: Final = frozenset(
    {"TXN", "MEMBER", "TRANSFER", "SNAPSHOT", "HELP", "STATUS", "PING", "MEMBERS", "KEEP", "EVENTS"}
)


class Completer:
    """Completes commands, and keys that it reads from the cluster."""

    def __init__(self, client: Client, commands: Sequence[str]) -> None:
        self._client = client
        self._commands = commands
        self._found: list[str] = []

    def candidates(self, line: str, word: str) -> list[str]:
        """Return the completions of `word`, which ends `line`."""
        command, space, rest = line.lstrip().partition(" ")
        if not space:
            return [f"{each} " for each in self._commands if each.startswith(word.upper())]
        if " " in rest or command.upper() in _WITHOUT_KEY:
            return []
        with contextlib.suppress(ClientError):
            return [key.decode() for key in self._client.keys(word, limit=COMPLETED_KEYS) if key.isascii()]
        return []

    def __call__(self, word: str, state: int) -> str | None:
        """Return the candidate with number `state`, None after the last: the interface that readline calls."""
        import readline

        if state == 0:
            self._found = self.candidates(readline.get_line_buffer(), word)
        return self._found[state] if state < len(self._found) else None


@click.command("shell")
@cluster_options
def shell_command(nodes: str | None, timeout: float, output: str) -> int:
    """Type requests of the line protocol; Tab completes commands and keys, HELP lists them, Ctrl-D ends.

    Where stdin is no terminal its lines are carried out one after the other.
    """
    with Client(nodes, timeout=timeout, exactly_once=False) as client:
        if not sys.stdin.isatty():
            return _run(client, sys.stdin, output)
        usages: list[str] = client.ask("HELP", reads=True)["commands"]
        _set_up_readline(Completer(client, [*dict.fromkeys(usage.split()[0] for usage in usages), "EXIT"]))
        click.echo("Lines of the protocol, sent to the leader. HELP lists them, Tab completes, Ctrl-D ends.")
        _converse(client, output)
    return statuses.OK


def _set_up_readline(completer: Completer) -> None:
    """Provide history and completion; readline restores the terminal by itself."""
    try:
        import readline
    except ImportError:  # without readline lines can still be typed
        return
    path = HISTORY_PATH.expanduser()
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))  # the lines may hold secrets
        readline.read_history_file(path)
    readline.set_history_length(HISTORY_LINES)
    readline.set_completer_delims(" ")
    readline.set_completer(completer)
    readline.parse_and_bind("tab: complete")


def _remember() -> None:
    """Add the last line to the file of the history at once: a terminal that is closed ends the shell without a word."""
    import readline

    with contextlib.suppress(OSError):
        readline.append_history_file(1, HISTORY_PATH.expanduser())


def _converse(client: Client, output: str) -> None:
    while True:
        try:
            line = input(PROMPT).strip()
        except EOFError:
            click.echo()
            return
        except KeyboardInterrupt:  # the typed line is discarded, as in any shell
            click.echo()
            continue
        if line.upper() in _LEAVE:
            return
        if line:
            with contextlib.suppress(ImportError):
                _remember()
            try:
                carry_out(client, line, output)
            except KeyboardInterrupt:  # the next prompt begins on a new line
                click.echo()


def _run(client: Client, lines: Any, output: str) -> int:
    """Carry out lines; return the status of the first that fails, after all of them."""
    failed = statuses.OK
    for line in lines:
        if line.strip():
            status = carry_out(client, line.rstrip("\r\n"), output)
            failed = failed or status
    return failed


def carry_out(client: Client, line: str, output: str) -> int:
    """Carry out one line and show the answer or the error; return the status."""
    verb = line.split(" ", 1)[0].upper()
    try:
        if verb == "WATCH":
            return _watch(client, line, output)
        with Progress(WAITS, output):
            answer = client.ask(line.encode(errors="surrogateescape"), reads=verb in _READS)
    except ClientError as error:
        return _failed(error, output)
    write_json(answer) if output == "json" else click.echo(shown(answer))
    return statuses.OK


def _failed(error: ClientError, output: str) -> int:
    if output == "json":
        write_json({"error": error.code, "message": str(error), **error.details})
    else:
        found = f"; found {json.dumps(error.details.get('found'))}" if isinstance(error, ConditionFailed) else ""
        click.echo(f"{error.code or type(error).__name__}: {error}{found}", err=True)
    return statuses.status_of(error) or statuses.FAILED


def _watch(client: Client, line: str, output: str) -> int:
    """Show events until Ctrl-C."""
    from kvraft.cli.ranges import show_event

    _, *words = line.split()
    match [word.upper() if word.upper() == "PREFIX" else word for word in words]:
        case ["PREFIX", prefix]:
            watch = client.watch_prefix(prefix)
        case [key]:
            watch = client.watch(key)
        case _:
            click.echo("here a watch is written: WATCH key, or WATCH PREFIX prefix", err=True)
            return statuses.USAGE
    with watch:
        with Progress(WAITS, output):
            watch.revision  # noqa: B018 - a node has accepted the watch
        for event in watch:
            show_event(event, output)
    return statuses.OK


def shown(answer: dict[str, Any]) -> str:
    """Return an answer as readable text: the most frequent kinds are shown without their JSON."""
    if answer == {"status": "OK"}:
        return "OK"
    if answer.keys() == {"value"}:
        return "(nothing)" if answer["value"] is None else str(answer["value"])
    if answer.keys() == {"commands"}:
        return "\n".join(answer["commands"])
    if answer.keys() == {"items", "revision", "cursor"}:
        lines = [" = ".join(str(value) for name, value in item.items()) for item in answer["items"]]
        return "\n".join([*lines, *([f"(more: CURSOR {answer['cursor']})"] if answer["cursor"] else [])]) or "(nothing)"
    return json.dumps(answer, ensure_ascii=False)
