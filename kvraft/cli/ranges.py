"""The subcommands for many keys: keys, range and watch."""

import contextlib

import click

from kvraft.cli import statuses
from kvraft.cli.data import show_item
from kvraft.cli.options import cluster_options, key_bytes, member, shown, write_json
from kvraft.cli.patient import WAITS, PatientClient
from kvraft.cli.progress import Progress
from kvraft.client import Event, KeyItem


@click.command("keys")
@click.argument("prefix", default="")
@click.option("--limit", type=click.IntRange(min=1), help="Most keys of the answer.")
@click.option("--reverse", is_flag=True, help="In descending order.")
@click.option("--count", is_flag=True, help="Only their number.")
@cluster_options
def keys_command(
    prefix: str, limit: int | None, reverse: bool, count: bool, nodes: str | None, timeout: float, output: str
) -> int:
    """List the keys that begin with PREFIX, or all of them."""
    start = key_bytes(prefix)
    with PatientClient(nodes, timeout, output) as client:
        if count:
            found = client.count_prefix(start)
            write_json({"count": found}) if output == "json" else click.echo(str(found))
            return statuses.OK
        for key in client.keys(start, limit=limit, reverse=reverse):
            write_json(member("key", key)) if output == "json" else click.echo(shown(key))
    return statuses.OK


@click.command("range")
@click.argument("start", default="")
@click.argument("end", default="")
@click.option("--prefix", is_flag=True, help="START is how the keys begin; there is no END.")
@click.option("--limit", type=click.IntRange(min=1), help="Most keys of the answer.")
@click.option("--reverse", is_flag=True, help="In descending order.")
@click.option("--at", type=click.IntRange(min=0), metavar="REVISION", help="As it was at that revision.")
@cluster_options
def range_command(
    start: str,
    end: str,
    prefix: bool,
    limit: int | None,
    reverse: bool,
    at: int | None,
    nodes: str | None,
    timeout: float,
    output: str,
) -> int:
    """Show the keys from START on and before END with their values; all of one state, whatever is written meanwhile."""
    if prefix and end:
        raise click.UsageError("--prefix goes with START alone")
    first = key_bytes(start)
    with PatientClient(nodes, timeout, output) as client:
        found = (
            client.prefix(first, limit=limit, reverse=reverse, at=at)
            if prefix
            else client.range(first, key_bytes(end) or None, limit=limit, reverse=reverse, at=at)
        )
        for item in found:
            write_json(_described(item)) if output == "json" else show_item(item.key, item.value)
    return statuses.OK


def _described(item: KeyItem) -> dict[str, object]:
    revisions = {"create_revision": item.create_revision, "mod_revision": item.mod_revision, "version": item.version}
    return {**member("key", item.key), **member("value", item.value), **revisions}


@click.command("watch")
@click.argument("key")
@click.option("--prefix", is_flag=True, help="All keys with the prefix START.")
@click.option("--from", "first", type=click.IntRange(min=1), metavar="REVISION", help="Begin with this revision.")
@click.option("--count", type=click.IntRange(min=1), help="End after so many events.")
@cluster_options
def watch_command(
    key: str, prefix: bool, first: int | None, count: int | None, nodes: str | None, timeout: float, output: str
) -> int:
    """Show every change of a key as it happens, until Ctrl-C. It goes on by itself when a node fails."""
    name = key_bytes(key)
    told = 0
    with (
        contextlib.suppress(KeyboardInterrupt),
        PatientClient(nodes, timeout, output) as client,
        contextlib.ExitStack() as stack,
    ):
        with Progress(WAITS, output):
            watch = client.watch_prefix(name, first=first) if prefix else client.watch(name, first=first)
            stack.enter_context(watch)
            watch.revision  # noqa: B018 - a node has accepted the watch
        for event in watch:
            show_event(event, output)
            told += 1
            if told == count:
                break
    return statuses.OK


def show_event(event: Event, output: str) -> None:
    """Print an event as text, or as JSON."""
    if output == "json":
        described = {"event": event.kind, **member("key", event.key), "revision": event.revision}
        write_json(described if event.value is None else {**described, **member("value", event.value)})
    elif event.value is None:
        click.echo(f"{event.revision} DELETE {shown(event.key)}")
    else:
        click.echo(f"{event.revision} PUT {shown(event.key)} = {shown(event.value)}")
