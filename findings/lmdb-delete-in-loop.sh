#!/bin/sh
# lmdb 3.0.0 (Python): "for key, value in cursor: cursor.delete()" deletes every second entry.
#
# A good guess: the loop deletes all entries. In C the step after mdb_cursor_del() goes to the entry after the deleted
# one, so the loop is right there; and a loop that cannot stand changes raises an error, as over a dictionary.
# What happens: delete() of the Python class moves on to the next entry by itself, and the loop moves once more. Each
# entry after a deleted one is passed over: it is neither deleted nor seen. With a condition in the loop, the entry
# after each hit is not looked at. No error is raised. Backwards, with iterprev(), none is passed over, but the loop
# ends at once when it has deleted the last entry of all.
# Why it matters: removing what has expired, or all keys of a client that left, is such a loop. Half of the entries
# stay, if they stand together, and a test with one of them that stands alone passes. Locks and sessions then outlive
# their time. Loop with "while cursor.delete()" after set_range(), or collect the keys first. Test a deletion with
# neighbours.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check lmdb==3.0.0
cd "$tmp"
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version

import lmdb

store = lmdb.open("store")


def look(expired, loop):
    """The keys that a loop saw, and those that are left, after it deleted those that have expired."""
    seen = ""
    with store.begin(write=True) as txn:
        txn.drop(store.open_db(txn=txn), delete=False)
        for key in "abcdefgh":
            txn.put(key.encode(), b"value")
        cursor = txn.cursor()
        for key, _ in loop(cursor):
            seen += key.decode()
            if key.decode() in expired:
                cursor.delete()
        return seen, "".join(key.decode() for key, _ in txn.cursor())


cases = {"all, forwards": ("abcdefgh", iter), "b c d e, forwards": ("bcde", iter), "c, forwards": ("c", iter),
         "b c d e, backwards": ("bcde", lambda cursor: cursor.iterprev()),
         "all, backwards": ("abcdefgh", lambda cursor: cursor.iterprev())}
seen = {name: look(*case) for name, case in cases.items()}
print(f"lmdb {version('lmdb')}, keys a to h")
for name, (passed, left) in seen.items():
    print(f"  delete {name}: the loop saw {passed}, left are {left or 'none'}")
sys.exit(list(seen.values()) != [("aceg", "bdfh"), ("abdfgh", "acefgh"), ("abcefgh", "abdefgh"),
                               ("hgfedcba", "afgh"), ("h", "abcdefg")])
PY
