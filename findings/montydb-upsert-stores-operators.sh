#!/bin/sh
# montydb 2.5.6: an upsert stores an empty object for each field that its filter compares, also for one that must not exist.
#
# A good guess: a document that an upsert inserts has the fields of the filter that are equal to something, and not those
# of other comparisons, as MongoDB's manual says. So {"a": {"$eq": 5}} and {"$and": [{"a": 5}]} give a field of 5, and
# {"left": {"$exists": False}} gives none.
# What happens: only {"a": 5} gives the field. Every operator, $eq too, gives an empty object, and $and and paths with a
# dot give nothing. So with $eq, $exists, $and or such a path the new document does not match the filter by which it was
# made, and the same upsert, repeated, inserts it a second time.
# Why it matters: "take the seat that nobody has left, or make one" is such an upsert, and so is a lock with the condition
# that it has expired. In tests with montydb, or in a program that uses it as its database, each call makes one more
# document. Put plain equalities into the filter and the rest into $setOnInsert there.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check montydb==2.5.6
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version

from montydb import MontyClient

database = MontyClient(":memory:").seats
FILTERS = (
    {"a": 5},
    {"a": {"$eq": 5}},
    {"a": {"$gt": 5}},
    {"a": {"$exists": False}},
    {"$and": [{"a": 5}]},
    {"a.b": 5},
)


def upsert_twice(number, wanted):
    """Do the same upsert twice in an empty collection, and return the documents without their ids."""
    seats = database[str(number)]
    for _ in range(2):
        seats.update_one(wanted, {"$set": {"z": 1}}, upsert=True)
    return [{key: value for key, value in each.items() if key != "_id"} for each in seats.find()]


found = [upsert_twice(*each) for each in enumerate(FILTERS)]
print(f"montydb {version('montydb')}; what is stored after the same upsert, two times")
for wanted, documents in zip(FILTERS, found):
    print(f"  {wanted}: {documents}")
empty, bare = [{"a": {}, "z": 1}] * 2, [{"z": 1}] * 2
sys.exit(found != [[{"a": 5, "z": 1}], empty, empty, empty, bare, bare])
PY
