#!/bin/sh
# ordered-set 4.1.0: after pop(0), discard("b") takes out c; sortedcollections 2.1.0: after discard(), index() is wrong.
#
# A good guess: a set that keeps its order is a set and a sequence. index(), indexing, discard() and pop() belong
# together, and after each of them s[s.index(x)] is x.
# What happens: ordered-set keeps the positions in a dictionary, and pop(0) takes one entry out of the list and leaves
# the other positions as they were. index("b") is then 1, s[1] is c, and discard("b") deletes c and keeps b, without an
# error. What is left is b and d, and "c" in s is True and "b" in s False. pop() of the last keeps the positions right.
# In OrderedSet of sortedcollections, index() gives the number that the element got when it was added: after one
# discard() it points one too far, for the last one beyond the end.
# Why it matters: such a set is taken as a queue in which each job is once: add() behind, pop(0) in front, discard() to
# cancel. After the first pop(0), cancelling "b" cancels another job, and b is run. A test that only fills the set and
# empties it passes. Take a dict as the queue, with next(iter(d)) as its front. What is stored in two places has to be
# changed in both by every call.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check ordered-set==4.1.0 sortedcollections==2.1.0
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version

import ordered_set
import sortedcollections

jobs = ordered_set.OrderedSet("abcd")
first = jobs.pop(0)
left = list(jobs)
indexes = [jobs.index(job) for job in left]
jobs.discard("b")
after = list(jobs)
members = {job: job in jobs for job in "bc"}

other = sortedcollections.OrderedSet("abcd")
other.discard("a")
other_left = list(other)
other_indexes = [other.index(job) for job in other_left]
second = other[other.index("b")]
try:
    last = other[other.index("d")]
except IndexError:
    last = "IndexError"
print(f"ordered-set {version('ordered-set')}, a b c d")
print(f"  pop(0): {first}; left: {left}, index() of each: {indexes}")
print(f"  discard('b'): {after}; in the set: {members}")
print(f"sortedcollections {version('sortedcollections')}, a b c d")
print(f"  discard('a'), left: {other_left}, index() of each: {other_indexes}")
print(f"  s[s.index('b')]: {second}, s[s.index('d')]: {last}")
sys.exit((first, left, indexes, after, members, other_left, other_indexes, second, last) != (
    "a", ["b", "c", "d"], [1, 2, 3], ["b", "d"], {"b": False, "c": True}, ["b", "c", "d"], [1, 2, 3], "c",
    "IndexError"))
PY
