#!/bin/sh
# zict 3.0.0: a Cache over a directory that has keys already lists them, and get() of each gives None.
#
# A good guess: Cache(File("store"), LRU(100, {})) puts a cache in memory before a directory. When a program starts
# again, the cache is empty and the directory is as it was left, so every key is read from there once. The manual has
# such a line as its example, and calls the mapping behind it persistent.
# What happens: the Cache keeps a number for each key that was written through it, and reading a key without a number
# raises KeyError, whatever the directory holds. len(), "in" and the loop over the keys come from the directory and are
# right. get() gives None for a key that "in" has just found, and setdefault() writes its default over the stored value.
# del removes the file and then raises KeyError.
# Why it matters: a test in one process passes. After the restart every key is there and has no value, and the usual
# "if there is none, make one" overwrites what was stored, one key after the other, without an error. Use a Buffer, or
# read from the inner mapping where the Cache raises. What a cache remembers must not decide whether a key exists.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check zict==3.0.0
cd "$tmp"
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version
from pathlib import Path

from zict import LRU, Cache, File


def opened():
    return Cache(File("store"), LRU(100, {}))


def outcome(call):
    try:
        call()
    except KeyError:
        return "KeyError"
    return "done"


first = opened()
for key in "read", "defaulted", "deleted":
    first[key] = b"stored"
same_process = bytes(first["read"])
first.close()

second = opened()
listed = sorted(second)
found = "read" in second
read = second.get("read")
defaulted = second.setdefault("defaulted", b"default")
deleted = outcome(lambda: second.__delitem__("deleted"))
second.close()
stored = {key: bytes(value) for key, value in File("store").items()}

print(f"zict {version('zict')}; three keys stored, then opened again")
print(f"  before that, in the same process: {same_process}")
print(f"  keys: {listed}; 'read' in cache: {found}; get('read'): {read}")
print(f"  setdefault('defaulted', b'default'): {defaulted}; del of 'deleted': {deleted}")
print(f"  in the directory then: {stored}; files: {len(list(Path('store').iterdir()))}")
sys.exit((same_process, listed, found, read, defaulted, deleted, stored)
         != (b"stored", ["defaulted", "deleted", "read"], True, None, b"default", "KeyError",
             {"read": b"stored", "defaulted": b"default"}))
PY
