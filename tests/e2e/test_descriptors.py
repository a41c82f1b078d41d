"""Clients that take all the files a node may open harm no others."""

import contextlib
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.clients import Address, Connection, ask, open_connection, wait_until
from tests.e2e.processes import TWISTD, Cluster

OPEN_FILES: Final = 256
"""What a node may open; as many clients as are left by what it needs itself are admitted."""
SEGMENT_BYTES: Final = 64 * 1024
LIMITED: Final = ("sh", "-c", f'ulimit -n {OPEN_FILES}; exec "$@"', "sh", str(TWISTD))


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Cluster]:
    """Three nodes that may open few files."""
    with Cluster(tmp_path / "cluster", limits={"segment_bytes": SEGMENT_BYTES}) as cluster:
        cluster.start(command=LIMITED)
        cluster.await_leader()
        yield cluster
        cluster.check_alive()
        cluster.check_logs()


def crowd(address: Address, everybody: contextlib.ExitStack) -> tuple[int, str]:
    """Open connections that stay until one is refused; return how many there are, and the answer to the last."""
    for count in range(OPEN_FILES):
        connection = everybody.enter_context(open_connection(address))
        connection.sendall(b"KEEP\n")
        answer = connection.recv(1000).decode()
        if answer != '{"status":"OK"}\n':
            return count, answer
    raise AssertionError("no client was refused")


def be_silent(address: Address, everybody: contextlib.ExitStack) -> None:
    """Open more connections than there are files, and say nothing on any of them."""
    for _ in range(2 * OPEN_FILES):
        everybody.enter_context(socket.create_connection(address))


def test_idle_clients_take_everything(nodes: Cluster) -> None:
    """The leader stays, its journal goes on, a restarted member gets its links; and so it is with the next leader."""
    leader = nodes.await_leader()
    (admitted,) = map(
        int, re.findall(rf"may open {OPEN_FILES} files, so node .* admits (\d+) clients", nodes.log(leader))
    )
    with Connection(nodes.address(leader)) as client, contextlib.ExitStack() as everybody:
        count, refusal = crowd(nodes.address(leader), everybody)
        assert count == admitted - 1
        assert "OVERLOADED" in refusal
        be_silent(nodes.address(leader), everybody)

        term = client.request("STATUS")[0]["term"]
        segments = client.request("STATUS")[0]["disk"]["segments"]
        for number in range(5):
            assert client.request(f"SET key-{number} {'x' * (SEGMENT_BYTES - 1000)}") == [{"status": "OK"}]
        wait_until(  # the followers may have saved the last one before the leader has
            "segments on the leader's disk",
            lambda: client.request("STATUS")[0]["disk"]["segments"] >= segments + 4,
        )
        assert client.request("SNAPSHOT")[0]["status"] == "OK"

        other = next(node for node in nodes.ids if node != leader)
        nodes.kill(other)
        nodes.start(other, command=LIMITED)
        wait_until(
            "links of the restarted member",
            lambda: (
                client.request("STATUS")[0]["peers"][str(other)].get("connected")
                and nodes.status(other).get("leader") == leader
            ),
        )
        status = client.request("STATUS")[0]
        assert (status["role"], status["term"]) == ("leader", term)

        crowd(nodes.address(other), everybody)
        be_silent(nodes.address(other), everybody)
        client.request(f"TRANSFER {other}")
        last = next(node for node in nodes.ids if node not in {leader, other})
        wait_until("the next leader", lambda: ask(nodes.address(last), "STATUS").get("leader") == other)
        nodes.check_alive()
