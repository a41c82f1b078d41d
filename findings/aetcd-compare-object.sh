#!/bin/sh
# aetcd 1.0.0: two conditions made from one compare object are the same condition, the one written last.
#
# A good guess: version = client.transactions.version(b"n") names the version of a key, and version > 0 and version < 10
# are two new conditions, as comparing objects of a query builder makes them. Both are checked.
# What happens: a comparison stores its operator and number in the object itself and returns it. The list
# [version < 10, version > 0] holds one object twice, with "> 0". At version 21 the transaction succeeds and writes. In the
# other order it fails, as both are then "< 10". The chain 10 > version > 0 loses its first part in the same way.
# Why it matters: it is the guard of a compare-and-swap that is lost, and no error tells. A name for the object on the
# left is what anyone would give it to avoid writing it twice. Who builds such an interface should return new objects;
# who uses this one must call client.transactions.version() once for each condition.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
apt-get -qq -o APT::Sandbox::User=root download etcd-server=3.4.23-4+b4
dpkg -x etcd-server_*.deb "$tmp/etcd"
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check aetcd==1.0.0 grpcio==1.85.3 protobuf==7.36.2
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import asyncio
import socket
import subprocess
import sys
import time
from importlib.metadata import version as installed

import aetcd

PUTS = 21


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with socket.create_connection(("127.0.0.1", port), 1):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("etcd did not start")


async def ask(port):
    """Whether a transaction succeeds, for each way to write that the version is above 0 and below 10."""
    async with aetcd.Client(host="127.0.0.1", port=port) as client:
        for number in range(PUTS):
            await client.put(b"n", str(number).encode())
        make = client.transactions.version
        answers = {}

        async def check(text, compare):
            done, _ = await client.transaction(compare=compare, success=[], failure=[])
            answers[text] = done

        version = make(b"n")
        await check("[version < 10, version > 0], one object", [version < 10, version > 0])
        await check("[version > 0, version < 10], one object", [version > 0, version < 10])
        await check("[10 > version > 0],          one object", [10 > version > 0])
        await check("[... < 10, ... > 0],         an object each", [make(b"n") < 10, make(b"n") > 0])
        return (await client.get(b"n")).version, answers


clients, peers = free_port(), free_port()
url, peer_url = f"http://127.0.0.1:{clients}", f"http://127.0.0.1:{peers}"
server = subprocess.Popen(
    ["etcd/usr/bin/etcd", "--data-dir", "data", "--listen-client-urls", url, "--advertise-client-urls", url,
     "--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url, "--initial-cluster", f"default={peer_url}"],
    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
try:
    wait_for(clients)
    stored, answers = asyncio.run(ask(clients))
finally:
    server.terminate()
    server.wait(20)
print(f"aetcd {installed('aetcd')}, etcd 3.4.23: the key's version is {stored}; does the transaction succeed?")
for text, done in answers.items():
    print(f"  {text}: {done}")
sys.exit(stored != PUTS or list(answers.values()) != [True, False, True, False])
PY
