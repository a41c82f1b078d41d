#!/bin/sh
# boltons 26.2.0: after cache |= {...}, an LRU cache holds more than its limit, and later writes raise KeyError.
#
# A good guess: a cache that is a dict takes cache |= {...} as it takes update(): the new entries come in, and the oldest
# go out when there are more than max_size.
# What happens: |= is the one of dict, which knows nothing of the order of use. The entries are in the cache beyond the
# limit and are not in the order: cache["a"] and pop("a") raise KeyError while "a" in cache is True. When as many came in
# as the cache may hold, setting any new key raises KeyError from then on, and nothing is stored. LRI is the same.
# update() is right. It is not documented; a change that repairs it was proposed in September 2026 and is not in yet.
# Why it matters: |= is what warms a cache at its start. The write that fails comes later, in a request that has nothing
# to do with it, and a cache around the store turns each miss into an error. Use update(). A class that derives from
# dict and keeps anything beside it has to answer for every way in which dict changes, those added later included.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check boltons==26.2.0
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version

from boltons.cacheutils import LRI, LRU


def outcome(call, *arguments):
    try:
        return call(*arguments)
    except Exception as error:
        return f"raises {type(error).__name__}"


def look(kind, warm):
    cache = kind(max_size=2)
    cache = warm(cache, {"a": 1, "b": 2, "c": 3})
    size = len(cache)
    read = outcome(cache.__getitem__, "c")
    written = outcome(cache.__setitem__, "d", 4)
    return size, read, written, list(cache)


def union(cache, entries):
    cache |= entries
    return cache


def update(cache, entries):
    cache.update(entries)
    return cache


seen = {f"{kind.__name__}, {warm.__name__}": look(kind, warm) for kind in (LRU, LRI) for warm in (update, union)}
print(f"boltons {version('boltons')}; max_size=2, warmed with a, b and c, then d is set")
for name, (size, read, written, keys) in seen.items():
    print(f"  {name}: {size} entries, cache['c']: {read}, cache['d'] = 4: {written}, keys: {keys}")
right, wrong = (2, 3, None, ["c", "d"]), (3, "raises KeyError", "raises KeyError", ["a", "b", "c"])
sys.exit(list(seen.values()) != [right, wrong, right, wrong])
PY
