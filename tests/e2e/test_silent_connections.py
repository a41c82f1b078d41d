"""Connections between real nodes that stay open and carry nothing: they are given up, and new ones work."""

from pathlib import Path
from typing import Any

import pytest

from kvraft.chaos.nodes import Nodes
from kvraft.chaos.observer import Observer
from kvraft.chaos.proxy import Link, Network, between
from tests.conftest import deadline

START_S = 30.0
"""Longest time until a cluster of three has started, on a busy machine."""
WELL_S = 10.0
"""Within this time everything is well again (docs/operations.md)."""
TEST_S = 90.0


@pytest.mark.parametrize("ways", ["both", "from the leader", "to the leader", "between followers"])
@deadline(TEST_S)
async def test_wedged_connections_are_replaced(tmp_path: Path, ways: str) -> None:
    """Within 10 s one leader is followed by all, each node has its links anew, and a write is answered."""
    from twisted.internet import reactor

    nodes = Nodes(tmp_path / "nodes", 3)
    network = Network(reactor, nodes.places)
    observer = Observer(reactor, nodes)
    try:
        network.open()
        nodes.start(nodes.ids)
        await observer.await_answers(START_S)
        await observer.await_progress(START_S)
        leader = await observer.leader()
        assert leader is not None
        links = links_of(ways, leader, [node for node in nodes.ids if node != leader])
        wedged = [network.passages(link) for link in links]

        network.wedge(links)

        await observer.wait_for("new connections", lambda: are_new(network, links, wedged), WELL_S)
        await observer.await_progress(WELL_S)
        assert await observer.command(await observer.leader() or 0, "SET kvraft well") == {"status": "OK"}
        await observer.await_equality(WELL_S)
        assert nodes.findings() == []
    finally:
        nodes.end_all()
        await network.close()


def links_of(ways: str, leader: int, followers: list[int]) -> list[Link]:
    """Return which connections are wedged; each carries messages one way and signs of life the other."""
    match ways:
        case "from the leader":
            return between([leader], followers)
        case "to the leader":
            return between(followers, [leader])
        case "between followers":
            return between(followers, followers)
        case _:
            return between([leader], followers) + between(followers, [leader])


async def are_new(network: Network, links: list[Link], wedged: list[frozenset[Any]]) -> bool:
    """Whether every link has a connection that was not there before."""
    return all(network.passages(link) - before for link, before in zip(links, wedged, strict=True))
