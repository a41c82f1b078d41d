"""Options and output that subcommands share."""

import base64
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

import click

from kvraft.cli import statuses
from kvraft.cli.quick import TIMEOUT_S
from kvraft.client.nodes import NODES_VARIABLE

F = TypeVar("F", bound=Callable[..., Any])

OUTPUTS: Final = click.Choice(["text", "json"])
COLUMN_GAP: Final = 2
"""Characters between two columns of a table."""
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
    """Write a table; cells with a style are coloured on a terminal, unless NO_COLOR is set.

    Off a terminal each row is one line. A terminal that is too narrow gets the columns in several parts.
    """
    cells = [[str(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
        for row in (columns, *cells):
            click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    size = shutil.get_terminal_size()
    console = Console(width=size.columns, height=size.lines)  # by itself, rich takes 80 columns for a dumb terminal
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for part, chosen in enumerate(parts_of_a_table(widths, console.width)):
        table = Table(box=None, header_style="bold", pad_edge=False)
        for at in chosen:
            table.add_column(columns[at], overflow="fold")
        for row in cells:
            table.add_row(*(Text(row[at], style=(styles or {}).get(row[at], "")) for at in chosen))
        if part:
            console.print()
        console.print(table)


def parts_of_a_table(widths: Sequence[int], width: int) -> list[list[int]]:
    """Return which columns to show together, so that no cell is folded; the first column begins each part.

    Args:
        widths: the widths of the columns.
        width: the width of the terminal.
    """
    parts = [[0]]
    left = width - widths[0]
    for at, needed in enumerate(widths[1:], start=1):
        if needed + COLUMN_GAP > left and len(parts[-1]) > 1:
            parts.append([0])
            left = width - widths[0]
        parts[-1].append(at)
        left -= needed + COLUMN_GAP
    return parts


def fail(message: str, status: int) -> statuses.CommandFailed:
    """Return the error that ends a command with this message and exit status."""
    return statuses.CommandFailed(message, status)
