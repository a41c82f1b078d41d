#!/bin/sh
# aiocache 0.12.3: in memory, clear() leaves the timers of the old values, and they delete what is written afterwards.
#
# A good guess: after clear() the cache is as new. A value that is set then lives as long as its own ttl says, or for
# good without one.
# What happens: each value with a ttl has a timer that deletes its key. set() and delete() cancel it, and clear() only
# forgets it. When the time of the old value comes, the key is deleted whatever it holds by then: a value with a ttl of
# an hour, or one that was to stay. With clear(namespace=...) and with delete() the new value stays.
# Why it matters: clear() is called after a deployment or an import, and the cache is filled again in the next second.
# Within the old ttl the new values vanish one by one. In a cache that shows as misses; but leases, counters for limits
# and "seen before" marks are kept in it too, and a lease that is deleted early has two holders. Delete key by key, or
# make a new cache. A timer for a key has to know which value it was set for.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check aiocache==0.12.3
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import asyncio
import sys
from importlib.metadata import version

from aiocache import SimpleMemoryCache


async def look(empty, **namespace):
    """What is left of new values, a second after the cache was emptied of old ones with a ttl of half a second."""
    cache = SimpleMemoryCache(**namespace)
    for key in "an hour", "for good":
        await cache.set(key, "old", ttl=0.5)
    await empty(cache)
    await cache.set("an hour", "new", ttl=3600)
    await cache.set("for good", "new")
    await asyncio.sleep(1)
    return [await cache.get("an hour"), await cache.get("for good")]


async def one_by_one(cache):
    for key in "an hour", "for good":
        await cache.delete(key)


async def main():
    return {"clear()": await look(lambda cache: cache.clear()),
            "clear(namespace=...)": await look(lambda cache: cache.clear(namespace="app"), namespace="app"),
            "delete() of each": await look(one_by_one)}


seen = asyncio.run(main())
print(f"aiocache {version('aiocache')}; old values for 0.5 s, then new ones for an hour and for good; 1 s later")
for name, left in seen.items():
    print(f"  {name}: {left}")
sys.exit(list(seen.values()) != [[None, None], ["new", "new"], ["new", "new"]])
PY
