#!/bin/sh
# aiozk 0.32.0 with ZooKeeper 3.8.0: set_data() and delete() check the version, but not for a client with a chroot.
#
# A good guess: set_data() has an argument force=False, so without it a node that somebody else has changed since it
# was read is not overwritten. A chroot puts a prefix before each path and changes nothing else.
# What happens: the client remembers the version of each node that it has seen, and set_data() and delete() send the
# one that they find. It is remembered under the path without the chroot and looked for under the path with it, so that
# a client with a chroot never finds one, and sends "any version". The same calls raise BadVersion without the chroot.
# There, too, the version is the last one seen and not the one that was read: an exists() in between, whose answer is
# only yes or no, turns the check off.
# Why it matters: the check is on by itself in development, and a chroot is what production gets, where several
# applications share one ZooKeeper. Updates of others are then lost without an error. Give the version that was read to
# set(), which takes one. A condition that comes from a cache cannot be relied on; the caller has to hand it over.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
apt-get -qq -o APT::Sandbox::User=root download libzookeeper-java=3.8.0-11+deb12u2 libslf4j-java
for package in ./*.deb; do dpkg -x "$package" "$tmp/zookeeper"; done
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check aiozk==0.32.0
timeout 60 "$tmp/venv/bin/python" -W ignore - <<'PY'
import asyncio
import logging
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from aiozk import ZKClient


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def accepts(port):
    for _ in range(300):
        try:
            (await asyncio.open_connection("127.0.0.1", port))[1].close()
            return
        except OSError:
            await asyncio.sleep(0.1)
    raise SystemExit("ZooKeeper did not start")


async def outcome(call):
    try:
        await call
    except Exception as error:
        return f"raises {type(error).__name__}"
    return "done"


async def client(chroot):
    made = ZKClient(f"127.0.0.1:{port}", chroot=chroot, session_timeout=5)
    await made.start()
    return made


async def look(chroot):
    """What becomes of a write and of a deletion after a read when another client has written in between."""
    mine, other = await client(chroot), await client(chroot)
    seen = []
    for path, asked in (("/job", False), ("/other-job", True)):
        await mine.create(path, b"free")
        await mine.get_data(path)
        await other.set_data(path, b"of the other")
        if asked:
            await mine.exists(path)
        seen.append((await outcome(mine.set_data(path, b"mine")), await other.get_data(path)))
    await other.set_data("/job", b"of the other again", force=True)
    seen.append((await outcome(mine.delete("/job")), await other.exists("/job")))
    for made in mine, other:
        await made.close()
    return seen


async def main():
    await accepts(port)
    return [await look(chroot) for chroot in (None, "/application")]


logging.disable()
port = free_port()
Path("data").mkdir()
Path("zoo.cfg").write_text(f"tickTime=500\ndataDir=data\nclientPortAddress=127.0.0.1\nclientPort={port}\n"
                           "admin.enableServer=false\n")
jars = (f"zookeeper/usr/share/java/{name}.jar" for name in ("zookeeper", "zookeeper-jute", "slf4j-api", "slf4j-nop"))
server = subprocess.Popen(["java", "-Xmx64m", "-XX:TieredStopAtLevel=1", "-cp", ":".join(jars),
                           "org.apache.zookeeper.server.ZooKeeperServerMain", "zoo.cfg"],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
try:
    plain, chrooted = asyncio.run(asyncio.wait_for(main(), 50))
finally:
    server.terminate()
    server.wait()
print(f"aiozk {version('aiozk')}, ZooKeeper 3.8.0; another client has written since the read")
for name, (write, asked, deletion) in (("without a chroot", plain), ("with a chroot", chrooted)):
    print(f"  {name}: set_data() {write[0]}, then {write[1]}; with exists() before it {asked[0]}; "
          f"delete() {deletion[0]}")
overwritten = ("done", b"mine")
sys.exit((plain, chrooted) != ([("raises BadVersion", b"of the other"), overwritten, ("raises BadVersion", True)],
                               [overwritten, overwritten, ("done", False)]))
PY
