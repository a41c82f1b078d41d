#!/bin/sh
# python-memcached 1.62 with memcached 1.6.18: cas() after gets() overwrites what another client wrote in between.
#
# A good guess: gets() reads a value with its number, and cas() writes only if the number is still the same. That is all
# that the two calls are for, and cas() says with 0 or False that it did not write.
# What happens: the client keeps the number only if it was made with cache_cas=True, and the default is False. For a key
# without a number cas() sends a plain SET. It returns True, and the write of the other client is lost. With
# cache_cas=True the first cas() is refused as it should be. But gets() of a key that is not there leaves no number
# either, so the cas() after it overwrites the key that another client has created meanwhile.
# Why it matters: two workers that count or hand out with gets() and cas() lose writes, and no answer differs from that
# of a successful swap. A test with one client passes. Give cache_cas=True and use add() for keys that are missing. In a
# client of a store, a conditional write without its condition must be an error, never a write without a condition.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
apt-get -qq -o APT::Sandbox::User=root download memcached=1.6.18-1+deb12u1 libevent-2.1-7
for package in ./*.deb; do dpkg -x "$package" "$tmp/memcached"; done
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check python-memcached==1.62
LD_LIBRARY_PATH=$(dirname "$tmp"/memcached/usr/lib/*/libevent-2.1.so.7) timeout 60 "$tmp/venv/bin/python" - <<'PY'
import os
import subprocess
import sys
import time
from importlib.metadata import version

import memcache

address = f"unix:{os.getcwd()}/socket"


def look(**options):
    """What cas() says and what is stored after it, for a key that was there at gets() and for one that was not."""
    other = memcache.Client([address])
    seen = []
    for before in "before", None:
        other.flush_all()
        mine = memcache.Client([address], **options)
        if before:
            other.set("key", before)
        read = mine.gets("key")
        other.set("key", "of the other")
        answer = bool(mine.cas("key", "mine"))
        seen.append((read, answer, other.get("key")))
    return seen


server = subprocess.Popen(["memcached/usr/bin/memcached", "-s", "socket", "-u", "root", "-m", "16"])
try:
    for _ in range(200):
        if os.path.exists("socket"):
            break
        time.sleep(0.1)
    default, caching = look(), look(cache_cas=True)
    memcached = memcache.Client([address]).get_stats()[0][1]["version"]
finally:
    server.terminate()
print(f"python-memcached {version('python-memcached')}, memcached {memcached}; another client writes between gets() and cas()")
for name, seen in ("Client(...)", default), ("Client(..., cache_cas=True)", caching):
    for read, answer, stored in seen:
        print(f"  {name}: gets() {read!r}, cas() {answer}, stored then: {stored!r}")
lost = None, True, "mine"
sys.exit([default, caching] != [[("before", True, "mine"), lost], [("before", False, "of the other"), lost]])
PY
