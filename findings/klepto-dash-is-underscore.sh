#!/bin/sh
# klepto 0.2.8: in a dir_archive, "eu-west" and "eu_west" are one key, and so are -7 and "_7", and 1 and "1".
#
# A good guess: a dictionary on disk keeps every key that a dictionary keeps, or raises for one that it cannot keep.
# What happens: the name of the directory of an entry is the text of its key with each "-" made "_". The key that is
# written last takes the place of the other, and both give its value. An archive with a cache in front of it shows both
# until dump() and load(), and then one. A function with klepto.inf_cache and such an archive gives the result of another
# argument: after f("eu-west") the body is not run for f("eu_west"). A file_archive keeps them apart. A comment in the
# source knows of 1 and "1"; the documentation has none of it, and no report of the dash was found.
# Why it matters: names of regions, hosts and tables from two systems differ by just these two signs. The loss is silent,
# and with a cache in front it shows in the next process only. Use file_archive or sql_archive, or a keymap that makes a
# hash. A file name for a key must be reversible.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check klepto==0.2.8
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version

import klepto
from klepto.archives import dir_archive, file_archive

ENTRIES = {"eu-west": "a", "eu_west": "b", -7: "c", "_7": "d", 1: "e", "1": "f"}


def stored(archive):
    for key, value in ENTRIES.items():
        archive[key] = value
    return [archive[key] for key in ENTRIES]


@klepto.inf_cache(cache=dir_archive("results", cached=False), keymap=klepto.keymaps.stringmap())
def region(name):
    return f"data of {name}"


cached = dir_archive("cached")
before = stored(cached)
cached.dump()
cached.clear()
cached.load()
seen = {
    "file_archive": stored(file_archive("file", cached=False)),
    "dir_archive": stored(dir_archive("directory", cached=False)),
    "dir_archive with a cache": before,
    "  after dump() and load()": [cached.get(key) for key in ENTRIES],
}
results = [region("eu-west"), region("eu_west")]
print(f"klepto {version('klepto')}; written: {ENTRIES}")
for name, values in seen.items():
    print(f"  {name}, the values read: {values}")
print(f"  region('eu-west'): {results[0]}; region('eu_west'): {results[1]}")
whole = list(ENTRIES.values())
sys.exit(list(seen.values()) != [whole, list("bbddff"), whole, [None, "b", None, "d", None, "f"]]
         or results != ["data of eu-west"] * 2)
PY
