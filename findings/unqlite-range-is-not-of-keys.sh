#!/bin/sh
# unqlite 1.2.0: range("a", "c") gives the records that lie between a and c in the store, not the keys between them.
#
# A good guess: a range goes from one key to another in the order of the keys, and yields all keys that are in between,
# whether the two ends exist or not. So do the ranges of LevelDB, RocksDB and LMDB.
# What happens: the store is a hash table. The cursor starts at the record of the first key and walks in the order in
# which the records lie, until it meets the second key, or to the end of the store if there is none. In memory that is
# the order of storing: a b that came before a is left out, and a q that came between a and c comes out. In a file it is
# another order, and a third one after the file has been closed and opened. No error is raised.
# Why it matters: tests store rising keys in memory, where the answer is right. In a file the same program gets too few
# entries or too many: of 1,000 numbers stored in order, a range of 251 has 737, and 15 after a restart. A log that is
# read from a position on, or cut up to one, loses entries. Filter what comes from keys(), or take a store with an
# order. An interface should offer ranges only where there is an order.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check unqlite==1.2.0
cd "$tmp"
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version

from unqlite import UnQLite


def found(db, *ends):
    return [key for key, _ in db.range(*ends)]


def stored(path, keys):
    db = UnQLite(path)
    for key in keys:
        db[key] = "value"
    return db


cases = [("abcde", "a", "c"), ("acqb", "a", "c"), ("baqc", "a", "c"), ("abzey", "a", "d")]
letters = ["".join(found(stored(":mem:", keys), *ends)) for keys, *ends in cases]
rising = [f"{number:04}" for number in range(1000)]
part = rising[250:501]
memory = found(stored(":mem:", rising), part[0], part[-1])
db = stored("store", rising)
fresh = found(db, part[0], part[-1])
db.commit()
db.close()
reopened = found(UnQLite("store"), part[0], part[-1])
print(f"unqlite {version('unqlite')}")
for (keys, *ends), keys_found in zip(cases, letters):
    print(f"  stored in the order {' '.join(keys)}: range{tuple(ends)} gives {' '.join(keys_found)}")
print(f"  1000 rising numbers, a range of {len(part)}: in memory {len(memory)}, in a file {len(fresh)}, "
      f"reopened {len(reopened)}, of which {len(set(part) & set(reopened))} are in the range")
sys.exit(letters != ["abc", "ac", "aqc", "abzey"] or memory != part or set(fresh) == set(part) or set(reopened) == set(part))
PY
