#!/bin/sh
# expiringdict 1.2.2: pop() gives the value that has expired, where get() and "in" say that there is none.
#
# A good guess: pop(key, default) is get() and del in one, so after the time it gives the default. Its docstring promises
# the default for a key that has expired.
# What happens: pop() does not look at the time. It gives the value however old it is, as long as nobody has asked for
# the key by another way or has pushed it out. get(), [] and "in" delete the key when its time is over, so that a pop()
# after one of them gives the default. values() leaves the expired ones out, and len() counts them.
# Why it matters: things that are good once and for a short time are taken with pop(): a reply that somebody waits for,
# a mark of a request that was seen, a seat that is kept for ten minutes. They are taken hours later, and a log line
# with "key in d" before the pop() makes it right. Use "if key in d" first, in one thread. A structure with expiry needs
# one place that decides whether an entry is there, and every reader has to go through it.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check expiringdict==1.2.2
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import sys
import time
from importlib.metadata import version

from expiringdict import ExpiringDict

READERS = {
    "pop()": lambda seats: seats.pop("seat", "gone"),
    "get()": lambda seats: seats.get("seat", "gone"),
    "len()": len,
    "values()": lambda seats: seats.values(),
    "pop() after in": lambda seats: ("seat" in seats, seats.pop("seat", "gone")),
}


def look(read):
    """What one way to read gives in time, and of another dictionary half a second after an expiry of 0.2 s."""
    answers = []
    for age, wait in ((60, 0), (0.2, 0.5)):
        seats = ExpiringDict(max_len=10, max_age_seconds=age)
        seats["seat"] = "kept"
        time.sleep(wait)
        answers.append(read(seats))
    return answers


seen = {name: look(read) for name, read in READERS.items()}
print(f"expiringdict {version('expiringdict')}; what is read in time, and when the time is over")
for name, (fresh, expired) in seen.items():
    print(f"  {name}: {fresh!r}, {expired!r}")
sys.exit(list(seen.values()) != [["kept", "kept"], ["kept", "gone"], [1, 1], [["kept"], []],
                                 [(True, "kept"), (False, "gone")]])
PY
