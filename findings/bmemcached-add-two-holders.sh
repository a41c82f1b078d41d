#!/bin/sh
# python-binary-memcached 0.33.0, two memcached servers: add() is True for a key that exists, once one server restarted.
#
# A good guess: add() is documented to be False if the key exists, and it is how a lock is taken with memcached. With two
# servers that both have each key, the one that still has it is what counts.
# What happens: add() asks each server and is True if any of them has added the key. A server that was restarted is empty
# and adds it. The second client gets True while the first holds the lock and get() shows the first one's name. Each
# server then has another holder: delete() by either frees both, and while one server is away the other's answer is
# taken. The documentation warns of cas() with several servers, and has no word about add().
# Why it matters: several servers are named so that one may restart. The restart is what gives a job to two workers, and
# nothing in the answers differs from a lock that was free. Give the client one server for locks, or DistributedClient,
# which keeps each key on one server. A copy on several servers is exclusive only when a majority must agree.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
apt-get -qq -o APT::Sandbox::User=root download memcached=1.6.18-1+deb12u1 libevent-2.1-7
for package in ./*.deb; do dpkg -x "$package" "$tmp/memcached"; done
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check python-binary-memcached==0.33.0
LD_LIBRARY_PATH=$(dirname "$tmp"/memcached/usr/lib/*/libevent-2.1.so.7) timeout 60 "$tmp/venv/bin/python" - <<'PY'
import os
import subprocess
import sys
import time
from importlib.metadata import version

import bmemcached

servers = {}


def start(name):
    servers[name] = subprocess.Popen(["memcached/usr/bin/memcached", "-s", name, "-u", "root", "-m", "16"])
    for _ in range(200):
        if os.path.exists(name):
            return
        time.sleep(0.1)
    raise SystemExit("memcached did not start")


def stop(name):
    servers[name].terminate()
    servers[name].wait(20)
    if os.path.exists(name):
        os.unlink(name)


def restart(name):
    stop(name)
    start(name)


def look(kind, names):
    """Whether clients get the lock one after the other, without and with a restart between, and who holds it then."""
    paths = tuple(os.path.abspath(name) for name in names)
    first = kind(paths)
    seen = [first.add("lock", "first")]
    seen.append(kind(paths).add("lock", "second"))
    if len(names) > 1:
        restart(names[1])
        third = kind(paths)
        seen.append(third.add("lock", "third"))
        seen.append([bmemcached.Client((path,)).get("lock") for path in paths])
    for path in paths:
        bmemcached.Client((path,)).flush_all()
    return seen


start("one")
start("two")
try:
    single, both = look(bmemcached.Client, ["one"]), look(bmemcached.Client, ["one", "two"])
finally:
    stop("one")
    stop("two")
print(f"python-binary-memcached {version('python-binary-memcached')}, memcached 1.6.18; add() of one key")
print(f"  one server: the first client {single[0]}, the second {single[1]}")
print(f"  two servers: the first client {both[0]}, the second {both[1]}; after a restart of one a third {both[2]}")
print(f"  what each of the two servers has then: {both[3]}")
sys.exit((single, both) != ([True, False], [True, False, True, ["first", "third"]]))
PY
