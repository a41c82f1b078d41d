"""The subcommands that run one node, write a config.json, and run all nodes of it on this machine."""

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Final

import click

from kvraft.cli import statuses
from kvraft.cli.options import fail, output_option, write_json
from kvraft.client import InvalidRequest
from kvraft.client.nodes import parse_nodes

NODES_MAX: Final = 9
FIRST_PORT: Final = 8080
FIRST_HTTP_PORT: Final = 9080
"""The first HTTP port of nodes on this machine. Nodes on other machines serve HTTP only if an option says so."""


@click.command("node")
@click.option("-i", "--id", type=click.IntRange(min=0), help="Which node this is.")
@click.option("-c", "--config", default="config.json", show_default=True, help="The file that lists the members.")
@click.option("-d", "--data-dir", help="Keep the data in FOLDER/<id>.", metavar="FOLDER")
@click.option("-j", "--join", metavar="HOST:PORT", help="Join the cluster of the member at this address.")
@click.option("-a", "--address", metavar="HOST:PORT", help="Where this node is reached.")
@click.option("--logfile", metavar="FILE", help="Write the log there instead of to stdout.")
@click.option("--check", is_flag=True, help="Check the configuration, and exit.")
def node_command(
    id: int | None,  # noqa: A002 - the option's name
    config: str,
    data_dir: str | None,
    join: str | None,
    address: str | None,
    logfile: str | None,
    check: bool,
) -> None:
    """Run one node in the foreground until Ctrl-C or SIGTERM, as `twistd -n kvraft` does.

    Its exit statuses are described in docs/operations.md.
    """
    given = {"--id": id, "--config": config, "--data-dir": data_dir, "--join": join, "--address": address}
    options = [word for name, value in given.items() if value is not None for word in (name, str(value))]
    before = ["--logfile", logfile] if logfile else []
    # This process becomes the node, so that `pkill -f 'kvraft --id 1'` and process lists show which one it is.
    twistd = [str(Path(sys.executable).with_name("twistd")), "-n", *before, "kvraft", *options]
    sys.stdout.flush()
    os.execv(twistd[0], [*twistd, "--check"] if check else twistd)  # noqa: S606 - our own interpreter's twistd


@click.command("init")
@click.argument("addresses", nargs=-1)
@click.option("--count", type=click.IntRange(1, NODES_MAX), default=3, show_default=True, help="Nodes on this machine.")
@click.option(
    "--port", type=click.IntRange(1, 65_535 - NODES_MAX), default=FIRST_PORT, show_default=True, help="Of the first."
)
@click.option(
    "--http",
    type=click.IntRange(0, 65_535 - NODES_MAX),
    help=f"Serve HTTP and a page on this port, on the next ones where nodes share a host; 0: nowhere.  "
    f"[default: {FIRST_HTTP_PORT} without ADDRESSES, else 0]",
)
@click.option(
    "-c", "--config", default="config.json", show_default=True, type=click.Path(path_type=Path), help="The file."
)
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
@output_option
def init_command(
    addresses: tuple[str, ...], count: int, port: int, http: int | None, config: Path, force: bool, output: str
) -> int:
    """Write a config.json: with nodes at ADDRESSES (host:port ...), else with some on this machine to try things."""
    try:
        nodes = parse_nodes(addresses or [f"127.0.0.1:{port + node}" for node in range(count)])
    except InvalidRequest as error:
        raise click.UsageError(str(error)) from None
    if http is None:
        http = 0 if addresses else FIRST_HTTP_PORT
    entries = [{"id": at, "address": str(node)} for at, node in enumerate(nodes)]
    if http:
        _add_http(entries, http)
    peers = ",\n    ".join(map(json.dumps, entries))
    try:
        with config.open("w" if force else "x", encoding="utf-8") as file:
            file.write(f'{{\n  "peers": [\n    {peers}\n  ]\n}}\n')
    except FileExistsError:
        raise fail(f"{config} is there already; --force overwrites it", statuses.USAGE) from None
    if output == "json":
        write_json({"config": str(config), "peers": entries})
        return statuses.OK
    click.echo(f"{config} lists {len(nodes)} nodes: {', '.join(map(str, nodes))}")
    if len(nodes) % 2 == 0:
        click.echo(f"{len(nodes)} nodes survive no more failures than {len(nodes) - 1} do; odd numbers are the rule")
    click.echo("next: kvraft cluster" if not addresses else "next, on each machine: kvraft node --id 0 (1, 2, ...)")
    return statuses.OK


def _add_http(entries: list[dict[str, Any]], first_port: int) -> None:
    """Give each node an HTTP address on its own host: `first_port`, or the next ports where nodes share a host."""
    nodes_of: Counter[str] = Counter()
    for entry in entries:
        host = entry["address"].rpartition(":")[0]
        entry["http"] = f"{host}:{first_port + nodes_of[host]}"
        nodes_of[host] += 1


@click.command("cluster")
def cluster_command() -> int:
    """Run all nodes of config.json on this machine, until Ctrl-C, and show what to try."""
    from kvraft.cli import cluster

    if not cluster.CONFIG_PATH.exists():
        raise fail("there is no config.json in this folder; kvraft init writes one", statuses.CONFIG)
    return cluster.main()
