"""Clients that send letters or blank lines and never a whole request: they are closed, and others are served."""

import contextlib
import select
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.e2e import impatient
from tests.e2e.clients import ask, ended_by_the_node, open_connection, wait_until
from tests.e2e.processes import Cluster

CLIENTS: Final = 100
"""As many as a node admits here."""
IDLE_S: Final = 3.0
"""Instead of the minute of a node that is started as usual."""


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster of a single node that admits few clients, and waits for their requests for a short time."""
    with Cluster(tmp_path / "one", count=1, limits={"clients": CLIENTS}) as cluster:
        cluster.start(command=(sys.executable, impatient.__file__, str(IDLE_S)))
        cluster.await_leader()
        yield cluster
        cluster.check_alive()
        cluster.check_logs()


def test_clients_that_drip_are_closed(one: Cluster) -> None:
    """A hundred of them keep everybody else out for the time that a client has for a request, and no longer."""
    with contextlib.ExitStack() as connections:
        dripping = [connections.enter_context(open_connection(one.address(0))) for _ in range(CLIENTS)]
        drip(dripping)
        wait_until("a full node", lambda: drip(dripping) and ask(one.address(0), "PING").get("error") == "OVERLOADED")

        wait_until("the end of all of them", lambda: drip(dripping) and all(map(is_closed, dripping)))

        wait_until("an answer", lambda: drip(dripping) and ask(one.address(0), "PING") == {"status": "PONG"})


def drip(clients: list[socket.socket]) -> bool:
    """Send a letter on every other connection, and a blank line on the rest."""
    for number, client in enumerate(clients):
        with ended_by_the_node():
            client.sendall(b"\n" if number % 2 else b"x")
    return True


def is_closed(client: socket.socket) -> bool:
    """Whether the node has closed a connection; what it has said before that is read."""
    while select.select([client], [], [], 0)[0]:
        try:
            if not client.recv(1000):
                return True
        except ConnectionError:
            return True
    return False
