#!/bin/sh
# rocksdict 0.3.29: keys that are negative floats come after the positive ones, the largest first.
#
# A good guess: an ordered store that takes int and float as keys keeps them in the order of numbers. With int it does,
# the negative ones included.
# What happens: a float is stored as its bits, and those of a negative number are larger than those of any positive one
# and fall as the number grows. keys() gives 0.0, 1.0, 20.0, -1.0, -20.0. A range from -10.0 to 5.0 gives -20.0, which is
# not in it, and leaves out what is. keys(from_key=-10.0) never comes to the positive keys. delete_range(-10.0, 5.0)
# raises, and that is the only place where an error tells. It is not documented, and no report was found.
# Why it matters: temperatures, coordinates, balances and differences are such keys, and tests are written with 1.5 and
# 2.5. The range that is too short looks like missing data, and a clean-up by range removes the wrong keys. Store a whole
# number of thousandths. An encoding of numbers for ordered keys has to turn the sign bit, and the others if it is set.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check rocksdict==0.3.29
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version

from rocksdict import Rdict


def between(db, low, high):
    """The loop over a range as it is written for any ordered store."""
    found, place = [], db.iter()
    place.seek(low)
    while place.valid() and place.key() <= high:
        found.append(place.key())
        place.next()
    return found


def look(kind):
    db = Rdict(kind.__name__)
    for number in -20, -3, -1, 0, 1, 3, 20:
        db[kind(number)] = "value"
    seen = list(db.keys()), between(db, kind(-10), kind(5)), list(db.keys(from_key=kind(-10)))
    db.close()
    return seen


seen = {kind.__name__: look(kind) for kind in (int, float)}
print(f"rocksdict {version('rocksdict')}")
for name, (keys, found, rest) in seen.items():
    print(f"  {name}: keys() {keys}")
    print(f"    from -10 to 5: {found}; keys(from_key=-10): {rest}")
sys.exit(seen != {
    "int": ([-20, -3, -1, 0, 1, 3, 20], [-3, -1, 0, 1, 3], [-3, -1, 0, 1, 3, 20]),
    "float": ([0.0, 1.0, 3.0, 20.0, -1.0, -3.0, -20.0], [-20.0], [-20.0])})
PY
