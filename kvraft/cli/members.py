"""The subcommands that show and change the members of the cluster, and take snapshots."""

import click

from kvraft.cli import statuses
from kvraft.cli.options import cluster_options, write_json, write_table
from kvraft.client import Client, InvalidRequest
from kvraft.client.nodes import find_nodes, parse_address

_FORCE = click.option("--force", is_flag=True, help="Also where too few would be left; see docs/operations.md.")
_COLUMNS = ("node", "address", "role", "leads", "waits for")


@click.group("member")
def member_command() -> None:
    """List and change the members of the cluster."""


@member_command.command("list")
@cluster_options
def list_members(nodes: str | None, timeout: float, output: str) -> int:
    """List the members, by the log of the node that answers."""
    with Client(nodes, timeout=timeout, exactly_once=False) as client:
        answer = client.ask("MEMBERS", reads=True)
    if output == "json":
        write_json(answer)
        return statuses.OK
    leader = answer.get("leader")
    rows = [
        (each["id"], each["address"], each["role"], "yes" if each["id"] == leader else "", each.get("waits_for", ""))
        for each in answer["members"]
    ]
    write_table(_COLUMNS, rows, {"yes": "bold green"})
    if answer.get("changing"):
        click.echo("a change of the members is under way")
    return statuses.OK


def _change(words: list[str], *, force: bool, nodes: str | None, timeout: float, output: str) -> int:
    """Send a change of the members to the leader, and show its answer."""
    line = " ".join([*words, "FORCE"] if force else words)
    with Client(nodes, timeout=timeout, exactly_once=False) as client:
        answer = client.ask(line)
    if output == "json":
        write_json(answer)
    else:
        facts = ", ".join(f"{name} {value}" for name, value in answer.items() if name != "status")
        click.echo(f"OK: {facts}" if facts else "OK")
    return statuses.OK


def _address(text: str) -> str:
    try:
        return str(parse_address(text))
    except InvalidRequest as error:
        raise click.UsageError(str(error)) from None


@member_command.command("add")
@click.argument("id", type=click.IntRange(min=0))
@click.argument("address")
@_FORCE
@cluster_options
def add_member(id: int, address: str, force: bool, nodes: str | None, timeout: float, output: str) -> int:  # noqa: A002 - as it is shown
    """Add a node as a learner; it votes when it has caught up."""
    words = ["MEMBER", "ADD", str(id), _address(address)]
    return _change(words, force=force, nodes=nodes, timeout=timeout, output=output)


@member_command.command("remove")
@click.argument("id", type=click.IntRange(min=0))
@_FORCE
@cluster_options
def remove_member(id: int, force: bool, nodes: str | None, timeout: float, output: str) -> int:  # noqa: A002 - as it is shown
    """Remove a member for good."""
    return _change(["MEMBER", "REMOVE", str(id)], force=force, nodes=nodes, timeout=timeout, output=output)


@member_command.command("replace")
@click.argument("old", type=click.IntRange(min=0))
@click.argument("new", type=click.IntRange(min=0))
@click.argument("address")
@_FORCE
@cluster_options
def replace_member(
    old: int, new: int, address: str, force: bool, nodes: str | None, timeout: float, output: str
) -> int:
    """Let a new node take the place of an old one, in one step, when it has caught up."""
    words = ["MEMBER", "REPLACE", str(old), str(new), _address(address)]
    return _change(words, force=force, nodes=nodes, timeout=timeout, output=output)


@member_command.command("move")
@click.argument("id", type=click.IntRange(min=0))
@click.argument("address")
@click.option("--incarnation", help="Only if the member has this one; see member list -o json.")
@_FORCE
@cluster_options
def move_member(
    id: int,  # noqa: A002 - as it is shown
    address: str,
    incarnation: str | None,
    force: bool,
    nodes: str | None,
    timeout: float,
    output: str,
) -> int:
    """Say that a member is reached at another address from now on."""
    words = ["MEMBER", "MOVE", str(id), _address(address), *([incarnation] if incarnation else [])]
    return _change(words, force=force, nodes=nodes, timeout=timeout, output=output)


@member_command.command("transfer")
@click.argument("id", type=click.IntRange(min=0))
@cluster_options
def transfer_leadership(id: int, nodes: str | None, timeout: float, output: str) -> int:  # noqa: A002 - as it is shown
    """Let another voter lead."""
    return _change(["TRANSFER", str(id)], force=False, nodes=nodes, timeout=timeout, output=output)


@click.command("snapshot")
@cluster_options
def snapshot_command(nodes: str | None, timeout: float, output: str) -> int:
    """Let each node that is named take a snapshot now, and shorten its log; without --nodes all of the cluster."""
    for address in find_nodes(nodes):
        with Client([str(address)], timeout=timeout, exactly_once=False) as client:
            answer = client.ask("SNAPSHOT")
        if output == "json":
            write_json({"address": str(address), **answer})
        else:
            click.echo(f"{address}: a snapshot up to entry {answer['index']}")
    return statuses.OK
