#!/bin/sh
# zict 3.0.0: reading a key of a Buffer takes it off the disk, and flush() and close() do not put it back.
#
# A good guess: Buffer({}, File("store"), n=100) holds the newest hundred entries in memory and the older ones on disk,
# and flush() or close() writes down what is in memory only. Reading changes nothing that is stored.
# What happens: an entry is in one of the two places at a time. A read of a key that is on disk moves it into memory and
# deletes its file, and the one that has to make room is written. flush() and close() hand the call on to the two
# mappings, of which the one in memory has nothing to do. What was in memory is gone with the process: the last entries
# that were written, or the last ones that were read.
# Why it matters: in place of a dict, this looks like a store that keeps the hot part in memory. A service that has only
# read since its start loses entries that were safe on disk when it is stopped in good order, up to n of them, and those
# are the ones in use most. Evict everything before closing with evict_until_below_target(0), which also survives no
# crash, or take a write-through cache. Spilling over and being stored are two different promises.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check zict==3.0.0
cd "$tmp"
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version

from zict import Buffer, File

KEYS = ["one", "two", "three", "four"]


def opened():
    return Buffer({}, File("store"), n=2)


def stored():
    return [key for key in KEYS if key in File("store")]


buffer = opened()
for key in KEYS:
    buffer[key] = b"value"
buffer.evict_until_below_target(0)
buffer.close()
evicted = stored()

reader = opened()
values = [bytes(reader[key]) for key in ("one", "two")]
reader.flush()
reader.close()
after_reading = stored()

writer = opened()
writer["one"] = b"value"
writer.close()
after_writing = stored()

print(f"zict {version('zict')}, Buffer with n=2; on disk after close()")
print(f"  four keys written and evicted: {evicted}")
print(f"  opened again, 'one' and 'two' read {values}, flush(): {after_reading}")
print(f"  opened again, 'one' written: {after_writing}")
sys.exit((evicted, values, after_reading, after_writing)
         != (KEYS, [b"value", b"value"], ["three", "four"], ["three", "four"]))
PY
