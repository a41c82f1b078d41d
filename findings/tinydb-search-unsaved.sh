#!/bin/sh
# TinyDB 4.9.0: search() gives back what a program did to an earlier result, though nothing was stored; get() does not.
#
# A good guess: the results of a query are copies. Changing one changes nothing until update() writes it, and search()
# with the same condition finds what is in the file, as get() does.
# What happens: search() keeps its results by condition and hands out the same documents again. A result that was changed
# in memory comes back changed, also for another part of the program that asks the same. get(), all(), count() of another
# condition and a second TinyDB on the file show the stored value. A write by that second TinyDB does not clear the kept
# results either, so search() goes on to answer from them while get() sees the new value.
# Why it matters: "read the state, try a change, compare with what is stored" sees its own change as stored and skips the
# write, and the value is gone at the next start. It takes two calls with one condition, so a test with one does not show
# it. Copy a result before changing it, or call clear_cache(). A store's cache must hand out copies or values.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check tinydb==4.9.0
cd "$tmp"
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version

from tinydb import TinyDB, where


def look(db):
    return {"search()": [entry["owner"] for entry in db.search(mine)], "get()": db.get(mine)["owner"],
            "all()": [entry["owner"] for entry in db.all()]}


mine = where("key") == "lock"
db = TinyDB("store.json")
db.insert({"key": "lock", "owner": "nobody"})
db.search(mine)[0]["owner"] = "a change in memory"
changed = look(db)
second = TinyDB("store.json")
in_file = look(second)
second.update({"owner": "another"}, mine)
stale = look(db)
db.clear_cache()
cleared = look(db)
print(f"TinyDB {version('tinydb')}, stored: owner nobody")
print(f"  after a change to a result of search(): {changed}")
print(f"  a second TinyDB on the same file:       {in_file}")
print(f"  after the second has stored 'another':  {stale}")
print(f"  after clear_cache():                    {cleared}")
sys.exit([list(look.values()) for look in (changed, in_file, stale, cleared)] != [
    [["a change in memory"], "nobody", ["nobody"]], [["nobody"], "nobody", ["nobody"]],
    [["a change in memory"], "another", ["another"]], [["another"], "another", ["another"]]])
PY
