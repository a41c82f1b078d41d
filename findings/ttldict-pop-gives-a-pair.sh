#!/bin/sh
# ttldict 0.3.0: pop() gives a pair of the due time and the value, and setdefault() raises KeyError for what has expired.
#
# A good guess: pop(key) gives what [key] gives, and setdefault(key, value) sets a key whose time is over, as in any
# mapping.
# What happens: pop() and popitem() give (seconds since 1970, value), in time and after it, also where a default is given.
# setdefault() finds the expired key, and then reads it: a KeyError, and the key is gone, so that a second call sets it.
# [], get(), items() and values() give the value alone.
# Why it matters: a pair is true, whatever is in it. "if pending.pop(request, None):" takes a request for one that waits
# when its value is False or 0 or its time is over, and the value goes on as a tuple. setdefault(), with which counters
# and locks are made, fails once for each key, at the first call after its time. Use get() and del, and set with [].
# A mapping that wraps its values has to wrap all ways to read them; collections.abc.MutableMapping derives them.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check ttldict==0.3.0
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import sys
import time
from importlib.metadata import version

from ttldict import TTLOrderedDict


def call(do):
    """Return what a call gives, or the name of what it raises; a due time is called "due"."""
    try:
        given = do()
    except KeyError as error:
        return type(error).__name__
    return ("due", given[1]) if isinstance(given, tuple) and isinstance(given[0], float) else given


CALLS = {
    '[]': lambda held: held["key"],
    'get("key", "gone")': lambda held: held.get("key", "gone"),
    'pop("key", "gone")': lambda held: held.pop("key", "gone"),
    'setdefault("key", True)': lambda held: held.setdefault("key", True),
}
print(f"ttldict {version('ttldict')}; what is given in time and after it, for the value False")
seen = []
for name, do in CALLS.items():
    fresh, expired = TTLOrderedDict(60, key=False), TTLOrderedDict(1, key=False)
    time.sleep(1.3)
    seen.append([call(lambda: do(fresh)), call(lambda: do(expired)), call(lambda: do(expired))])
    print(f"  {name}: {seen[-1][0]}; {seen[-1][1]}, and then {seen[-1][2]}")
sys.exit(seen != [[False, "KeyError", "KeyError"], [False, "gone", "gone"], [("due", False), ("due", False), "gone"],
                  [False, "KeyError", True]])
PY
