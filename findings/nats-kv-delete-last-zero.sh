#!/bin/sh
# nats-py 2.16.0 with NATS 2.9.10: delete(key, last=0) of a key-value bucket deletes a key whatever its revision.
#
# A good guess: last is the revision that the key must have, for delete() as for update(). 0 stands for "no revision", so
# update(key, value, last=0) is refused when the key exists, and delete(key, last=0) is refused too or deletes nothing.
# What happens: update() sends 0 as a condition. delete() takes 0 for "not given", sends no condition, and deletes the
# key, with True as the answer. delete() with any other wrong revision is refused.
# Why it matters: 0 is what a program has for a key that it has not seen, such as the default of a dictionary of known
# revisions. update() is safe with it and delete() is not: it removes what another client has just created. In the client
# of a store, None and 0 of a revision must not be told apart by truth, and tests of a condition need the value 0.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
apt-get -qq -o APT::Sandbox::User=root download nats-server=2.9.10-1+b3
dpkg -x nats-server_*.deb "$tmp/nats"
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check nats-py==2.16.0
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import asyncio
import socket
import subprocess
import sys
import time
from importlib.metadata import version

import nats
from nats.js.api import KeyValueConfig


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
    raise SystemExit("NATS did not start")


async def outcome(call):
    try:
        return f"returns {await call}"
    except nats.js.errors.Error as error:
        return f"raises {type(error).__name__}"


async def measure(port):
    client = await nats.connect(f"nats://127.0.0.1:{port}")
    values = await client.jetstream().create_key_value(config=KeyValueConfig(bucket="bucket"))
    await values.put("key", b"before")
    revision = await values.put("key", b"value")
    seen = {"update(last=0)": await outcome(values.update("key", b"other", last=0)),
            "delete(last=1)": await outcome(values.delete("key", last=1)),
            "get()": await outcome(read(values)),
            "delete(last=0)": await outcome(values.delete("key", last=0)),
            "get() after it": await outcome(read(values))}
    await client.close()
    return revision, seen


async def read(values):
    return (await values.get("key")).value


port = free_port()
server = subprocess.Popen(["nats/usr/sbin/nats-server", "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", "data"],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
try:
    wait_for(port)
    revision, seen = asyncio.run(measure(port))
finally:
    server.terminate()
    server.wait(20)
print(f"nats-py {version('nats-py')}, NATS 2.9.10: the key's revision is {revision}")
for call, result in seen.items():
    print(f"  {call:15} {result}")
sys.exit(list(seen.values()) != ["raises KeyWrongLastSequenceError", "raises BadRequestError", "returns b'value'",
                                 "returns True", "raises KeyNotFoundError"])
PY
