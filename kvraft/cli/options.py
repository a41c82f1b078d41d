"""Options and output that subcommands share."""

import base64
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

import click

from kvraft.cli import statuses
from kvraft.cli.quick import TIMEOUT_S
from kvraft.client.nodes import NODES_VARIABLE

F = TypeVar("F", bound=Callable[..., Any])

OUTPUTS: Final = click.Choice(["text", "json"])
SHOWN_BYTES: Final = 200
"""Longest part of a key or a value that is shown as text, in bytes; -o json shows all."""


def output_option(function: F) -> F:
    """Add the option -o. Its default is the -o that stands before the subcommand."""
    return click.option(
        "-o", "--output", type=OUTPUTS, default=_output_of_the_whole, help="How to answer.", show_default="text"
    )(function)


def _output_of_the_whole() -> str:
    chosen: str | None = click.get_current_context().find_root().params.get("output")
    return chosen or "text"


def cluster_options(function: F) -> F:
    """Add --nodes, --timeout and -o. The defaults are those that stand before the subcommand."""
    function = timeout_option(_timeout_of_the_whole)(output_option(function))
    return nodes_option(_nodes_of_the_whole)(function)


def timeout_option(default: Callable[[], float] | None) -> Callable[[F], F]:
    """Return what adds --timeout."""
    timeout = click.FloatRange(min=0.0, min_open=True)
    help_text = "Seconds to try for."
    return click.option("--timeout", type=timeout, default=default, help=help_text, show_default=str(TIMEOUT_S))


def nodes_option(default: Callable[[], str | None] | None) -> Callable[[F], F]:
    """Return what adds --nodes."""
    # Without a comma, at which fish would cut it off in its list of completions.
    help_text = f"Where the cluster is; else {NODES_VARIABLE} or config.json here say it."
    return click.option("-n", "--nodes", metavar="HOST:PORT,...", default=default, help=help_text, show_default=False)


def _timeout_of_the_whole() -> float:
    chosen: float | None = click.get_current_context().find_root().params.get("timeout")
    return TIMEOUT_S if chosen is None else chosen


def _nodes_of_the_whole() -> str | None:
    chosen: str | None = click.get_current_context().find_root().params.get("nodes")
    return chosen


def write_bytes(content: bytes) -> None:
    """Write bytes to stdout unchanged."""
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def write_json(value: object, *, err: bool = False) -> None:
    """Write a JSON value on one line, to stderr if `err`."""
    click.echo(json.dumps(value, ensure_ascii=False), err=err)


def member(name: str, content: bytes | None) -> dict[str, object]:
    """Return bytes as a member of a JSON object: text, or base64 where they are not UTF-8."""
    if content is None:
        return {name: None}
    try:
        return {name: content.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(content).decode()}


def shown(content: bytes | None) -> str:
    """Return bytes as readable text on one line: unprintable characters are escaped, and long content is cut."""
    if content is None:
        return "-"
    text = content[:SHOWN_BYTES].decode(errors="backslashreplace")
    text = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
    return text if len(content) <= SHOWN_BYTES else f"{text}... ({len(content)} bytes)"


def read_value(value: str | None) -> bytes:
    """Return the value of an argument, or all of stdin where the argument is left out or is "-".

    Raises:
        click.UsageError: it is left out, and stdin is a terminal.
    """
    if value is not None and value != "-":
        # The bytes that the shell passed, UTF-8 or not.
        return value.encode(errors="surrogateescape")
    if value is None and sys.stdin.isatty():
        raise click.UsageError("give a value, or - to type it (end with Ctrl-D), or let stdin be a file")
    return sys.stdin.buffer.read()


def key_bytes(key: str) -> bytes:
    """Return the bytes of a key that the shell passed, UTF-8 or not."""
    return key.encode(errors="surrogateescape")


def write_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], styles: Mapping[str, str] | None = None
) -> None:
    """Write a table; cells with a style are coloured on a terminal, unless NO_COLOR is set."""
    cells = [[str(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
        for row in (columns, *cells):
            click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell, style=(styles or {}).get(cell, "")) for cell in row))
    Console().print(table)


def fail(message: str, status: int) -> statuses.CommandFailed:
    """Return the error that ends a command with this message and exit status."""
    return statuses.CommandFailed(message, status)
