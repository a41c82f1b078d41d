"""The subcommands for one key (get, set, delete, cas, incr, append, expire, persist, ttl), and txn."""

import json
import sys

import click

from kvraft.cli import statuses
from kvraft.cli.options import cluster_options, fail, key_bytes, member, read_value, shown, write_bytes, write_json
from kvraft.cli.patient import PatientClient
from kvraft.client import If, Item


@click.command("get")
@click.argument("key")
@click.option("--at", type=click.IntRange(min=0), metavar="REVISION", help="As it was at that revision.")
@click.option("--meta", is_flag=True, help="With its revisions and its version.")
@click.option("--raw", is_flag=True, help="The bytes as they are, without a line feed after them.")
@cluster_options
def get_command(key: str, at: int | None, meta: bool, raw: bool, nodes: str | None, timeout: float, output: str) -> int:
    """Show the value of a key. Ends with status 1 when there is none."""
    name = key_bytes(key)
    with PatientClient(nodes, timeout, output) as client:
        item = client.get_item(name, at=at)
    if output == "json":
        write_json({**member("key", name), **_described(item)})
    if item is None:
        if output != "json":
            click.echo(f"kvraft: there is no key {key}", err=True)
        return statuses.NO_SUCH_KEY
    if output != "json":
        write_bytes(item.value if raw else item.value + b"\n")
        if meta:
            click.echo(f"revision {item.mod_revision}, created at {item.create_revision}, version {item.version}")
    return statuses.OK


def _described(item: Item | None) -> dict[str, object]:
    if item is None:
        return {"value": None}
    revisions = {"create_revision": item.create_revision, "mod_revision": item.mod_revision, "version": item.version}
    return {**member("value", item.value), **revisions}


def _done(output: str, text: str, **facts: object) -> int:
    """Report a write that was done: a short text, or all `facts` with -o json."""
    if output == "json":
        write_json({"status": "OK", **facts})
    elif text:
        click.echo(text)
    return statuses.OK


@click.command("set")
@click.argument("key")
@click.argument("value", required=False)
@click.option("--ttl", type=click.FloatRange(min=0.001), metavar="SECONDS", help="Let it expire after a time.")
@cluster_options
def set_command(key: str, value: str | None, ttl: float | None, nodes: str | None, timeout: float, output: str) -> int:
    """Write a key. Without a VALUE, or with -, the value is read from stdin, byte for byte."""
    with PatientClient(nodes, timeout, output) as client:
        client.set(key_bytes(key), read_value(value), ttl=ttl)
    return _done(output, "OK")


def _condition(absent: bool, present: bool, revision: int | None, version: int | None, holds: str | None) -> If | None:
    """Return the condition that is given, None without one.

    Raises:
        click.UsageError: more than one is given.
    """
    given = [
        *([If.absent()] if absent else []),
        *([If.present()] if present else []),
        *([If.revision(revision)] if revision is not None else []),
        *([If.version(version)] if version is not None else []),
        *([If.value(key_bytes(holds))] if holds is not None else []),
    ]
    if len(given) > 1:
        raise click.UsageError("give one condition: --absent, --present, --revision, --version or --holds")
    return given[0] if given else None


_CONDITIONS = (
    click.option("--absent", is_flag=True, help="If the key is not there."),
    click.option("--present", is_flag=True, help="If the key is there."),
    click.option("--revision", type=click.IntRange(min=0), help="If it was written last at this revision."),
    click.option("--version", type=click.IntRange(min=0), help="If it has this version."),
    click.option("--holds", metavar="VALUE", help="If it has this value."),
)


@click.command("delete")
@click.argument("keys", nargs=-1, required=True)
@_CONDITIONS[1]
@_CONDITIONS[2]
@_CONDITIONS[3]
@_CONDITIONS[4]
@cluster_options
def delete_command(
    keys: tuple[str, ...],
    present: bool,
    revision: int | None,
    version: int | None,
    holds: str | None,
    nodes: str | None,
    timeout: float,
    output: str,
) -> int:
    """Remove keys, be they there or not; or one key where a condition holds (else status 3)."""
    condition = _condition(False, present, revision, version, holds)
    if condition is not None and len(keys) > 1:
        raise click.UsageError("a condition goes with one key")
    with PatientClient(nodes, timeout, output) as client:
        for key in keys:
            client.delete(key_bytes(key), condition)
    return _done(output, "OK")


@click.command("cas")
@click.argument("key")
@click.argument("value", required=False)
@_CONDITIONS[0]
@_CONDITIONS[1]
@_CONDITIONS[2]
@_CONDITIONS[3]
@_CONDITIONS[4]
@click.option("--ttl", type=click.FloatRange(min=0.001), metavar="SECONDS", help="Let it expire after a time.")
@cluster_options
def cas_command(
    key: str,
    value: str | None,
    absent: bool,
    present: bool,
    revision: int | None,
    version: int | None,
    holds: str | None,
    ttl: float | None,
    nodes: str | None,
    timeout: float,
    output: str,
) -> int:
    """Write a key where a condition holds, and show the revision; status 3 where it does not."""
    condition = _condition(absent, present, revision, version, holds)
    if condition is None:
        raise click.UsageError("give a condition: --absent, --present, --revision, --version or --holds")
    with PatientClient(nodes, timeout, output) as client:
        written = client.cas(key_bytes(key), condition, read_value(value), ttl=ttl)
    return _done(output, f"revision {written}", revision=written)


@click.command("incr", context_settings={"ignore_unknown_options": True})
@click.argument("key")
@click.argument("by", type=int, default=1)
@cluster_options
def incr_command(key: str, by: int, nodes: str | None, timeout: float, output: str) -> int:
    """Add 1, or a number, to a counter, and show the sum."""
    with PatientClient(nodes, timeout, output) as client:
        total = client.incr(key_bytes(key), by)
    return _done(output, str(total), value=total)


@click.command("append")
@click.argument("key")
@click.argument("value", required=False)
@cluster_options
def append_command(key: str, value: str | None, nodes: str | None, timeout: float, output: str) -> int:
    """Add at the end of a value, and show its length. Without a VALUE it is read from stdin."""
    with PatientClient(nodes, timeout, output) as client:
        length = client.append(key_bytes(key), read_value(value))
    return _done(output, str(length), length=length)


@click.command("expire")
@click.argument("key")
@click.argument("seconds", type=click.FloatRange(min=0.001))
@cluster_options
def expire_command(key: str, seconds: float, nodes: str | None, timeout: float, output: str) -> int:
    """Set the time to live of a key, in seconds."""
    with PatientClient(nodes, timeout, output) as client:
        client.expire(key_bytes(key), seconds)
    return _done(output, "OK")


@click.command("persist")
@click.argument("key")
@cluster_options
def persist_command(key: str, nodes: str | None, timeout: float, output: str) -> int:
    """Remove the time to live of a key."""
    with PatientClient(nodes, timeout, output) as client:
        client.persist(key_bytes(key))
    return _done(output, "OK")


@click.command("ttl")
@click.argument("key")
@cluster_options
def ttl_command(key: str, nodes: str | None, timeout: float, output: str) -> int:
    """Show how many seconds a key has left; "none" for one that does not expire."""
    with PatientClient(nodes, timeout, output) as client:
        left = client.ttl(key_bytes(key))
    if output == "json":
        write_json({"ttl": left})
    else:
        click.echo("none" if left is None else f"{left:g}")
    return statuses.OK


@click.command("txn")
@click.argument("transaction", required=False)
@cluster_options
def txn_command(transaction: str | None, nodes: str | None, timeout: float, output: str) -> int:
    """Carry out a transaction, written in JSON as in docs/transactions.md; without one it is read from stdin.

    The answer is the JSON of the node. An else that was carried out is no error.
    """
    written = read_value(transaction)
    try:
        described = json.loads(written)
    except ValueError as error:
        raise fail(f"the transaction is no JSON: {error}", statuses.DATA) from None
    with PatientClient(nodes, timeout, output) as client:
        answer = client.ask(b"TXN " + json.dumps(described).encode())
    write_json(answer)  # with -o text too: the result of a transaction does not fit a table
    return statuses.OK


def show_item(key: bytes, value: bytes) -> None:
    """Print a key and a value on one line, readable for a person."""
    sys.stdout.write(f"{shown(key)} = {shown(value)}\n")
