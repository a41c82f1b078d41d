"""Checks files and shows what they contain: config.json, and the data directory of a stopped node.

What reads the files is imported only when it is needed: it takes several times as long as the rest of the command.
"""

from pathlib import Path

import click

from kvraft.cli import statuses
from kvraft.cli.options import fail, output_option, write_json
from kvraft.cli.progress import Progress


@click.group("check")
def check_command() -> None:
    """Say what a config.json or a stopped node's files hold, and whether they are whole."""


@check_command.command("config")
@click.argument("file", default="config.json", type=click.Path(path_type=Path))
@output_option
def check_config(file: Path, output: str) -> int:
    """Say what is wrong with a config.json, all of it at once; status 78 then."""
    from kvraft.config import ConfigError, load

    try:
        config = load(file)
    except ConfigError as error:
        raise fail(str(error), statuses.CONFIG) from None
    peers = [{"id": peer.id, "address": str(peer.address)} for peer in config.peers]
    if output == "json":
        write_json({"valid": True, "peers": peers, "data_dir": str(config.data_dir)})
    else:
        listed = ", ".join(f"{peer['id']} at {peer['address']}" for peer in peers)
        click.echo(f"{file} is valid: {listed}; durability {config.durability.value}, data in {config.data_dir}")
    return statuses.OK


@check_command.command("data")
@click.argument("folder", type=click.Path(path_type=Path))
@output_option
def check_data(folder: Path, output: str) -> int:
    """Read all of a node's files (data/<id>) and verify every checksum; status 65 where they are damaged.

    The node must be stopped. Nothing is changed.
    """
    from kvraft.cli.inspection import inspect, is_in_use

    if not folder.is_dir():
        raise fail(
            f"there is no folder {folder}; name the data directory of one node, such as data/0", statuses.NO_INPUT
        )
    if is_in_use(folder):
        raise fail(f"a node runs with {folder}; stop it first, its files change while it runs", statuses.REFUSED)
    with Progress(f"reading {folder}", output, "bytes") as progress:
        report = inspect(folder, progress)
    if output == "json":
        write_json({"whole": not report.faults, **report.facts, "notes": report.notes, "faults": report.faults})
    else:
        for name, value in report.facts.items():
            click.echo(f"{name.replace('_', ' ')}: {value}")
        for note in report.notes:
            click.echo(f"note: {note}")
        for fault in report.faults:
            click.echo(f"DAMAGED: {fault}")
        click.echo("damaged" if report.faults else "whole: every record and every snapshot verifies")
    return statuses.DATA if report.faults else statuses.OK
