#!/bin/sh
# montydb 2.5.6: insert_many(ordered=False) stops at the first document that cannot be inserted, as with ordered=True.
#
# A good guess: with ordered=False all documents are tried, as the manual of MongoDB says and as PyMongo does, so that
# those with a new _id are there afterwards and the error lists those without one.
# What happens: the documents after the first duplicate are not tried. The error lists one duplicate, and its nInserted
# counts those before it. Nothing tells of the others.
# Why it matters: "insert all, and skip what is there" is written with ordered=False and an error that is caught. In tests
# with montydb, or in a small program that uses it as its database, a batch that is repeated after a crash begins with
# documents that are there, so nothing new of it is stored. Insert one by one there, or replace_one() with upsert.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check montydb==2.5.6
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version

from montydb import MontyClient
from montydb.errors import BulkWriteError

database = MontyClient(":memory:").events


def insert(name, ordered):
    """Insert a batch of which the second is there already, and return what is told and what is stored."""
    events = database[name]
    events.insert_one({"_id": 1})
    try:
        events.insert_many([{"_id": number} for number in (5, 1, 6, 7)], ordered=ordered)
    except BulkWriteError as error:
        told = error.details["nInserted"], [each["index"] for each in error.details["writeErrors"]]
        return *told, [each["_id"] for each in events.find()]
    return None


print(f"montydb {version('montydb')}; number inserted, indexes of errors, and what is stored of 1, and then 5, 1, 6 and 7")
ordered, unordered = insert("ordered", True), insert("unordered", False)
print("  ordered=True: ", *ordered)
print("  ordered=False:", *unordered)
sys.exit(ordered != (1, [1], [1, 5]) or unordered != ordered)
PY
