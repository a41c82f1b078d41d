#!/bin/sh
# kazoo 2.11.0 with ZooKeeper 3.8.0: `with client.transaction() as t:` says nothing when the transaction has failed.
#
# A good guess: leaving the block commits, and when a check in it fails, a BadVersionError is raised there, as set()
# with a version raises it. A block that ends without an exception has been done.
# What happens: all or nothing holds, but commit() does not raise. It returns a list in which the errors stand in the
# places of the results, and the with statement drops that list. The block ends as if it had been done, and nothing has
# been written. The error of the other operations is RolledBackError before the failed one and RuntimeInconsistency
# after it.
# Why it matters: transactions are made for their checks, and in the form that looks best the outcome of the check is
# lost. A worker that marks a job as its own in such a block goes on to work on a job of somebody else. Call commit()
# and look for exceptions in what it returns. In a client of a store, a failed condition must raise an error, since a
# value that is returned can be left out.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
apt-get -qq -o APT::Sandbox::User=root download libzookeeper-java=3.8.0-11+deb12u2 libslf4j-java
for package in ./*.deb; do dpkg -x "$package" "$tmp/zookeeper"; done
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check kazoo==2.11.0
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import logging
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from kazoo.client import KazooClient


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def outcome(call):
    try:
        return call()
    except Exception as error:
        return f"raises {type(error).__name__}"


def block(number):
    with client.transaction() as transaction:
        transaction.set_data("/log", b"taken")
        transaction.check("/job", version=number)
        transaction.set_data("/job", b"mine")
    return "no exception"


def committed(number):
    transaction = client.transaction()
    transaction.set_data("/log", b"taken")
    transaction.check("/job", version=number)
    transaction.set_data("/job", b"mine")
    return [type(result).__name__ for result in transaction.commit()]


logging.disable()
port = free_port()
Path("data").mkdir()
Path("zoo.cfg").write_text(f"tickTime=500\ndataDir=data\nclientPortAddress=127.0.0.1\nclientPort={port}\n"
                           "admin.enableServer=false\n4lw.commands.whitelist=envi\n")
jars = (f"zookeeper/usr/share/java/{name}.jar" for name in ("zookeeper", "zookeeper-jute", "slf4j-api", "slf4j-nop"))
server = subprocess.Popen(["java", "-Xmx64m", "-XX:TieredStopAtLevel=1", "-cp", ":".join(jars),
                           "org.apache.zookeeper.server.ZooKeeperServerMain", "zoo.cfg"],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
client = KazooClient(f"127.0.0.1:{port}")
try:
    client.start(timeout=30)
    client.create("/job", b"free")
    client.create("/log", b"")
    seen = {"set(version=7)": outcome(lambda: client.set("/job", b"mine", version=7).version),
            "with, check(version=7)": outcome(lambda: block(7)), "job and log": (client.get("/job")[0], client.get("/log")[0]),
            "commit(), check(version=7)": outcome(lambda: committed(7)),
            "with, check(version=0)": outcome(lambda: block(0)), "then": (client.get("/job")[0], client.get("/log")[0])}
    zookeeper = ".".join(map(str, client.server_version()))
finally:
    client.stop()
    server.terminate()
    server.wait()
print(f"kazoo {version('kazoo')}, ZooKeeper {zookeeper}; a job at version 0")
for name, value in seen.items():
    print(f"  {name}: {value}")
sys.exit(list(seen.values()) != [
    "raises BadVersionError", "no exception", (b"free", b""),
    ["RolledBackError", "BadVersionError", "RuntimeInconsistency"], "no exception", (b"mine", b"taken")])
PY
