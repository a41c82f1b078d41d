"""The `why` subcommand: reads the events that the nodes recorded, and explains what happened.

It answers why there is no leader, why a write was slow, and which members joined or left.
"""

import threading
import time
from collections.abc import Sequence
from typing import Final

import attrs
import click

from kvraft.cli import statuses
from kvraft.cli.options import cluster_options, write_json
from kvraft.cli.progress import Progress
from kvraft.cli.status import NODE_TIMEOUT_S
from kvraft.client import Client, ClientError, Unavailable
from kvraft.client.nodes import Address, find_nodes, parse_address
from kvraft.events.explain import TOPICS, Report, View, explain

SINCE_S: Final = 3600.0
"""Default age of the oldest event that is used, seconds."""
ASKED_FIRST: Final = ("leader", "slow", "members")


def ask(report: Report, timeout_s: float) -> None:
    """Read the status, the events and the members from one node into `report`."""
    try:
        with Client([report.address], timeout=timeout_s, exactly_once=False) as client:
            report.status = client.ask("STATUS", reads=True)
            began = time.time()
            told = client.ask("EVENTS", reads=True)
            report.ahead_s = told["time"] - (began + time.time()) / 2
            report.events = told["events"]
            report.members = client.ask("MEMBERS", reads=True)  # last, since a node in STATE_DIFFERS refuses only this
    except Unavailable:
        pass  # the node does not answer: the report stays empty
    except ClientError as error:
        report.why = str(error)


def ask_all(addresses: Sequence[Address], timeout_s: float) -> list[Report]:
    """Ask these nodes concurrently, and then the other members that their answers name."""
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
    """Say why there is no leader, why a write was slow, and which member left when.

    It asks every node what it has noted; "events" shows all of it. Times are UTC. Ends with status 69 when no node
    leads.
    """
    with Progress("asking the nodes", output):
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
