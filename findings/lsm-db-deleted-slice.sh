#!/bin/sh
# lsm-db 0.7.3: db["b":"d"] reads b, c and d, and `del db["b":"d"]` deletes c only.
#
# A good guess: one slice names the same keys whether it is read or deleted. The end may be left out, as in Python, or
# taken in, as often for texts; but reading a slice and then deleting it handles each key once.
# What happens: reading takes both ends in, and deleting leaves both out. The keys b and d stay, without an error. A
# slice of two neighbours, or of one key, deletes nothing. del db["b"], with one key and no slice, does delete it. The
# manual says so, in the words on deleting only.
# Why it matters: "hand out the entries up to this one, then cut them off" is how a log or a queue on such a store moves
# on. Here the first and the last entry of each batch stay, and come out again with the next one, so work is done twice
# and the store grows. Delete the two ends by themselves in the same transaction. A store's ranges need one rule for
# reading, counting and deleting, and a test that deletes what it has just read.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check lsm-db==0.7.3
cd "$tmp"
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version

from lsm import LSM


def text(keys):
    return b" ".join(keys).decode()


seen = {}
for number, (name, part) in enumerate([('"b":"d"', slice("b", "d")), ('"b":"c"', slice("b", "c")),
                                       ('"b":"b"', slice("b", "b"))]):
    db = LSM(f"store{number}")
    for key in "abcde":
        db[key] = "value"
    read = text(key for key, _ in db[part])
    del db[part]
    left = text(db.keys())
    del db["b"]
    seen[name] = read, left, text(db.keys())
    db.close()
print(f"lsm-db {version('lsm-db')}, keys a b c d e")
for name, (read, left, without) in seen.items():
    print(f"  db[{name}] reads {read}; after del db[{name}] there are {left}, after del db['b'] {without}")
sys.exit(seen != {'"b":"d"': ("b c d", "a b d e", "a d e"), '"b":"c"': ("b c", "a b c d e", "a c d e"),
                  '"b":"b"': ("b", "a b c d e", "a c d e")})
PY
