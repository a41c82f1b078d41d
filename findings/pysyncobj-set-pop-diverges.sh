#!/bin/sh
# PySyncObj 0.3.17: ReplSet.pop() removes a different element on every node, and the sets stay different.
#
# A good guess: pop() of a replicated set takes some element, chosen once. The call is replicated, its answer names one
# element, and this element is gone from the set on all nodes, as with pop() of ReplList and get() of ReplQueue.
# What happens: the call goes through the log, not the element. Each node runs set.pop() on its own copy, and that takes
# whatever comes first in its hash table. Texts hash differently in every process (unless PYTHONHASHSEED is set), so each
# node removes another element. Nothing compares the copies: no error, no log line, and no repair short of a new dump.
# Why it matters: a pool of jobs or addresses that is shared out by pop() gives some out twice and loses others as soon as
# the callers are on two nodes or the leader changes. A command in a replicated log may use only its arguments and the
# state, not the order of a hash table; a test needs nodes in processes of their own to see it.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check pysyncobj==0.3.17
cd "$tmp"
cat >node.py <<'PY'
"""One node: the first one adds ten elements and pops five, all print what they have left."""
import json
import sys
import time

from pysyncobj import SyncObj, SyncObjConf
from pysyncobj.batteries import ReplSet

address, others, writes = sys.argv[1], sys.argv[2].split(","), sys.argv[3] == "writes"
elements = ReplSet()
node = SyncObj(address, others, SyncObjConf(), consumers=[elements])


def wait(done):
    end = time.monotonic() + 20
    while not done():
        if time.monotonic() > end:
            raise SystemExit("not ready in time")
        time.sleep(0.05)


wait(node.isReady)
popped = []
if writes:
    for number in range(10):
        elements.add(f"job{number}", sync=True, timeout=10)
    popped = [elements.pop(sync=True, timeout=10) for _ in range(5)]
    elements.add("end", sync=True, timeout=10)
wait(lambda: "end" in elements)
print(json.dumps([popped, sorted(elements.rawData() - {"end"})]), flush=True)
sys.stdin.read()
PY
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import json
import os
import socket
import subprocess
import sys

from pysyncobj.version import VERSION


def free_addresses(count):
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{probe.getsockname()[1]}" for probe in probes]
    for probe in probes:
        probe.close()
    return addresses


def run(seeds):
    """Runs a cluster of three, and gives the elements that were popped and those that each node has left."""
    addresses = free_addresses(3)
    nodes = []
    for address, seed in zip(addresses, seeds):
        others = ",".join(other for other in addresses if other != address)
        nodes.append(subprocess.Popen(
            [sys.executable, "node.py", address, others, "reads" if nodes else "writes"],
            env={**os.environ, "PYTHONHASHSEED": seed}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    answers = [json.loads(node.stdout.readline()) for node in nodes]
    for node in nodes:
        node.stdin.close()
        node.terminate()
        node.wait(10)
    return answers[0][0], [left for _, left in answers]


print(f"pysyncobj {VERSION}: ten elements added, five popped")
popped, own = run(["1", "2", "3"])
print(f"  each node with a hash seed of its own: popped {popped}")
for left in own:
    print(f"    left: {left}")
_, same = run(["1", "1", "1"])
print("  all nodes with one hash seed:")
for left in same:
    print(f"    left: {left}")
differ = own[0] != own[1] and own[1] != own[2] and own[0] != own[2]
sys.exit(not (differ and same[0] == same[1] == same[2] and all(len(left) == 5 for left in own + same)))
PY
