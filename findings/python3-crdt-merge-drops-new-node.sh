#!/bin/sh
# python3-crdt 1.0.3: GCounter.merge() drops what was counted by nodes that the merging side has not heard of.
#
# A good guess: merging counters of this kind is the same in both directions, loses nothing, and takes "the maximum of
# every node value in the cluster", as the class says. A count of a node that only one side knows is taken over.
# What happens: merge() goes through the nodes of its own side. Those that only the other side has are left out without
# an error: 2 merged with 3 of a new node stays 2. In the other direction the same merge raises KeyError. Adding the
# missing node first helps, but add_new_node() of a node that is there sets its count to 0, so "add all, then merge"
# loses the own count, which the other side has not seen yet. compare() says True or False, and gives None instead of
# True.
# Why it matters: a counter without coordination is chosen because merging cannot go wrong. With fixed nodes
# it does not. When a node joins, what it has counted is missing on those that have not been told, and their
# total looks like one. A merge has to go through the keys of both sides, and a test of it should merge both ways round
# and compare.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check python3-crdt==1.0.3
cd "$tmp"
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version

from py3crdt.gcounter import GCounter


def counter(own, times, *nodes):
    made = GCounter(own)
    for node in nodes:
        made.add_new_node(node)
    for _ in range(times):
        made.inc(own)
    return made


def merged(mine, other):
    try:
        mine.merge(other)
    except Exception as error:
        return f"raises {type(error).__name__}"
    return mine.query()


def told(mine, other):
    """Merges after every node of the other side has been added."""
    for node in other.payload:
        mine.add_new_node(node)
    return merged(mine, other)


old, new = counter("old", 2, "old"), counter("new", 3, "old", "new")
seen = {
    "old merges new": merged(old, new),
    "new merges old": merged(new, counter("old", 2, "old")),
    "old adds both nodes and merges new": told(counter("old", 2, "old"), new),
    "both know both, old merges new": merged(counter("old", 2, "old", "new"), new),
    "0 compared with 3": counter("new", 0, "old", "new").compare(new),
    "3 compared with 0": new.compare(counter("new", 0, "old", "new")),
}
print(f"python3-crdt {version('python3-crdt')}; the old node has counted 2, the new one 3")
for name, value in seen.items():
    print(f"  {name}: {value}")
sys.exit(list(seen.values()) != [2, "raises KeyError", 3, 5, None, False])
PY
