"""Writes the man page from the help texts of the command: `python -m kvraft.cli.manual > docs/kvraft.1`."""

import inspect
import re
import sys
from collections.abc import Iterator
from typing import Final

import click

from kvraft import __version__
from kvraft.cli import statuses
from kvraft.cli.main import COMMANDS, kvraft

_ENVIRONMENT: Final = (
    ("KVRAFT_NODES", "Where the cluster is, host:port,host:port, unless --nodes says so; else config.json says it."),
    ("KVRAFT_TOKEN", "Set for the command that runs under kvraft lock: the token of the lock."),
    ("NO_COLOR", "When it is set, nothing is coloured. Off a terminal nothing is coloured anyway."),
)


def manual() -> str:
    """Return the page as roff source."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield f'.TH KVRAFT 1 "" "kvraft {__version__}" "User Commands"'
    yield from (
        ".SH NAME",
        r"kvraft \- a durable, strongly consistent key\-value store: its nodes, and what is in them",
    )
    yield from (".SH SYNOPSIS", r".B kvraft", r"[\fB\-o\fR \fIFORMAT\fR] \fICOMMAND\fR [\fIARGUMENT\fR]...")
    yield ".SH DESCRIPTION"
    yield from _text(
        "The cluster is found by --nodes, else by KVRAFT_NODES, else by config.json in the working directory. Each "
        "command follows the leader, and tries again where that is safe. -h or --help after a command explains it."
    )
    yield ".SH OPTIONS"
    yield from _options(kvraft)
    yield ".SH COMMANDS"
    context = click.Context(kvraft)
    for name in COMMANDS:
        command = kvraft.get_command(context, name)
        assert command is not None, "every name has its command"
        yield from _command(f"kvraft {name}", command)
    yield ".SH EXIT STATUS"
    for status, meaning in statuses.MEANINGS.items():
        yield from (".TP", f".B {status}", *_text(meaning))
    yield from (".TP", ".B 130", "Ctrl\\-C", ".TP", ".B 141", "the reader of stdout has ended", ".SH ENVIRONMENT")
    for variable, meaning in _ENVIRONMENT:
        yield from (".TP", f".B {variable}", *_text(meaning))


def _command(path: str, command: click.Command) -> Iterator[str]:
    """Yield the lines for a command, its options and its subcommands."""
    arguments = " ".join(_argument(each) for each in command.params if isinstance(each, click.Argument))
    if isinstance(command, click.Group):
        arguments = "COMMAND"
    yield from (f".SS {_escaped(path)} {_escaped(arguments)}".rstrip(), *_text(inspect.cleandoc(command.help or "")))
    yield from _options(command)
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            yield from _command(f"{path} {name}", each)


def _argument(argument: click.Argument) -> str:
    name = argument.metavar or (argument.name or "").upper()
    name = name if argument.required else f"[{name}]"
    return f"{name}..." if argument.nargs == -1 else name


def _options(command: click.Command) -> Iterator[str]:
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden:
            names = ", ".join(rf"\fB{_escaped(name)}\fR" for name in (*option.opts, *option.secondary_opts))
            yield from (".TP", names + _value(option), *_text(option.help or ""))


def _value(option: click.Option) -> str:
    """Return the placeholder for the value of an option, as it follows the option's name."""
    if option.is_flag:
        return ""
    if isinstance(option.type, click.Choice):
        name = "|".join(map(str, option.type.choices))
    else:
        name = option.metavar or option.type.name.upper().replace(" RANGE", "")
    return rf" \fI{_escaped(name)}\fR"


def _text(text: str) -> Iterator[str]:
    """Yield the paragraphs of a text; man breaks them into lines."""
    for number, paragraph in enumerate(re.split(r"\n\s*\n", text.replace("\b", ""))):
        if number:
            yield ".sp"
        yield _escaped(" ".join(paragraph.split()))


def _escaped(text: str) -> str:
    text = text.replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{text}" if text.startswith((".", "'")) else text


if __name__ == "__main__":
    sys.stdout.write(manual())
