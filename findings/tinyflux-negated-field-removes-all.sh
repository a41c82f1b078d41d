#!/bin/sh
# tinyflux 1.2.0: remove(~(FieldQuery().ok == 1)) removes every point, also those that search() does not find with it.
#
# A good guess: remove() removes the points that search() finds with the same query, and ~ turns a condition round. Of
# two points with ok 1 and two with ok 0, the query above finds and removes the last two.
# What happens: for a negated condition on a field the index answers "every point, to be looked at again". search()
# looks again when the whole query has that answer. remove() does not: it takes it for "all match" and empties the
# database. select() does not either and gives all points. Joined with another condition nobody looks again: all points
# of the room come out of (TagQuery().room == "a") & ~(FieldQuery().ok == 1). With auto_index=False all are right, and
# so is FieldQuery().ok != 1.
# Why it matters: who tries a query with search() before giving it to remove() sees the right two points, and then
# loses all four. The count that remove() returns is the only sign. Write the condition with != or leave the index out.
# An index that gives candidates has to say so in its type, so that no caller can take them for the answer.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check tinyflux==1.2.0
cd "$tmp"
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import sys
from datetime import datetime, timedelta, timezone
from importlib.metadata import version

from tinyflux import FieldQuery, Point, TagQuery, TinyFlux

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
NEGATED, NOT_EQUAL = ~(FieldQuery().ok == 1), FieldQuery().ok != 1
IN_ROOM = (TagQuery().room == "a") & NEGATED
names = iter(range(100))


def database(indexed):
    db = TinyFlux(f"points {next(names)}.csv", auto_index=indexed)
    for number, (room, ok) in enumerate((("a", 1), ("a", 0), ("b", 1), ("b", 0))):
        db.insert(Point(time=START + timedelta(hours=number), tags={"room": room}, fields={"ok": ok}))
    return db


def oks(points):
    return [int(point.fields["ok"]) for point in points]


def removed(indexed, query):
    db = database(indexed)
    return db.remove(query), oks(db.all())


def look(indexed):
    db = database(indexed)
    return {"search": oks(db.search(NEGATED)), "select": [int(ok) for ok in db.select("fields.ok", NEGATED)],
            "search in room a": oks(db.search(IN_ROOM)), "removed, left": removed(indexed, NEGATED),
            "removed, left with !=": removed(indexed, NOT_EQUAL)}


without, with_index = look(False), look(True)
print(f"tinyflux {version('tinyflux')}, points with ok 1, 0, 1, 0; not (ok == 1)")
for name, value in without.items():
    print(f"  {name}: {value} without the index, {with_index[name]} with it")
sys.exit((list(without.values()), list(with_index.values())) != (
    [[0, 0], [0, 0], [0], (2, [1, 1]), (2, [1, 1])], [[0, 0], [1, 0, 1, 0], [1, 0], (4, []), (2, [1, 1])]))
PY
