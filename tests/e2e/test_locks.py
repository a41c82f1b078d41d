"""Processes that hold a lock or wait for one, and are stopped or killed."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from typing import Final

import pytest

from kvraft.store import FEATURE_LEVEL
from tests.e2e.clients import Connection, ask, open_connection, receive_all, wait_until
from tests.e2e.processes import Cluster

TTL_S: Final = 1.0
HOLDER: Final = """
import json, socket, sys, time

connection = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=30)
lines = connection.makefile("rb")

def ask(line):
    connection.sendall(line.encode() + b"\\n")
    return json.loads(next(lines))

ask("KEEP")
token = ask("LOCK job TTL 1")["token"]
print(token, flush=True)
answer = {"status": "OK"}
while answer == {"status": "OK"}:
    answer = ask(f"TOKEN job {token} SET k {token}")
    ask(f"RENEW job {token}")
    time.sleep(0.02)
print(json.dumps(answer), flush=True)
"""


def test_a_holder_that_was_stopped_cannot_write(cluster: Cluster) -> None:
    """It writes as long as it holds the lock; after a SIGSTOP beyond its time its next write is refused (row 31)."""
    leader = cluster.await_leader()
    wait_until("the feature level", lambda: cluster.status(leader).get("feature_level") == FEATURE_LEVEL or None)
    host, port = address = cluster.address(leader)
    command = [sys.executable, "-c", HOLDER, host, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder, Connection(address) as rival:
        assert holder.stdout is not None
        token = int(holder.stdout.readline())
        wait_until("a guarded write", lambda: ask(address, "GET k") == {"value": str(token)} or None)
        os.kill(holder.pid, signal.SIGSTOP)
        try:
            (granted,) = rival.request(f"LOCK job TTL 60 WAIT {10 * TTL_S:g}")
            (written,) = rival.request(f"TOKEN job {granted['token']} SET k rival")
        finally:
            os.kill(holder.pid, signal.SIGCONT)
        refused = json.loads(holder.stdout.readline())

    assert written == {"status": "OK"}
    assert granted["token"] > token
    assert (refused["error"], refused["token"]) == ("STALE_TOKEN", granted["token"])
    assert ask(address, "GET k") == {"value": "rival"}


WAITER: Final = """
import socket, sys

connection = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=60)
connection.sendall(sys.argv[3].encode())
while connection.recv(1000):
    pass
"""


@pytest.mark.parametrize("lines", ["KEEP\nLOCK job TTL 60 WAIT 60\n", "LOCK job TTL 60 WAIT 60\n"])
def test_a_waiter_that_was_killed_is_granted_nothing(cluster: Cluster, lines: str) -> None:
    """Its end looks to TCP like a half-close; it leaves the queue all the same, and the next one has the lock."""
    leader = cluster.await_leader()
    wait_until("the feature level", lambda: cluster.status(leader).get("feature_level") == FEATURE_LEVEL or None)
    host, port = address = cluster.address(leader)
    token = ask(address, "LOCK job TTL 60")["token"]

    def is_queue(length: int) -> bool:
        return bool(ask(address, "LEADER job")["waiting"] == length)

    waiting = subprocess.Popen([sys.executable, "-c", WAITER, host, str(port), lines])
    try:
        wait_until("the first waiter", lambda: is_queue(1))
    finally:
        waiting.kill()
        waiting.wait()
    wait_until("the end of its wait", lambda: is_queue(0))
    with open_connection(address) as connection:
        connection.sendall(b"LOCK job TTL 60 WAIT 60\n")
        connection.shutdown(socket.SHUT_WR)  # as nc -N does, and goes on reading
        wait_until("the second waiter", lambda: is_queue(1))
        time.sleep(1.0)
        assert is_queue(1)
        ask(address, f"UNLOCK job {token}")
        granted = json.loads(receive_all(connection))

    assert granted["token"] > token
