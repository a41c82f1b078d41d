#!/bin/sh
# kazoo 2.11.0 with ZooKeeper 3.8.0: a ChildrenWatch is over for good once its node is deleted; a DataWatch goes on.
#
# A good guess: both watches follow a path. A node that is deleted has no children and no data, and when it is there
# again the function is called with what it has then. Or both end, and say so.
# What happens: the function of a DataWatch is called with None at the deletion, and with the data when the node is
# back. That of a ChildrenWatch is called when the last child goes, and at the deletion of the node itself it ends: no
# call, no error, no log line. Children of the node that is made next are never seen, as long as the client lives.
# Why it matters: a list of workers or of shards is what a ChildrenWatch is for, and its node goes away when somebody
# cleans up an empty group, or a deployment makes the tree anew. The watcher keeps the empty list from then on, while
# all who start later see the new members. Never delete the parent, or watch it with exists() as well. A watch of a
# store must outlive what it watches or end with an event.
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
import time
from importlib.metadata import version
from pathlib import Path

from kazoo.client import KazooClient


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(seen, length):
    end = time.monotonic() + 5
    while len(seen) < length and time.monotonic() < end:
        time.sleep(0.02)


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
    client.create("/group", b"first")
    data, children, fresh = [], [], []
    client.DataWatch("/group", lambda value, stat: data.append(value))
    client.ChildrenWatch("/group", lambda names: children.append(names))
    for change, calls, seen in ((lambda: client.create("/group/a"), children, 2), (lambda: client.delete("/group/a"), children, 3),
                                (lambda: client.delete("/group"), data, 2),
                                (lambda: client.create("/group", b"second"), data, 3)):
        change()
        wait_for(calls, seen)
    client.create("/group/b")
    time.sleep(2)
    client.ChildrenWatch("/group", lambda names: fresh.append(names))
    zookeeper = ".".join(map(str, client.server_version()))
finally:
    client.stop()
    server.terminate()
    server.wait()
print(f"kazoo {version('kazoo')}, ZooKeeper {zookeeper}; a node is made, deleted and made again with a child b")
print(f"  DataWatch saw:                 {data}")
print(f"  ChildrenWatch saw:             {children}")
print(f"  a ChildrenWatch made then saw: {fresh}")
sys.exit([data, children, fresh] != [[b"first", None, b"second"], [[], ["a"], []], [["b"]]])
PY
