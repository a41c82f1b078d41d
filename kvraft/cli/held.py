"""The subcommands for locks and leases: run a command while holding a lock, and manage leases."""

import os
import subprocess
from contextlib import ExitStack
from typing import Any

import click

from kvraft.cli import statuses
from kvraft.cli.options import cluster_options, fail, key_bytes, write_json, write_table
from kvraft.cli.patient import PatientClient
from kvraft.cli.progress import Progress
from kvraft.client import Client
from kvraft.client.holding import TTL_S, leader

TOKEN_VARIABLE = "KVRAFT_TOKEN"  # noqa: S105 - the name of a variable
"""The environment variable that passes the lock's token to the command."""
POLL_S = 0.1


@click.command("lock", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option(
    "--ttl",
    type=click.FloatRange(min=0.1),
    default=TTL_S,
    show_default=True,
    help="It is free so many seconds after its holder has died.",
)
@click.option("--wait", type=click.FloatRange(min=0), help="Wait at most so many seconds; status 3 then.")
@cluster_options
@click.argument("name")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def lock_command(
    name: str,
    command: tuple[str, ...],
    ttl: float,
    wait: float | None,
    nodes: str | None,
    timeout: float,
    output: str,
) -> int:
    """Run COMMAND while holding the lock NAME; its status is that of the command.

    The token is in KVRAFT_TOKEN: let COMMAND bring it along with what it writes. If the lock is lost while it runs, it
    is sent SIGTERM, and the status is 75.
    """
    if command[0] == "--":  # as it stands before a command elsewhere
        command = command[1:]
    if not command:
        raise click.UsageError("give a command after the name of the lock")
    with Client(nodes, timeout=timeout, exactly_once=False) as client, ExitStack() as stack:
        with Progress(f"waiting for the lock {name}", output):
            lock = stack.enter_context(client.lock(key_bytes(name), ttl, wait=wait))
        try:
            process = subprocess.Popen([*command], env={**os.environ, TOKEN_VARIABLE: str(lock.token)})  # noqa: S603 - what it is asked to run
        except OSError as error:
            raise fail(f"{command[0]} cannot be run: {error.strerror}", statuses.NO_INPUT) from None
        while process.poll() is None and not lock.lost.is_set():
            try:
                process.wait(POLL_S)
            except subprocess.TimeoutExpired:
                continue
            except KeyboardInterrupt:  # the terminal has sent SIGINT to the command too: wait for its end
                continue
        if process.poll() is None:
            process.terminate()
            process.wait()
            raise fail(f"the lock {name} was lost while the command ran; it was sent SIGTERM", statuses.UNKNOWN)
        return process.returncode if process.returncode >= 0 else 128 - process.returncode


@click.command("leader")
@click.argument("name")
@cluster_options
def leader_command(name: str, nodes: str | None, timeout: float, output: str) -> int:
    """Show the holder of a lock; status 1 when it is free."""
    with PatientClient(nodes, timeout, output) as client:
        answer = client.execute(leader(key_bytes(name)))
    if output == "json":
        write_json(answer)
    elif answer["token"] is not None:
        click.echo(", ".join(f"{fact} {value}" for fact, value in answer.items()))
    return statuses.OK if answer["token"] is not None else statuses.NO_SUCH_KEY


@click.group("lease")
def lease_command() -> None:
    """Grant, renew and end leases, times to live that keys share."""


def _ask(line: str, nodes: str | None, timeout: float, output: str) -> dict[str, Any]:
    with PatientClient(nodes, timeout, output) as client:
        answer = client.ask(line)
    if output == "json":
        write_json(answer)
    return answer


@lease_command.command("grant")
@click.argument("seconds", type=click.FloatRange(min=0.001))
@cluster_options
def grant(seconds: float, nodes: str | None, timeout: float, output: str) -> int:
    """Grant a lease, and show its number."""
    answer = _ask(f"LEASE GRANT {seconds:.6f}", nodes, timeout, output)
    if output != "json":
        click.echo(answer["lease"])
    return statuses.OK


@lease_command.command("renew")
@click.argument("lease", type=click.IntRange(min=1))
@cluster_options
def renew(lease: int, nodes: str | None, timeout: float, output: str) -> int:
    """Give a lease all of its time again; status 1 when it has ended."""
    answer = _ask(f"LEASE KEEPALIVE {lease}", nodes, timeout, output)
    if output != "json":
        click.echo(f"{answer['ttl']:g} s")
    return statuses.OK


@lease_command.command("revoke")
@click.argument("lease", type=click.IntRange(min=1))
@cluster_options
def revoke(lease: int, nodes: str | None, timeout: float, output: str) -> int:
    """End a lease: its keys are gone."""
    _ask(f"LEASE REVOKE {lease}", nodes, timeout, output)
    if output != "json":
        click.echo("OK")
    return statuses.OK


@lease_command.command("list")
@cluster_options
def list_leases(nodes: str | None, timeout: float, output: str) -> int:
    """List the leases, with their time and how many keys they have; 1,000 at most."""
    answer = _ask("LEASE LIST", nodes, timeout, output)
    if output != "json":
        rows = [(each["lease"], f"{each['ttl']:g}", each["granted"], each["key_count"]) for each in answer["leases"]]
        write_table(("lease", "seconds left", "of", "keys"), rows)
    return statuses.OK
