"""Asks all nodes what they have noted, and says why there is no leader, why a write was slow, and who left when."""

import threading
import time
from collections.abc import Sequence
from typing import Final

import attrs
import click

from kvraft.cli import statuses
from kvraft.cli.options import cluster_options, write_json
from kvraft.cli.status import NODE_TIMEOUT_S
from kvraft.client import Client, ClientError, Unavailable
from kvraft.client.nodes import Address, find_nodes, parse_address
from kvraft.events.explain import TOPICS, Report, View, explain

SINCE_S: Final = 3600.0
"""How far back is told, seconds."""
ASKED_FIRST: Final = ("leader", "slow", "members")


def ask(report: Report, timeout_s: float) -> None:
    """Let one node tell what it knows."""
    try:
        with Client([report.address], timeout=timeout_s, exactly_once=False) as client:
            report.status = client.ask("STATUS", reads=True)
            began = time.time()
            told = client.ask("EVENTS", reads=True)
            report.ahead_s = told["time"] - (began + time.time()) / 2
            report.events = told["events"]
            report.members = client.ask("MEMBERS", reads=True)  # a node whose state differs tells all but this
    except Unavailable:
        pass  # that it does not answer is all that is known
    except ClientError as error:
        report.why = str(error)


def ask_all(addresses: Sequence[Address], timeout_s: float) -> list[Report]:
    """Ask these nodes at the same time, and then the members that they name besides."""
    reports = [Report(str(address)) for address in addresses]
    _ask(reports, timeout_s)
    known = {report.address for report in reports}
    named = {
        str(parse_address(member["address"]))
        for report in reports
        for member in report.members.get("members", [])
        if member.get("address")
    }
    more = [Report(address) for address in sorted(named - known)]
    _ask(more, timeout_s)
    return [*reports, *more]


def _ask(reports: Sequence[Report], timeout_s: float) -> None:
    threads = [threading.Thread(target=ask, args=(report, timeout_s), daemon=True) for report in reports]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@click.command("why")
@click.argument("topic", required=False, type=click.Choice(TOPICS))
@click.option(
    "--since",
    type=click.FloatRange(min=0.0, min_open=True),
    default=SINCE_S,
    help="How many seconds back.",
    show_default=True,
)
@cluster_options
def why_command(topic: str | None, since: float, nodes: str | None, timeout: float, output: str) -> int:
    """Say why there is no leader, why a write was slow, and who left when.

    It asks every node what it has noted; "events" shows all of it. Times are UTC. Ends with status 69 when no node
    leads.
    """
    reports = ask_all(find_nodes(nodes), min(timeout, NODE_TIMEOUT_S))
    view = View(reports, time.time() - since)
    answers = explain(view, ASKED_FIRST if topic is None else (topic,))
    if output == "json":
        write_json(
            {
                "nodes": [
                    {"address": report.address, "up": True, "node": report.status["id"]}
                    if report.status
                    else {"address": report.address, "up": False, "error": report.why or "it does not answer"}
                    for report in reports
                ],
                "leader": None if view.leader is None else view.leader.status["id"],
                "answers": [attrs.asdict(answer) for answer in answers],
                "events": view.events,
            }
        )
    else:
        for number, answer in enumerate(answers):
            click.echo(("\n" if number else "") + answer.question)
            for each in answer.sentences:
                click.echo(f"  {each}")
    return statuses.UNAVAILABLE if view.leader is None else statuses.OK
