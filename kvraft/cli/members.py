"""The subcommands that show and change the members of the cluster, and take snapshots."""

import time
from typing import Final

import click

from kvraft.cli import statuses
from kvraft.cli.options import cluster_options, fail, write_json, write_table
from kvraft.cli.patient import WAITS, PatientClient
from kvraft.cli.progress import Progress
from kvraft.client import Client, ClientError, InvalidRequest, Unavailable, requests
from kvraft.client.nodes import find_nodes, parse_address
from kvraft.client.requests import Answer

SNAPSHOT_S: Final = 3600.0
"""Longest time that a node may take for a snapshot, seconds: 4 s for each million of keys, more on a slow disk."""
POLL_S: Final = 0.2
"""Pause between two questions whether a new member votes, seconds."""

_FORCE = click.option("--force", is_flag=True, help="Also where too few would be left; see docs/operations.md.")
_WAIT = click.option("--wait", is_flag=True, help="End when the new node votes, and show what it waits for.")
_COLUMNS = ("node", "address", "role", "leads", "waits for")


@click.group("member")
def member_command() -> None:
    """List and change the members of the cluster."""


@member_command.command("list")
@cluster_options
def list_members(nodes: str | None, timeout: float, output: str) -> int:
    """List the members, by the log of the node that answers."""
    with PatientClient(nodes, timeout, output) as client:
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


def _change(
    words: list[str], *, force: bool, nodes: str | None, timeout: float, output: str, wait_for: int | None = None
) -> int:
    """Send a change of the members to the leader, and show its answer; wait until the member `wait_for` votes."""
    line = " ".join([*words, "FORCE"] if force else words)
    # The leader answers when the change is made or has failed: its silence before that means nothing.
    with PatientClient(nodes, timeout, output, silence=timeout, waits="waiting for the change to be made") as client:
        answer = client.ask(line)
        if output == "json":
            write_json(answer)
        else:
            facts = {**answer}
            del facts["status"]
            told = [str(value) if name == "message" else f"{name} {value}" for name, value in facts.items()]
            click.echo(f"OK: {', '.join(told)}" if told else "OK")
    if wait_for is not None:
        _await_vote(wait_for, nodes, timeout, output)
    return statuses.OK


def _await_vote(member: int, nodes: str | None, timeout: float, output: str) -> None:
    """Wait until a member votes.

    Raises:
        CommandFailed: it is no member any more.
    """
    try:
        with (
            Progress(f"node {member} is to catch up", output) as progress,
            Client(nodes, timeout=timeout, exactly_once=False) as client,
        ):
            while not (found := _find_voter(client, member, progress)):
                time.sleep(POLL_S)
    except KeyboardInterrupt:
        click.echo(f"kvraft: node {member} goes on to catch up, and becomes a voter by itself", err=True)
        raise
    if output == "json":
        write_json(found)
    else:
        click.echo(f"node {member} votes")


def _find_voter(client: Client, member: int, progress: Progress) -> dict[str, object] | None:
    """Return what MEMBERS says of a member that votes; show why it does not, and return None."""
    try:
        # Only the leader knows what a learner waits for, and only a leader answers COUNT: the client turns to it.
        client.count_prefix("kvraft")
        members = client.ask("MEMBERS", reads=True)["members"]
    except Unavailable:
        progress.what = WAITS
        return None
    found: dict[str, object] | None = next((each for each in members if each["id"] == member), None)
    if found is None:
        raise fail(f"node {member} is no member any more", statuses.REFUSED)
    if found["role"] == "voter":
        return found
    progress.what = f"node {member}: {found.get('waits_for', 'it is to catch up')}"
    return None


def _address(text: str) -> str:
    try:
        return str(parse_address(text))
    except InvalidRequest as error:
        raise click.UsageError(str(error)) from None


@member_command.command("add")
@click.argument("id", type=click.IntRange(min=0))
@click.argument("address")
@_FORCE
@_WAIT
@cluster_options
def add_member(id: int, address: str, force: bool, wait: bool, nodes: str | None, timeout: float, output: str) -> int:  # noqa: A002 - as it is shown
    """Add a node as a learner; it votes when it has caught up."""
    words = ["MEMBER", "ADD", str(id), _address(address)]
    waited_for = id if wait else None
    return _change(words, force=force, nodes=nodes, timeout=timeout, output=output, wait_for=waited_for)


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
@_WAIT
@cluster_options
def replace_member(
    old: int, new: int, address: str, force: bool, wait: bool, nodes: str | None, timeout: float, output: str
) -> int:
    """Let a new node take the place of an old one, in one step, when it has caught up."""
    words = ["MEMBER", "REPLACE", str(old), str(new), _address(address)]
    waited_for = new if wait else None
    return _change(words, force=force, nodes=nodes, timeout=timeout, output=output, wait_for=waited_for)


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
    addresses = find_nodes(nodes)
    status = statuses.OK
    for number, address in enumerate(addresses):
        with Progress(f"{address} takes a snapshot", output, "nodes", len(addresses)) as progress:
            progress.done = number
            try:
                answer = _snapshot(str(address), timeout)
            except ClientError as error:
                answer = {"error": error.code or type(error).__name__, "message": str(error)}
                status = status or statuses.status_of(error) or statuses.FAILED
        has_failed = "error" in answer
        if output == "json":
            write_json({"address": str(address), **answer}, err=has_failed)
        elif has_failed:
            click.echo(f"kvraft: {address}: {answer['message']}", err=True)
        else:
            click.echo(f"{address}: a snapshot up to entry {answer['index']}")
    return status


def _snapshot(address: str, timeout: float) -> Answer:
    """Let one node take a snapshot; a node that cannot be reached is given up after `timeout` seconds."""
    with Client(address, timeout=timeout, exactly_once=False, silence=SNAPSHOT_S) as client:
        client.ask("PING", reads=True)
        return client.execute(requests.raw_text("SNAPSHOT", reads=False), timeout=SNAPSHOT_S)
