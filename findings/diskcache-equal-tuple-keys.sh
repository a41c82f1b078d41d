#!/bin/sh
# diskcache 5.6.3: two equal tuples can be two different keys, depending on whether their parts are the same object.
#
# A good guess: a key that equals the one under which a value was stored finds it. Tuples of texts are pickled for the
# database, and equal tuples of plain texts have equal pickles.
# What happens: a pickle writes an object that occurs twice once, and a reference the second time. ("eu", "eu") with one
# text object in both places is shorter than the tuple of two equal objects, and the bytes are the key. Literals in a
# program are one object; parts that were read from a file, a request or another process are two. With three equal
# parts there are five keys.
# Why it matters: it shows only when two parts of a key are equal, say a source and a target region, and only between
# code paths: the value is there for one caller and missing for the other, add() succeeds for both, so a lock or an
# "only once" mark made of it does not exclude, and delete() leaves the other behind. A store that takes structured keys
# needs an encoding made from the values alone. Here: join the parts to one text, or use JSONDisk.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check diskcache==5.6.3
cd "$tmp"
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import json
import sys

import diskcache

one = "eu-west"
two, three = json.loads('["eu-west", "eu-west"]')
shared, apart = (one, one), (two, three)
assert shared == apart and hash(shared) == hash(apart)


def look(cache):
    cache[shared] = "value"
    found = cache.get(apart)
    return {"get() with the equal key": found, "add() with the equal key": cache.add(apart, "second"),
            "delete() with it": cache.delete(apart), "entries left": len(cache)}


with diskcache.Cache("pickled") as cache:
    pickled = look(cache)
with diskcache.Cache("json", disk=diskcache.JSONDisk) as cache:
    as_json = look(cache)
with diskcache.Cache("three") as cache:
    a, b, c = json.loads('["x-y", "x-y", "x-y"]')
    for number, key in enumerate([(a, a, a), (a, a, b), (a, b, a), (a, b, b), (a, b, c)]):
        cache[key] = number
    entries = len(cache)
    equal = len({(a, a, a), (a, a, b), (a, b, a), (a, b, b), (a, b, c)})
print(f"diskcache {diskcache.__version__}: stored under {shared} with one object in both places")
print(f"  Cache:            {pickled}")
print(f"  with JSONDisk:    {as_json}")
print(f"  five tuples of three equal texts: {equal} key in a Python set, {entries} in the cache")
sys.exit((list(pickled.values()), list(as_json.values()), equal, entries)
         != ([None, True, True, 1], ["value", False, True, 0], 1, 5))
PY
