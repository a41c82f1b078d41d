"""The `status` subcommand: one table of all nodes, with the leader, the lag of each node, and which nodes are down."""

import threading
from collections.abc import Sequence
from typing import Any, Final

import attrs
import click

from kvraft.cli import statuses
from kvraft.cli.options import cluster_options, write_json, write_table
from kvraft.cli.progress import Progress
from kvraft.client import Client, ClientError
from kvraft.client.nodes import Address, find_nodes, parse_address

NODE_TIMEOUT_S: Final = 2.0
"""Longest wait for one node, seconds; after that it is shown as down."""
COLUMNS: Final = (
    "node",
    "address",
    "role",
    "term",
    "applied",
    "lag",
    "revision",
    "keys",
    "store",
    "memory",
    "disk",
    "version",
)
STYLES: Final = {"leader": "bold green", "DOWN": "bold red", "DIFFERS": "bold red"}
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


@attrs.define
class Asked:
    """A node and its answer to STATUS, which is empty if it did not answer; `why` is the error then."""

    address: Address
    status: dict[str, Any] = attrs.field(factory=dict)
    why: str = ""

    def ask(self, timeout_s: float) -> None:
        """Request its status."""
        try:
            with Client([str(self.address)], timeout=timeout_s, exactly_once=False) as client:
                self.status = client.ask("STATUS", reads=True)
        except ClientError as error:
            self.why = str(error)


def ask_all(addresses: Sequence[Address], timeout_s: float) -> list[Asked]:
    """Request the status of these nodes concurrently, and then that of the other members that their answers name."""
    asked = [Asked(address) for address in addresses]
    _ask(asked, timeout_s)
    known = {each.address for each in asked}
    others = {
        parse_address(peer["address"])
        for each in asked
        for peer in each.status.get("peers", {}).values()
        if peer.get("address")
    } - known
    more = [Asked(address) for address in sorted(others)]
    _ask(more, timeout_s)
    return [*asked, *more]


def _ask(asked: Sequence[Asked], timeout_s: float) -> None:
    threads = [threading.Thread(target=each.ask, args=(timeout_s,), daemon=True) for each in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@click.command("status")
@cluster_options
def status_command(nodes: str | None, timeout: float, output: str) -> int:
    """Show every node: role, term, how far it is, what it takes of memory and disk, and which is down.

    Ends with status 69 when no node leads.
    """
    with Progress("asking the nodes", output):
        asked = ask_all(find_nodes(nodes), min(timeout, NODE_TIMEOUT_S))
    if output == "json":
        write_json(
            [
                {"address": str(each.address), "up": bool(each.status), **(each.status or {"error": each.why})}
                for each in asked
            ]
        )
    else:
        _show(asked)
    leads = any(each.status.get("role") == "leader" for each in asked)
    return statuses.OK if leads else statuses.UNAVAILABLE


def _show(asked: Sequence[Asked]) -> None:
    ids = _ids_of(asked)
    commit = max((each.status["commit"] for each in asked if each.status), default=0)
    asked = sorted(asked, key=lambda each: (ids.get(each.address, 1 << 63), each.address))
    write_table(COLUMNS, [_row(each, ids.get(each.address, "-"), commit) for each in asked], STYLES)
    up = sum(bool(each.status) for each in asked)
    leader = next((each.status["id"] for each in asked if each.status.get("role") == "leader"), None)
    led = f"node {leader} leads" if leader is not None else "NO LEADER"
    click.echo(f"{led}; {up} of {len(asked)} nodes answer")


def _ids_of(asked: Sequence[Asked]) -> dict[Address, int]:
    """Return the ids of the nodes: of those that are down, as the others know them."""
    ids = {
        parse_address(peer["address"]): int(peer_id)
        for each in asked
        for peer_id, peer in each.status.get("peers", {}).items()
        if peer.get("address")
    }
    return ids | {each.address: each.status["id"] for each in asked if each.status}


def _row(asked: Asked, node: object, commit: int) -> Sequence[object]:
    status = asked.status
    if not status:
        return (node, asked.address, "DOWN", *["-"] * (len(COLUMNS) - 3))
    role = "DIFFERS" if status.get("differs_at") is not None else status["role"]
    return (
        node,
        asked.address,
        role,
        status["term"],
        status["applied"],
        commit - status["applied"],
        status["revision"],
        status["keys"],
        size(status["store"]["bytes"]),
        _size_or_dash(status.get("process", {}).get("rss_bytes")),
        _size_or_dash(status["disk"].get("bytes")),
        status["version"],
    )


def _size_or_dash(number: float | None) -> str:
    """Return a number of bytes as text, a dash where a node of an earlier version does not tell it."""
    return "-" if number is None else size(number)


def size(number: float) -> str:
    """Return a number of bytes as text with a unit."""
    for unit in _UNITS[:-1]:
        if number < 1024:  # noqa: PLR2004 - bytes of the next unit
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} {_UNITS[-1]}"
